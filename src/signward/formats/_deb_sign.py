"""Debian packages, signed: members with signatures behind the data, as debsigs adds them."""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.openpgp_draft import OpenPgpDraft, draft_openpgp
from signward.errors import NotSignableError
from signward.formats import Existing, Request, may_sign
from signward.formats._deb_layout import SIGNATURE, Layout, read_control, read_layout
from signward.formats._deb_signature import read_signature_member
from signward.frozen import Frozen
from signward.state import Hasher, Source
from signward.wire.ar import header
from signward.wire.patch import Edit, PatchSet, append

ROLES = ("origin", "maint", "archive")
"""debsigs' roles; the first unless another is asked for."""

_WHAT = "Debian package"


class Plan(Frozen, frozen=True, kw_only=True):
    """Where members lie, the name of the new one, and whether the old signatures stay."""

    layout: Layout
    name: str
    keeps: bool


def planned(source: Source, request: Request) -> Plan:
    """Return what is to be signed, and where.  Raises ``NotSignableError``, ``BadInputError``."""
    layout = read_layout(source)
    read_control(source, layout)
    may_sign(bool(layout.signatures), request, _WHAT)
    role = request.options.get("role", ROLES[0])
    if role not in ROLES:
        raise NotSignableError(_WHAT, f"role {role[:40]!r}", " or ".join(ROLES))
    for other in layout.others:
        raise NotSignableError(_WHAT, f"member {other.name}", "none that no signature is over")
    keeps = request.existing is Existing.NESTED
    name = SIGNATURE + role
    if keeps and any(one.name == name for one in layout.signatures):
        raise NotSignableError(_WHAT, f"a signature of role {role}", "one of each role",
                               hint="--option role=maint adds one of another")  # fmt: skip
    return Plan(layout=layout, name=name, keeps=keeps)


def drafted(source: Source, plan: Plan, request: Request) -> OpenPgpDraft:
    """Return the draft over the contents of the members."""

    def feed(hashers: Sequence[Hasher]) -> None:
        source.feed([(one.content, one.end) for one in plan.layout.covered], hashers)

    return draft_openpgp(request.signer, request.at, feed)


def signed(source: Source, plan: Plan, sealed: bytes) -> PatchSet:
    """Return the patch that adds the signature's member, the old ones gone or not."""
    gone = () if plan.keeps else _removals(plan.layout)
    return PatchSet(edits=(*gone, append(source, _member(plan.name, sealed))))


def held(source: Source) -> tuple[bytes, ...]:
    """Return what the signatures' members hold."""
    return tuple(read_signature_member(source, one) for one in read_layout(source).signatures)


def embedded(source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that puts envelopes into the members there are, then into further roles.

    Raises ``NotSignableError`` for more than there are names for.
    """
    layout = read_layout(source)
    names = [one.name for one in layout.signatures]
    names += [SIGNATURE + role for role in ROLES if SIGNATURE + role not in names]
    if len(envelopes) > len(names):
        raise NotSignableError(_WHAT, f"{len(envelopes)} signatures", f"at most {len(names)}")
    members = b"".join(map(_member, names, envelopes))
    added = (append(source, members),) if members else ()
    return PatchSet(edits=(*_removals(layout), *added))


def _removals(layout: Layout) -> tuple[Edit, ...]:
    return tuple(Edit(start=one.start, end=one.next, data=b"") for one in layout.signatures)


def _member(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content + b"\n" * (len(content) % 2)
