"""Signing RPMs: a signature header written anew, in the space of the old one where it fits.

As rpm writes it: values sorted by tag, and space that a signature takes is taken from what the
packager reserved, so that nothing behind moves.  Taking signatures out gives that space back.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from signward.envelopes.openpgp_keys import RSA, RSA_SIGN
from signward.envelopes.openpgp_packets import packets
from signward.errors import NotSignableError
from signward.formats._rpm_layout import (
    DSA_HEADER,
    HEADER,
    LEAD,
    OF_HEADER,
    OF_PACKAGE,
    OLD_RESERVED,
    OPENPGP,
    RESERVED,
    RSA_HEADER,
    Package,
    packets_of,
)
from signward.wire.patch import Edit, PatchSet
from signward.wire.rpm import BINARY, SIGNATURES, STRINGS, write_header

Values = dict[int, tuple[int, int, bytes]]
"""Type, count and octets of values, by tag."""

_WHAT = "RPM"


def kept_packets(package: Package) -> list[bytes]:
    """Return the signatures that another can stand beside.  Raises ``NotSignableError``."""
    found = list(packets_of(package.signature))
    if any(slot != HEADER for slot, _ in found):
        raise NotSignableError(_WHAT, "a signature over header and payload", "none of the old kind",
                               hint="--replace puts the new one in its place")  # fmt: skip
    return list(dict.fromkeys(packet for _, packet in found))


def embedded(package: Package, envelopes: Sequence[bytes], version: int) -> PatchSet:
    """Return the patch that makes these packets all of a package's signatures.

    Raises ``NotSignableError`` where a package of this version has no place for them.
    """
    header = package.signature
    values: Values = {
        tag: (entry.kind, entry.count, header.store[entry.start : entry.end])
        for tag, entry in header.entries.items()
        if tag not in (*OF_HEADER, *OF_PACKAGE)
    }
    values |= _values(envelopes) if version >= 6 else _old_values(envelopes)
    made = write_header(SIGNATURES, values)
    spare = next((tag for tag in (OLD_RESERVED, RESERVED) if tag in values), None)
    if spare is not None:
        room = values[spare][1] - (len(made) - (package.padding - LEAD))
        values |= {spare: (BINARY, room, bytes(room))} if room > 0 else {}
        made = write_header(SIGNATURES, values)
    edit = Edit(start=LEAD, end=package.start, data=made + bytes(-len(made) % 8))
    return PatchSet(edits=(edit,))


def _values(envelopes: Sequence[bytes]) -> Values:
    """Return where version 6 has signatures: all in one list, in Base64."""
    if not envelopes:
        return {}
    return {OPENPGP: (STRINGS, len(envelopes),
                      b"".join(base64.b64encode(one) + b"\0" for one in envelopes))}  # fmt: skip


def _old_values(envelopes: Sequence[bytes]) -> Values:
    """Return where version 4 has signatures: one by an RSA key, one by any other."""
    values: Values = {}
    for one in envelopes:
        (packet,) = packets(one)
        if packet.body[0] != 4:
            raise NotSignableError(_WHAT, f"a signature of version {packet.body[0]}",
                                   "version 4 in a package of version 4",
                                   hint="its readers know no other")  # fmt: skip
        tag = RSA_HEADER if packet.body[2] in (RSA, RSA_SIGN) else DSA_HEADER
        if tag in values:
            raise NotSignableError(
                _WHAT, "two signatures by keys of one kind", "one by RSA, one by another kind",
                hint="--replace puts the new one in the place of all",
            )  # fmt: skip
        values[tag] = BINARY, len(one), one
    return values
