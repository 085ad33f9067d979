"""fapolicyd: rules.d, trust.d and the daemon's settings.

Spec: fapolicyd.rules(5), fapolicyd.trust(5), fapolicyd.conf(5).  The first rule that matches
decides, so what is denied stands first, then what is let in, then the end of everything else:
nothing starts, no library or script is opened, data is left alone.  Files are told apart by path,
type (libmagic's) and SHA-256; signatures it does not know.

A path with one digest whose size the settings know goes to trust.d, where the daemon finds it by
its path; all other digests stand in the rules.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File
from signward.compilers._fapolicyd import (
    CONF,
    DENIALS,
    EXECUTABLE,
    LIBRARY,
    RULES,
    SCRIPT,
    TRUST,
    TYPES,
    path_objects,
)
from signward.compilers._linux import LOSSES, comment, digests_of, less_spared
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Action, Mode, OriginMatch, Rule, RuleSet, Strict

GOVERNS = frozenset({"executable", "library", "script"})

DIGESTS_A_LINE = 16
"""1.1.7 reads lines into a buffer of 8 KiB; sixteen digests are a little more than one."""

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "kind", "hosts", "exception", "expiry", "monitor", "requirement-timestamp",
         "requirement-revocation", "requirement-algorithm", "requirement-log",
         "requirement-age")  # fmt: skip
_WORDS = {Action.ALLOW: "allow", Action.AUDIT: "allow_audit", Action.DENY: "deny_audit"}
_PACKAGES = {"rpmdb": "rpm", "debdb": "deb"}

FileSystem = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9._-]{1,32}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.fapolicyd]``.

    ``version`` is the oldest daemon to run it: 1.1.7's words are understood by 2.x too, which
    has globs and paths with spaces besides.  ``packages`` is the package database whose files
    count as trusted; a rule by origin ``rpm`` or ``deb`` without a name needs it (``debdb``:
    2.x).  ``sizes`` are the octets of files by their SHA-256: what is known of them goes to
    trust.d.

    ``ld_so`` is what is done about programs started as arguments of the run-time linker, which
    only opens them: ``pattern`` trusts the daemon to notice (1.1.7 does not always: measured);
    ``open`` lets nobody open programs that no rule lets in, not even to copy or scan them;
    ``off`` does nothing.

    With ``denials`` there are denials only, to stand before the rules of others: nothing is let
    in, nothing ends the rules, and the daemon's settings stay as they are.
    """

    version: Literal["1.1.7", "2"] = "1.1.7"
    packages: Literal["", "rpmdb", "debdb"] = ""
    ld_so: Literal["pattern", "open", "off"] = "pattern"
    denials: bool = False
    watch_fs: tuple[FileSystem, ...] = (
        "ext2", "ext3", "ext4", "tmpfs", "xfs", "vfat", "iso9660", "btrfs",
    )  # fmt: skip
    sizes: dict[Sha256, Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]] = msgspec.field(
        default_factory=dict
    )


class Fapolicyd:
    """The compiler."""

    target = "fapolicyd"
    title = "fapolicyd (Linux): rules, trust and settings"
    spec = "fapolicyd.rules(5), fapolicyd.trust(5)"
    governs = GOVERNS
    losses: Mapping[str, str] = {name: LOSSES[name] for name in _LOST}
    settings = Settings
    checked = ("executed", "fapolicyd 1.1.7 from Debian, on a tmpfs of the test's own")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the rules, trust and settings files (UTF-8, lines ended by LF)."""
        ledger = Ledger("fapolicyd")
        claimed: dict[str, str] = {}
        kept = [_Lines(ledger, settings, rule, claimed) for rule in _expressible(ledger, rules)]
        written = sorted((one for one in kept if one.lines), key=_turn)
        ledger.lose_requirements(rules, (one.rule for one in written))
        ledger.lose_expiry(rules)
        if settings.denials:
            ledger.lose_mode(rules)
        return ledger.compiled(_files(rules, settings, written))


def _expressible(ledger: Ledger, rules: RuleSet) -> Iterator[Rule]:
    for rule in ledger.in_turn(rules, GOVERNS, frozenset(TYPES)):
        if ledger.lose_fields(rule, ("digest", "path", "origin")):
            continue
        reached = less_spared(ledger, rules, rule) if rule.action is Action.DENY else rule
        if reached is not None:
            yield reached


def _turn(one: _Lines) -> tuple[bool, bool, int, bool, str]:
    """Denials first; then as decisions go, so that the rule in the daemon's log is ours."""
    rule = one.rule
    asked = sum(bool(value) for value in (rule.digest, rule.path, rule.origin, rule.kind))
    return (rule.action is not Action.DENY, not rule.digest, -asked,
            rule.action is Action.ALLOW, rule.id)  # fmt: skip


