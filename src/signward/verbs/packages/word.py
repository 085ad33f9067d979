"""A package's word for one file of a system: vouched for, changed, not known, or nobody's."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.inventory.packages import FILE, LINK, Entry, Warrant
from signward.policy.ways import FETCH
from signward.state import JudgedSignature, Source, TrustedSignature
from signward.verbs.packages.ledger import Held, Row
from signward.verbs.packages.places import is_owned
from signward.verbs.packages.system import System
from signward.wire.source import FileSource, whole_digest

_CLAUSE = "deb(5)"
_PRIVILEGED = stat.S_ISUID | stat.S_ISGID
"""Bits that lend the owner's or the group's rights to whoever starts a program."""

_CAPABILITY = "security.capability"

DIVERTED = frozenset({"distrib", "diverted", "orig", "real", "wrapper"})
"""What diversions put into a file's name: dpkg-divert(1) itself, and packages of Debian."""

GENERATED = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r".*/__pycache__/[^/]*\.pyc", "py3compile, from Python modules"),
        (r"/etc/ld\.so\.cache", "ldconfig"),
        (r"/etc/ssl/certs/ca-certificates\.crt", "update-ca-certificates"),
        (r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?", "adduser and passwd"),
        (r"/usr/lib/locale/(locale-archive|[^/]+/.*)", "locale-gen"),
        (r"/usr/lib/[^/]*/?gconv/gconv-modules\.cache", "iconvconfig"),
        (r"/usr/lib/.*/loaders\.cache", "gdk-pixbuf-query-loaders"),
        (r"/usr/lib/.*/immodules\.cache", "gtk-query-immodules"),
        (r"/usr/lib/.*/giomodule\.cache", "gio-querymodules"),
        (r"/usr/lib/modules/[^/]+/modules\..*", "depmod"),
        (r"/usr/lib/udev/hwdb\.bin", "systemd-hwdb"),
        (r"/usr/share/mime/.*", "update-mime-database"),
        (r"/usr/share/info/dir(\.old)?", "install-info"),
        (r"/usr/share/applications/mimeinfo\.cache", "update-desktop-database"),
        (r"/usr/share/icons/.*/icon-theme\.cache", "gtk-update-icon-cache"),
        (r"/usr/share/glib-2\.0/schemas/gschemas\.compiled", "glib-compile-schemas"),
        (r"/usr/share/(perl|vim|emacs|fonts)/.*\.(cache|tags|uuid)|.*/helptags", "triggers"),
        (r"/boot/(initrd\.img-.*|grub/.*)", "update-initramfs and update-grub"),
    )
)
"""Paths that maintainer scripts fill, and what fills them: no package brings the files."""


class Word(Frozen, frozen=True, kw_only=True):
    """What packages say of a file.

    ``vouches`` where one brings exactly this content, under ``warrant``; ``signatures`` are that
    warrant's.  ``facts`` name package and archive.
    """

    vouches: bool
    findings: tuple[Finding, ...]
    facts: dict[str, str | int]
    signatures: tuple[JudgedSignature, ...] = ()


def word_for(source: Source, system: System) -> Word | None:
    """Return what packages say of a file; None for what is no file of the system's."""
    if not isinstance(source, FileSource):
        return None
    path = system.path_of(source.name)
    claimed = system.claimed(source.name, path)
    if claimed is not None:  # what was asked for is judged, not where a link leads instead
        return _Asked(source, claimed, system).word(system.rows(claimed))
    if path is None:
        return None
    rows = system.rows(path)
    if not rows:
        return _stray(source.name, path) if is_owned(path) else None
    return _Asked(source, path, system).word(rows)


