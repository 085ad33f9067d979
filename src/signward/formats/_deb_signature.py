"""Signatures in Debian packages: debsigs' over all of the package, dpkg-sig's over a list.

**debsigs** (debsigs(1p), debsig-verify(1)): a detached OpenPGP signature over the contents of
``debian-binary``, the control archive and the data archive, one behind the other.

**dpkg-sig** (dpkg-sig(1)): a clear-signed list of these members by MD5 and SHA-1.  It is held
against them and never counts: both digests are broken, and two broken ones are no better.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from signward.envelopes.dpkg_sig import open_list
from signward.envelopes.openpgp import MAX_OCTETS, Opened, open_detached
from signward.envelopes.openpgp_clear import read_clear
from signward.errors import LimitError, MalformedError
from signward.formats._deb_layout import SIGNATURE, Layout, read_control, read_layout
from signward.frozen import Frozen
from signward.state import (
    ClaimedSignature,
    Manifest,
    Region,
    SignedArtifact,
    Source,
    Wanted,
)
from signward.wire.ar import Member
from signward.wire.clear_text import BEGIN

NAME = "deb"
"""What the format is called."""

WHOLE = "part:package"
"""What slots of the members together are called, before the signature's label."""

LIST = "part:list"
"""What slots of dpkg-sig's lists are called, before the signature's label."""

_ROLE = re.compile(r"_gpg([a-z]+)[0-9]*\Z")


class _Text(Frozen, frozen=True, kw_only=True):
    """A signature over text, and the text."""

    opened: Opened
    hashed: bytes


class _Layout(Frozen, frozen=True, kw_only=True):
    """Where members lie, and signatures by the slot each is over: a list's with its text."""

    members: Layout
    whole: Mapping[str, Opened]
    lists: Mapping[str, _Text]


def parsed(source: Source) -> SignedArtifact:
    """Return the artifact.  Raises ``BadInputError``."""
    members = read_layout(source)
    found = list[Opened | _Text]()
    for member in members.signatures:
        found += _opened(source, member, len(found) + 1)
    whole = {one.claimed.over: one for one in found if isinstance(one, Opened)}
    lists = {one.opened.claimed.over: one for one in found if isinstance(one, _Text)}
    signatures = tuple(one.claimed if isinstance(one, Opened) else one.opened.claimed
                       for one in found)  # fmt: skip
    return SignedArtifact(
        format=NAME,
        source=source,
        signatures=signatures,
        required={one.label: _required(one, members) for one in signatures},
        regions=tuple(_regions(members)) if signatures else (),
        facts=dict(read_control(source, members)) if signatures else {},
        profile="openpgp",
        layout=_Layout(members=members, whole=whole, lists=lists),
    )


def computed(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Return the digests of members, of all of them together, and of lists; in one pass."""
    layout: _Layout = artifact.layout
    members = {one.name: one for one in layout.members.covered}
    hashers: dict[tuple[str, str], Any] = {}
    for name, algorithm in wanted:
        start = layout.whole[name].before if name in layout.whole else b""
        if name in layout.lists:
            text = layout.lists[name]
            start = text.opened.before + text.hashed + text.opened.behind
        elif name not in layout.whole and name not in members:
            continue
        hashers[name, algorithm] = hashlib.new(algorithm, start, usedforsecurity=False)
    for name, member in members.items():
        fed = [one for (slot, _), one in hashers.items() if slot == name or slot in layout.whole]
        artifact.source.feed([(member.content, member.end)], fed)
    for (name, _), hasher in hashers.items():
        if name in layout.whole:
            hasher.update(layout.whole[name].behind)
    return {slot: hasher.digest() for slot, hasher in hashers.items()}


def read_signature_member(source: Source, member: Member) -> bytes:
    """Return what a signature's member holds.  Raises ``LimitError``."""
    if member.size > MAX_OCTETS:
        raise LimitError(member.name, f"{member.size} octets", f"at most {MAX_OCTETS}")
    return source.read(member.content, member.size)


def _opened(source: Source, member: Member, first: int) -> list[Opened | _Text]:
    """Return the signatures in one member, labelled from ``first`` on."""
    role = _ROLE.match(member.name)
    if role is None:
        raise MalformedError(member.name, "no role", f"{SIGNATURE} and letters", "debsigs(1p)",
                             offset=member.start)  # fmt: skip
    data = read_signature_member(source, member)
    if BEGIN not in data:
        return list(open_detached(data, WHOLE, first))
    clear = read_clear(data)
    return [
        _Text(opened=one, hashed=clear.hashed) for one in open_list(clear, role[1], LIST, first)
    ]


def _required(claimed: ClaimedSignature, members: Layout) -> frozenset[str]:
    """Return what a signature must be over: all of the package, or each member and the list."""
    if not claimed.rests_on:
        return frozenset({claimed.over})
    return frozenset({claimed.over, *(one.name for one in members.covered)})


def _regions(members: Layout) -> Iterator[Region]:
    """Yield what no signature is over: headers, the signatures, and members of another kind."""
    for member in (*members.covered, *members.signatures, *members.others):
        what = f"times, owner and mode of {member.name}"
        yield Region(start=member.start + 16, end=member.start + 48, what=what, exempt="ar(5)")
    for member in members.signatures:
        yield Region(start=member.content, end=member.next, what=member.name, exempt="debsigs(1p)")
    for member in members.others:
        yield Region(start=member.start, end=member.next, what=f"member {member.name}")