class _Lines:
    """A rule as lines, any of which matches: every path with every group of digests.

    ``claimed`` are the paths in trust.d with their digests, for all rules: a path has one.
    """

    def __init__(
        self, ledger: Ledger, settings: Settings, rule: Rule, claimed: dict[str, str]
    ) -> None:
        self.rule, self._ledger, self._settings = rule, ledger, settings
        self._claimed = claimed
        self.trust: tuple[str, ...] = ()
        self.lines: tuple[str, ...] = ()
        paths, digests, origin = self._paths(), self._digests(), self._origin(rule.origin)
        if paths is None or digests is None or origin is None:
            return
        digests = self._trusted() or digests
        types = self._types()
        word = _WORDS[rule.action]
        self.lines = tuple(
            f"{word} perm=any all : {' '.join(filter(None, (*parts, origin, types)))}"
            for parts in itertools.product(paths, digests)
        )

    def _paths(self) -> tuple[str, ...] | None:
        """Return the path fields, one empty for none asked; None where all are lost."""
        if not self.rule.path:
            return ("",)
        said: list[str] = []
        for pattern in self.rule.path:
            fields = path_objects(pattern, self._settings.version)
            if not fields:
                text = f"{LOSSES['path']}: {pattern}"
                self._ledger.lose_rule("path", self.rule, text)
            said += fields
        return tuple(dict.fromkeys(said)) or None

    def _digests(self) -> tuple[str, ...] | None:
        if not self.rule.digest:
            return ("",)
        values = digests_of(self.rule, "file:sha256")
        if len(values) != len(self.rule.digest):
            text = f"{LOSSES['digest']}: it computes SHA-256 of whole files"
            self._ledger.lose_rule("digest", self.rule, text)
        word = "sha256hash" if self._settings.version == "1.1.7" else "FILE_HASH"
        starts = range(0, len(values), DIGESTS_A_LINE)
        return tuple(f"{word}={','.join(values[n : n + DIGESTS_A_LINE])}" for n in starts) or None

    def _origin(self, origin: OriginMatch | None) -> str | None:
        """Return ``trust=1`` for what any package of the database brought; None if lost."""
        if origin is None:
            return ""
        ours = _PACKAGES.get(self._settings.packages) == origin.kind
        if ours and not origin.name and not origin.repository and self.rule.action != "deny":
            return "trust=1"
        self._ledger.lose_rule("origin", self.rule, f"{LOSSES['origin']}, but for all packages of "
                               "the database in the settings")  # fmt: skip
        return None

    def _types(self) -> str:
        known = [TYPES[kind] for kind in self.rule.kind if kind in TYPES]
        types = dict.fromkeys(itertools.chain.from_iterable(known))
        return f"ftype={','.join(types)}" if types else ""

    def _trusted(self) -> tuple[str, ...]:
        """Return ``trust=1`` in place of the digest where trust.d can say it, noting the lines.

        Not with a package database: it might hold another digest for the path.
        """
        rule, paths = self.rule, self.rule.path
        values = digests_of(rule, "file:sha256")
        plain = paths and not any("*" in path for path in paths)
        if not plain or len(values) != 1 or rule.origin or rule.action is Action.DENY:
            return ()
        size = self._settings.sizes.get(values[0])
        taken = any(self._claimed.get(path, values[0]) != values[0] for path in paths)
        if size is None or taken or self._settings.packages:
            return ()
        self._claimed.update(dict.fromkeys(paths, values[0]))
        self.trust = tuple(f"{path} {size} {values[0]}" for path in paths)
        return ("trust=1",)


