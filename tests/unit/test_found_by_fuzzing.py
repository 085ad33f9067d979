"""Defects that the fuzzers found, each as the smallest input that showed it."""

from __future__ import annotations

import pytest
from conformance.authenticode import cms, pe, pki, revocation, tsa
from conformance.authenticode.cases.base import sign_image

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.trust.crl import load_crl
from signward.trust.names import normalized_name
from signward.verbs.verify import assess
from signward.wire import der
from signward.wire.source import BytesSource
from tests.fuzz.worlds import GivenContext, derived_key, store, world

IMAGE = pe.image(data=b"found\0" * 40)
HUGE = der.encode(der.INTEGER, b"\x7f" * 2000)
"""An INTEGER of more decimal digits than ``str(int)`` converts."""


def verdict_on(blob: bytes, **evidence: object) -> Verdict:
    context = GivenContext(store(), pki.NOW, **evidence)  # type: ignore[arg-type]
    return assess(BytesSource("image.exe", pe.signed(IMAGE, blob)), context)


def replaced(blob: bytes, old: bytes, new: bytes, *path: int) -> bytes:
    """Replace the element at ``path`` (child numbers), which must be ``old``."""
    if not path:
        assert blob == old
        return new
    node = der.parse(blob, "sample")
    children = [child.raw for child in node.children()]
    children[path[0]] = replaced(children[path[0]], old, new, *path[1:])
    return der.encode(node.tag, b"".join(children))


@pytest.mark.parametrize("path", [(1, 0, 0), (1, 0, -1, 0, 0)], ids=["SignedData", "SignerInfo"])
def test_a_version_too_long_to_print_is_a_limit(path: tuple[int, ...]) -> None:
    blob = replaced(sign_image(IMAGE, world()), der.integer(1), HUGE, *path)
    assert verdict_on(blob).cause is Code.LIMIT_EXCEEDED


def test_a_crl_number_too_long_to_print_is_no_crash() -> None:
    crl = revocation.crl(world().intermediate, extensions=(("2.5.29.20", False, HUGE),))
    one = replaced(
        revocation.crl(world().intermediate),
        pki.extension(("2.5.29.20", False, der.integer(1))),
        pki.extension(("2.5.29.20", False, HUGE)),
        0, -1, 0, 1,
    )  # fmt: skip
    for data in (crl, one):
        try:
            text = str(load_crl(data))
        except BadInputError:
            continue
        assert text
    verdict = verdict_on(sign_image(IMAGE, world(), crls=[one]))
    assert Code.REVOCATION_UNKNOWN in {finding.code for finding in verdict.findings}


def test_an_integer_that_is_read_can_be_printed() -> None:
    with pytest.raises(LimitError):
        der.parse(HUGE, "n").integer()
    longest = der.encode(der.INTEGER, b"\x7f" * der.MAX_INTEGER_OCTETS)
    assert len(str(der.parse(longest, "n").integer())) < 4300


def test_an_ess_certificate_id_of_an_algorithm_alone_spoils_its_token_only() -> None:
    its = world(expired=True)
    entry = der.sequence(der.sequence(der.oid("2.16.840.1.101.3.4.2.1")))
    ess = cms.attribute(tsa.SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(entry)))

    def stamp(value: bytes) -> bytes:
        token = tsa.token_der(value, its.tsa, at=pki.instant(2024), ess="")
        info = der.parse(token, "token").children()[1].children()[0].children()[-1].children()[0]
        attributes = info.children()[3]
        body = b"".join(child.raw for child in attributes.children()) + ess
        changed = replaced(token, attributes.raw, der.context(0, body), 1, 0, -1, 0, 3)
        return cms.attribute(tsa.MS_TIMESTAMP, changed)

    verdict = verdict_on(sign_image(IMAGE, its, signer={"unsigned": (stamp,)}))
    assert verdict.cause is Code.EXPIRED
    found = {finding.code for signature in verdict.signatures for finding in signature.findings}
    assert Code.TIMESTAMP_MALFORMED in found


def test_a_name_attribute_of_two_values_is_no_name() -> None:
    good = der.sequence(der.oid("2.5.4.3"), der.utf8("Publisher"))
    twice = der.sequence(der.oid("2.5.4.3"), der.utf8("Publisher"), der.utf8("Other"))
    assert normalized_name(der.sequence(der.set_of(good)))
    with pytest.raises(MalformedError):
        normalized_name(der.sequence(der.set_of(twice)))


@pytest.mark.parametrize(
    ("critical", "outcome"), [(True, Outcome.REJECTED), (False, Outcome.ACCEPTED)]
)
def test_an_unreadable_extension_rejects_when_it_is_critical(
    critical: bool, outcome: Outcome
) -> None:
    its = world()
    points = ("2.5.29.31", critical, der.bit_string(b"no distribution points"))
    leaf = pki.issue(
        "Leaf", issuer=its.intermediate, subject_key=derived_key("leaf"), extensions=(points,)
    )
    signer = cms.Signer(identity=leaf)
    certificates = [leaf.certificate, its.intermediate.certificate]
    verdict = verdict_on(cms.sign(pe.content(IMAGE), signer, certificates=certificates))
    assert verdict.outcome is outcome
    assert Code.CERTIFICATE_MALFORMED in {finding.code for finding in verdict.findings}
