"""The list in a catalog, taken out of its envelope.

Source: [MS-CAESO] 4.4.5.3.1.  An unsigned catalog is a SignedData without signers, as makecat
writes it.
"""

from __future__ import annotations

from signward.envelopes.cms import SIGNED_DATA
from signward.errors import MalformedError
from signward.formats._ctl import CTL_CONTENT
from signward.wire import der

CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
_WHAT = "catalog"


def list_of(data: bytes) -> bytes:
    """Return the list in a catalog, signed or not, as one DER SEQUENCE.

    Raises ``MalformedError``.
    """
    fields = _signed_data(data)
    content = fields[2].fields(_WHAT, 2)
    if content[0].oid(_WHAT) != CTL_CONTENT or content[1].tag != 0xA0:
        raise MalformedError(_WHAT, "another content", CTL_CONTENT, "[MS-CAESO] 4.4.5.3.1")
    inner = content[1].children()
    if len(inner) != 1:
        raise MalformedError(_WHAT, f"{len(inner)} contents", "one list", "RFC 5652 5.2")
    if inner[0].tag == der.SEQUENCE:
        return inner[0].der()
    return der.parse(inner[0].octets(_WHAT), _WHAT).expect(der.SEQUENCE, _WHAT).raw


def unsigned_list(data: bytes) -> bytes | None:
    """Return the contents of the list in a catalog that has no signer; None if it has one."""
    signers = _signed_data(data)[-1]
    if signers.tag != der.SET or signers.children():
        return None
    return der.parse(list_of(data), _WHAT).content


def _signed_data(data: bytes) -> list[der.Node]:
    outer = der.parse(data, _WHAT, trailing=True).fields(_WHAT, 2)
    if outer[0].oid(_WHAT) != SIGNED_DATA or not outer[1].children():
        raise MalformedError(_WHAT, "no SignedData", "one", "RFC 5652 3")
    return outer[1].children()[0].fields(_WHAT, 4)
