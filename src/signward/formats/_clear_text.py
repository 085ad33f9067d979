"""Clear-signed text, read: the block, and of Debian's control data the files that it lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes.openpgp import Opened
from signward.envelopes.openpgp_clear import MAX_OCTETS, ClearText, open_clear, read_clear
from signward.errors import AmbiguousError, LimitError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions
from signward.formats._control import BESIDE, listed_files, listed_weakly
from signward.frozen import Frozen
from signward.state import Companions, Manifest, Region, SignedArtifact, Slot, Source, Wanted
from signward.wire.clear_text import BEGIN, CONTROL, RELEASE
from signward.wire.deb822 import read_paragraph

NAME = "clearsigned"
"""What the format is called."""

TEXT = "part:text"
"""What slots of the text are called, before the signature's label."""

_FACTS = ("source", "version", "distribution", "origin", "suite", "codename", "date", "valid-until")
"""Fields that verdicts tell."""

_MAX_FACT = 200
"""Characters told of one of them."""

_TOLD = 50
"""Files told of that are not beside the text, or listed weakly."""

_WHAT = "clear-signed text"
_CLAUSE = "RFC 9580 7"


class _Layout(Frozen, frozen=True, kw_only=True):
    """The block, its signatures by the slot each is over, and where listed files are."""

    clear: ClearText
    opened: Mapping[str, Opened]
    companions: Companions | None


def read_text(source: Source) -> bytes:
    """Return the file's octets.  Raises ``LimitError``."""
    if source.length > MAX_OCTETS:
        raise LimitError(_WHAT, f"{source.length} octets", f"at most {MAX_OCTETS}")
    return source.read(0, source.length)


def parsed(source: Source, options: ParseOptions) -> SignedArtifact:
    """Return the artifact; without signatures where no block is.  Raises ``BadInputError``."""
    data = read_text(source)
    if BEGIN not in data:
        return SignedArtifact(format=NAME, source=source, signatures=(), profile="openpgp")
    clear = read_clear(data)
    opened = {one.claimed.over: one for one in open_clear(clear, TEXT)}
    lists = source.name.endswith(CONTROL) or options.extension in CONTROL
    fields = _fields(clear) if lists or source.name.endswith(RELEASE) else {}
    listed = listed_files(fields) if lists else ()
    beside = tuple(one for one in listed if _find(options.companions, one.name) is not None)
    weak = listed_weakly(fields, listed) if lists else frozenset()
    return SignedArtifact(
        format=NAME,
        source=source,
        signatures=tuple(one.claimed for one in opened.values()),
        required={one.claimed.label: frozenset({slot}) for slot, one in opened.items()},
        listed=beside,
        regions=tuple(_regions(clear, len(data))),
        findings=(*_weak(weak), *_absent(listed, beside)),
        facts={name: fields[name][:_MAX_FACT] for name in _FACTS if fields.get(name)},
        profile="openpgp",
        layout=_Layout(clear=clear, opened=opened, companions=options.companions),
    )


def computed(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Return the digests of the text as each signature hashes it, and of the files beside."""
    layout: _Layout | None = artifact.layout
    found: dict[tuple[str, str], bytes] = {}
    if layout is None:
        return found
    for name, algorithm in wanted:
        hasher = hashlib.new(algorithm, usedforsecurity=False)
        if name in layout.opened:
            opened = layout.opened[name]
            hasher.update(opened.before + layout.clear.hashed + opened.behind)
        else:
            file = _find(layout.companions, name)
            if file is None:
                continue
            file.feed([(0, file.length)], [hasher])
        found[name, algorithm] = hasher.digest()
    return found


def _fields(clear: ClearText) -> Mapping[str, str]:
    if clear.only_spaces is not None:
        raise AmbiguousError(_WHAT, "a line of spaces, which are not signed",
                             "no such line: some readers take it for the end of a paragraph",
                             "deb822(5)", offset=clear.only_spaces)  # fmt: skip
    return MappingProxyType(read_paragraph(clear.text))


def _find(companions: Companions | None, name: str) -> Source | None:
    """Return the file beside the text that a slot is named after, if it is there."""
    if companions is None or not name.startswith(BESIDE):
        return None
    return companions.find(name.removeprefix(BESIDE))


def _regions(clear: ClearText, length: int) -> Iterator[Region]:
    """Yield what no signature is over: what frames the text, and spaces at the ends of lines."""
    yield Region(start=0, end=clear.start, what="the block's headers", exempt=_CLAUSE)
    yield Region(start=clear.end, end=length, what="the signatures", exempt=_CLAUSE)
    for start, end in clear.spaces:
        yield Region(start=start, end=end, what="spaces at a line's end", exempt="RFC 9580 7.2")


def _weak(names: frozenset[str]) -> Iterator[Finding]:
    """Yield the files that are listed by digests that do not count only."""
    for name in sorted(names)[:_TOLD]:
        yield Finding(
            code=Code.WEAK_DIGEST, effect=Effect.REJECT, subject=name[:_MAX_FACT],
            found="a file listed by MD5 and SHA-1 only", required="Checksums-Sha256",
            clause="deb-src-control(5)",
        )  # fmt: skip


def _absent(listed: tuple[Slot, ...], beside: tuple[Slot, ...]) -> Iterator[Finding]:
    """Yield the files that are listed and were not seen."""
    seen = {one.name for one in beside}
    for one in [one for one in listed if one.name not in seen][:_TOLD]:
        yield Finding(
            code=Code.COMPANION_MISSING, effect=Effect.WARN, subject=one.name.removeprefix(BESIDE),
            found="no such file beside the text", required="the file, to be judged with it",
            clause="deb-src-control(5)",
        )  # fmt: skip