def _files(rules: RuleSet, settings: Settings, written: list[_Lines]) -> Iterator[File]:
    if settings.denials:
        yield File(name=DENIALS, content=_denials(written), deploy="into /etc/fapolicyd/rules.d, "
                   "before the rules that are there, then fagenrules --load")  # fmt: skip
        return
    trust = _trust(settings, written)
    yield File(
        name=RULES,
        content=_rules(rules, settings, written),
        deploy="into /etc/fapolicyd/rules.d, then fagenrules --load; whatever stands in files "
        "after it never decides",
    )
    yield File(
        name=CONF,
        content=_conf(rules, settings, packages=any(one.rule.origin for one in written)),
        deploy="as /etc/fapolicyd/fapolicyd.conf; try it with permissive = 1 first: what the "
        "system itself starts must be let in too",
    )
    if trust:
        yield File(
            name=TRUST,
            content=trust,
            deploy="into /etc/fapolicyd/trust.d, then fapolicyd-cli --update",
        )


def _denials(written: Iterable[_Lines]) -> bytes:
    lines = [_described(one) for one in written if one.rule.action is Action.DENY]
    return "\n".join(("# signward: denials", *itertools.chain.from_iterable(lines), "")).encode()


def _described(one: _Lines) -> tuple[str, ...]:
    note = f" {comment(one.rule.note)}" if one.rule.note else ""
    return f"# rule {one.rule.id}{note}", *one.lines


def _trust(settings: Settings, written: Iterable[_Lines]) -> bytes:
    """Return the trust file.  In version 2 some characters are escaped: no path of ours has one."""
    entries = sorted({line for one in written for line in one.trust})
    if not entries:
        return b""
    version = 2 if settings.version == "1.1.7" else 3
    head = f"# AUTOGENERATED FILE VERSION {version}"
    return "\n".join((head, *entries, "")).encode()


def _rules(rules: RuleSet, settings: Settings, written: Iterable[_Lines]) -> bytes:
    head = json.dumps({"policy": rules.name, "version": rules.version, "id": rules.id})
    lines = [f"# signward {head}"]
    if settings.ld_so != "off":
        lines.append("deny_audit perm=any pattern=ld_so : all")
    for one in written:
        lines += _described(one)
    closed = (OPEN_PROGRAMS,) if settings.ld_so == "open" else ()
    lines += ["# what no rule lets in", *closed, *ENDING, ""]
    return "\n".join(lines).encode()


ENDING = (
    "deny_audit perm=execute all : all",
    f"deny_audit perm=open all : ftype={','.join((*LIBRARY, *SCRIPT))}",
    "allow perm=open all : all",
)
"""What stops everything that no rule let in, and leaves data alone."""


OPEN_PROGRAMS = f"deny_audit perm=open all : ftype={','.join(EXECUTABLE)}"
"""What stops programs that the run-time linker starts."""


def _conf(rules: RuleSet, settings: Settings, *, packages: bool) -> bytes:
    trust = f"{settings.packages},file" if packages else "file"
    values = {
        "permissive": int(rules.mode is Mode.MONITOR),
        "nice_val": 14,
        "q_size": 800,
        "uid": "fapolicyd",
        "gid": "fapolicyd",
        "do_stat_report": 1,
        "detailed_report": 1,
        "db_max_size": 100,
        "subj_cache_size": 1549,
        "obj_cache_size": 8191,
        "watch_fs": ",".join(settings.watch_fs),
        "trust": trust,
        "integrity": "sha256",
        "syslog_format": "rule,dec,perm,auid,pid,exe,:,path,ftype,trust",
        "rpm_sha256_only": 0,
        "allow_filesystem_mark": 0,
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items()).encode()


COMPILER = Fapolicyd()