class _Asked:
    """One file that packages claim."""

    def __init__(self, source: FileSource, path: str, system: System) -> None:
        self._source, self._path, self._system = source, path, system
        self._digest = ""

    def word(self, rows: Sequence[Row]) -> Word:
        """Return the word of the packages in ``rows``: one that brings this content, or why not."""
        for row in rows:
            if row.entry is not None and self._is_as_brought(row.entry):
                return self._vouched(row, row.entry) if self._stands(row) else self._moved(row)
        unseen = [row for row in rows if row.entry is None or not self._counts(row)]
        return self._unseen(unseen[0]) if unseen else self._changed(rows[0])

    def _counts(self, row: Row) -> bool:
        """Say whether somebody trusted stands behind what a package brings."""
        warrant = self._system.warrant(self._system.held(row))
        signatures = warrant.signatures if warrant else ()
        return any(isinstance(one, TrustedSignature) for one in signatures)

    def _stands(self, row: Row) -> bool:
        """Say whether a package's file may lie here: its own path, or a name that is no other's.

        Diversions are dpkg's unsigned word.  One believed is in the same folder, under the file's
        own name with one word more in it: nothing looks for such a name.
        """
        if not row.from_path:
            return True
        old, new = self._system.ledger.canonical(row.from_path), self._path
        folder, _, name = new.rpartition("/")
        parts = name.split(".")
        marks = DIVERTED | {self._system.held(row).name}
        return any(
            f"{folder}/{'.'.join((*parts[:at], *parts[at + 1 :]))}" == old
            for at in range(1, len(parts))
            if parts[at] in marks
        )

    def _is_as_brought(self, entry: Entry) -> bool:
        if entry.kind != FILE or entry.size != self._source.length:
            return False
        return self._digest_by(entry.algorithm) == entry.digest.hex()

    def _digest_by(self, algorithm: str) -> str:
        if not self._digest.startswith(f"{algorithm}:"):
            self._digest = f"{algorithm}:{whole_digest(self._source, algorithm).hex()}"
        return self._digest.partition(":")[2]

    def _facts(self, held: Held, row: Row, warrant: Warrant | None) -> dict[str, str | int]:
        facts: dict[str, str | int] = {
            "package": held.name,
            "package-version": held.version,
            "package-architecture": held.architecture,
        }
        if row.entry.config if row.entry is not None else self._path in held.config:
            facts["package-file"] = "configuration"
        if row.from_path:
            facts["diverted-from"] = row.from_path
        if warrant is not None and row.entry is not None:
            facts |= warrant.facts
        if held.deb:
            facts["deb"] = f"sha256:{held.deb.hex()}"
        return facts

    def _vouched(self, row: Row, entry: Entry) -> Word:
        held = self._system.held(row)
        warrant = self._system.warrant(held)
        if warrant is None:  # its Release went away since the ledger was made
            return self._unseen(row)
        moved = f", diverted from {row.from_path}" if row.from_path else ""
        by = Finding(
            code=Code.BY_PACKAGE,
            effect=Effect.NOTE,
            subject=self._source.name,
            found=f"its content in {held.package}{moved}, which {warrant.source} lists",
            required="a signature of its own or a package's word",
            clause="apt-secure(8)" if held.deb else "rpm(8)",
        )
        return Word(
            vouches=True,
            findings=(by, *warrant.findings, *self._mode(entry), *self._rights()),
            facts=self._facts(held, row, warrant),
            signatures=_one(warrant.signatures),
        )

    def _mode(self, entry: Entry) -> Iterator[Finding]:
        """Report permissions that the package does not give; no signature covers a file's own."""
        found, own = self._source.mode, self._system.ledger.modes.get(self._path)
        if found == entry.mode:
            return
        lent, asked = found & _PRIVILEGED & ~entry.mode, found == own
        if asked and not lent:
            return
        by = "; dpkg-statoverride has them, which nobody signed" if asked else ""
        effect = Effect.UNKNOWN if asked else Effect.REJECT
        yield Finding(
            code=Code.ATTRIBUTE_RULE,
            effect=effect if lent else Effect.WARN,
            subject=self._source.name,
            found=f"permissions {found:04o}{by}",
            required=f"{entry.mode:04o}, as the package has them",
            clause=_CLAUSE,
        )

    def _rights(self) -> Iterator[Finding]:
        """Report capabilities: rights that no package gives, but scripts do and intruders may."""
        if self._source.attribute(_CAPABILITY):
            yield Finding(
                code=Code.ATTRIBUTE_RULE,
                effect=Effect.UNKNOWN,
                subject=self._source.name,
                found=f"capabilities of its own ({_CAPABILITY})",
                required="none: no package at hand gives any",
                clause="capabilities(7)",
                hint="getcap shows them; some maintainer scripts set them (ping's)",
            )

    def _moved(self, row: Row) -> Word:
        """Say that a package's file lies where only dpkg's database has it."""
        held = self._system.held(row)
        finding = Finding(
            code=Code.NOT_VOUCHED,
            effect=Effect.UNKNOWN,
            subject=self._source.name,
            found=f"{row.from_path} of {held.package}, here by a diversion that nobody signed",
            required=f"it at its own path, or in its folder under its name with one of "
            f"{', '.join(sorted(DIVERTED))} or its package's name in it",
            clause="dpkg-divert(1)",
            hint="dpkg-divert --list tells whose diversion it is",
        )
        return Word(vouches=False, findings=(finding,), facts=self._facts(held, row, None))

    def _changed(self, row: Row) -> Word:
        held, entry = self._system.held(row), row.entry
        facts = self._facts(held, row, self._system.warrant(held))
        if entry is None or entry.kind != FILE:
            return Word(vouches=False, findings=(self._other_kind(held, entry),), facts=facts)
        config = entry.config  # by the package's own word: dpkg's database is nobody's
        finding = Finding(
            code=Code.UNSIGNED if config else Code.DIGEST_MISMATCH,
            effect=Effect.REJECT,
            subject=self._source.name,
            found=f"{'a configuration file that was changed here, ' if config else ''}"
            f"{entry.algorithm} {self._digest_by(entry.algorithm)}",
            required=f"{entry.algorithm} {entry.digest.hex()}, as {held.package} has it",
            clause=_CLAUSE,
            hint="" if config else "find out who changed it, then install the package anew",
        )
        return Word(vouches=False, findings=(finding,), facts=facts)

    def _other_kind(self, held: Held, entry: Entry | None) -> Finding:
        what = "a special file"
        if entry is not None and entry.kind == LINK:
            what = f"a link to {entry.target}"
        return Finding(
            code=Code.DIGEST_MISMATCH,
            effect=Effect.REJECT,
            subject=self._source.name,
            found="a file, or a link that leads elsewhere",
            required=f"{what}, as {held.package} has it",
            clause=_CLAUSE,
        )

    def _unseen(self, row: Row) -> Word:
        """Say that nothing at hand speaks of the package's files, and what would."""
        held = self._system.held(row)
        warrant = self._system.warrant(held)
        fetch = dict[str, str | int]()
        listed = f", which {warrant.source} lists" if warrant else ", which no list at hand names"
        hint = "apt-get update; the package may be older than any list, or not an archive's"
        if row.entry is not None:
            hint = "nobody who is trusted signed for it: --keyring FILE says whose keys count"
        elif warrant is not None:
            hint = f"apt-get download {held.spec}, then --debs . (or --fetch-debs)"
            fetch = {FETCH: held.spec}
        finding = Finding(
            code=Code.NOT_VOUCHED,
            effect=Effect.UNKNOWN,
            subject=self._source.name,
            found=f"a file of {held.package}{listed}: vouched for by nobody here",
            required="the package itself at hand, and a signed list that names it",
            clause="apt-secure(8)",
            hint=hint,
        )
        facts = self._facts(held, row, None) | fetch
        return Word(vouches=False, findings=(finding,), facts=facts)


def _one(signatures: tuple[JudgedSignature, ...]) -> tuple[JudgedSignature, ...]:
    """Return the first trusted one: of an archive's keys one is enough, and told of every file."""
    trusted = (one for one in signatures if isinstance(one, TrustedSignature))
    first = next(trusted, None)
    return signatures if first is None else (first,)


def _stray(name: str, path: str) -> Word:
    """Say of a file that is no package's so, and what is known to make it."""
    by = next((by for pattern, by in GENERATED if pattern.fullmatch(path)), "")
    finding = Finding(
        code=Code.UNSIGNED,
        effect=Effect.REJECT,
        subject=name,
        found=f"a file that is made here (by {by}), no package's" if by else "no package's file",
        required="a signature of its own, a package's or a catalog's word",
        hint="a manifest can vouch for it: signward manifest" if by else "",
    )
    return Word(vouches=False, findings=(finding,), facts={"package-file": "generated"} if by
                else {})  # fmt: skip
