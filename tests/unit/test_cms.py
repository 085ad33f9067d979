"""CMS: what is remembered between signatures changes no answer (decision 19)."""

from __future__ import annotations

import pytest

from signward.envelopes import cms
from signward.errors import BadInputError, MalformedError
from signward.wire import der, repeated

GOOD = der.sequence(der.oid("1.2.3.4"), der.set_of(der.octet_string(b"value")))
BAD = der.sequence(der.oid("1.2.3.4"), der.sequence(der.octet_string(b"no SET")))
LONG = der.sequence(
    der.oid("1.2.3.4"), der.set_of(der.octet_string(bytes(repeated.REPEATED_OCTETS)))
)
OWN = der.sequence(der.oid(cms.MESSAGE_DIGEST), der.set_of(der.octet_string(b"digest")))


def attributes(*encoded: bytes) -> der.Node:
    return der.parse(der.context(0, b"".join(encoded)), "attributes")


@pytest.mark.parametrize("encoded", [GOOD, LONG, OWN], ids=["short", "long", "never repeated"])
def test_an_attribute_reads_the_same_wherever_and_however_often(encoded: bytes) -> None:
    first = cms._attributes(attributes(encoded), "first")
    again = cms._attributes(attributes(OWN, encoded, GOOD), "again")
    assert again[1:2] == first
    assert der.parse(encoded, "attribute").children()[1].children()[0].raw == first[0].values[0]


def test_a_fault_names_its_own_place_each_time() -> None:
    for before in ((), (GOOD,), (GOOD, LONG), ()):
        with pytest.raises(MalformedError) as caught:
            cms._attributes(attributes(*before, BAD), "signature 7")
        finding = caught.value.finding
        where = attributes(*before, BAD).children()[-1].children()[1].offset
        assert (finding.subject, finding.offset) == ("signature 7", where)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2 * repeated.REPEATED):
        distinct = der.sequence(der.oid(f"1.2.3.{number}"), der.set_of(der.null()))
        (attribute,) = cms._attributes(attributes(distinct), "many")
        assert attribute.oid == f"1.2.3.{number}"
    assert repeated._read_alone.cache_info().currsize == repeated.REPEATED


def test_faults_never_escape_as_anything_else() -> None:
    for cut in range(1, len(GOOD)):
        broken = der.context(0, GOOD[:cut])
        with pytest.raises(BadInputError):
            cms._attributes(der.parse(broken, "attributes"), "cut")
