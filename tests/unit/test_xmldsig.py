"""XML and XML signatures below the formats: bounds, identifiers, canonical form (THREATS 29)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest
from conformance.authenticode.keys import key

from signward.envelopes.xmldsig import DSIG, leaf_of, read_signature, referenced
from signward.envelopes.xmldsig_draft import draft, key_value, reference, x509_data
from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.integrity import check_value
from signward.state import Algorithm
from signward.wire import spki, xmltree
from tests.signing import authority, identity, signer_of

OBJECT = f'<Object xmlns="{DSIG}" Id="o">text</Object>'


def signed(kind: str = "rsa2048", digest: str = "sha256", method: str = xmltree.C14N) -> bytes:
    """An enveloping signature over an Object."""
    who = identity(kind, f"XML {kind}")
    octets = xmltree.canonical(xmltree.parse(OBJECT.encode(), "o"), xmltree.METHODS[method], "o")
    info = key_value(who.key.spki) + x509_data([authority().certificate, who.certificate])
    made = draft(
        signer_of(who, digest), reference("#o", (method,), digest, octets), method=method,
        key_info=f"<KeyInfo>{info}</KeyInfo>", objects=OBJECT,
    )  # fmt: skip
    return made.seal(who.key.sign(made.to_be_signed, digest))


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("rsa2048", "sha256"), ("rsa2048", "sha384"), ("rsa3072", "sha512"), ("p256", "sha256"),
     ("p384", "sha384"), ("p521", "sha512")],
)  # fmt: skip
@pytest.mark.parametrize("method", xmltree.METHODS)
def test_what_is_drafted_is_read(kind: str, digest: str, method: str) -> None:
    signature = read_signature(xmltree.parse(signed(kind, digest, method), "s").getroot(), "s")
    (only,) = signature.references
    assert hashlib.new(digest, referenced(only, signature)).digest() == only.digest
    assert leaf_of(signature) == identity(kind, f"XML {kind}").certificate
    check_value(signature.key, signature.algorithm, signature.signed_info, signature.value)


def _edit(was: str, becomes: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert was.encode() in data
        return data.replace(was.encode(), becomes.encode(), 1)

    return change


REFUSED: dict[str, tuple[Callable[[bytes], bytes], type[BadInputError]]] = {
    "one identifier twice": (
        _edit("</Signature>", '<Object Id="o"/></Signature>'), AmbiguousError,
    ),
    "one identifier in another writing": (
        _edit("</Signature>", '<Object><x ID="o"/></Object></Signature>'), AmbiguousError,
    ),
    "an identifier that is nowhere": (_edit('URI="#o"', 'URI="#p"'), MalformedError),
    "a pointer": (_edit('URI="#o"', "URI=\"#xpointer(id('o'))\""), MalformedError),
    "no reference to anything": (_edit(' URI="#o"', ""), MalformedError),
    "many references": (
        lambda d: d.replace(b"</SignedInfo>", d[d.index(b"<Reference"):d.index(b"</SignedInfo>")]
                            * 16 + b"</SignedInfo>"),
        LimitError,
    ),
    "many Objects": (_edit("</Signature>", "<Object/>" * 16 + "</Signature>"), LimitError),
    "an attribute nobody knows": (_edit("<SignedInfo", '<SignedInfo x="y"'), MalformedError),
    "text between elements": (_edit("<KeyInfo>", "x<KeyInfo>"), MalformedError),
    "a comment between elements": (_edit("<KeyInfo>", "<!--x--><KeyInfo>"), MalformedError),
    "a second KeyInfo": (_edit("<KeyInfo>", "<KeyInfo/><KeyInfo>"), MalformedError),
    "a digest with parameters": (
        _edit('sha256"/><DigestValue', 'sha256"><x/></DigestMethod><DigestValue'), MalformedError,
    ),
    "bits behind the last octet": (_edit("=</SignatureV", "x</SignatureV"), MalformedError),
    "an entity": (_edit("<Signature", '<!DOCTYPE a [<!ENTITY b "c">]><Signature'), MalformedError),
    "XML 1.1": (_edit("<Signature", '<?xml version="1.1"?><Signature'), MalformedError),
    "a namespace that is relative": (_edit('Id="o"', 'Id="o" xmlns:a="b"'), MalformedError),
    "a prefix without a namespace": (_edit("<KeyInfo>", "<a:b/><KeyInfo>"), MalformedError),
    "namespaces by the thousand": (
        _edit('Id="o"', 'Id="o" ' + " ".join(f'xmlns:a{n}="u:{n}"' for n in range(40))), LimitError,
    ),
}  # fmt: skip


def _read(data: bytes) -> list[bytes]:
    signature = read_signature(xmltree.parse(data, "s").getroot(), "s")
    return [referenced(one, signature) for one in signature.references]


@pytest.mark.parametrize("trick", REFUSED)
def test_a_trick_is_refused(trick: str) -> None:
    change, error = REFUSED[trick]
    with pytest.raises(error):
        _read(change(signed()))


def test_an_inherited_attribute_is_refused() -> None:
    """Inclusive form would copy it; versions 1.0 and 1.1 differ in how (XMLDSig 6.5.1)."""
    tree = xmltree.parse(b'<a xml:lang="de"><b/></a>', "x")
    with pytest.raises(MalformedError):
        xmltree.canonical(tree.getroot()[0], xmltree.Canonical(exclusive=False), "x")
    assert xmltree.canonical(tree.getroot()[0], xmltree.Canonical(), "x") == b"<b></b>"


def test_inclusive_form_of_an_element_keeps_the_default_namespace_below_it() -> None:
    tree = xmltree.parse(b'<a xmlns="u:a" xmlns:z="u:z"><b><c><d q="1"/></c></b></a>', "x")
    assert xmltree.canonical(tree.getroot()[0], xmltree.Canonical(exclusive=False), "x") == (
        b'<b xmlns="u:a" xmlns:z="u:z"><c><d q="1"></d></c></b>'
    )


def test_a_document_without_an_element_keeps_the_text_behind_it() -> None:
    tree = xmltree.parse(b"<?p i?><a>1<b/>2<c><d/>3</c></a><!--e-->", "x")
    plain = xmltree.Canonical()
    root = tree.getroot()
    assert xmltree.canonical(xmltree.without(root[0]), plain, "x") == (
        b"<?p i?>\n<a>12<c><d></d>3</c></a>"
    )
    assert xmltree.canonical(xmltree.without(root[1][0]), plain, "x") == (
        b"<?p i?>\n<a>1<b></b>2<c>3</c></a>"
    )
    assert xmltree.canonical(tree, plain, "x") == b"<?p i?>\n<a>1<b></b>2<c><d></d>3</c></a>"


def test_text_with_a_comment_inside_is_not_read() -> None:
    with pytest.raises(MalformedError):
        xmltree.text(xmltree.parse(b"<a>good<!-- -->bad</a>", "x").getroot(), "x")


def test_keys_are_written_as_they_are_read() -> None:
    rsa, curve = key("rsa2048", "xml-a").spki, key("p256", "xml-b").spki
    numbers = spki.rsa_numbers(rsa)
    assert numbers is not None
    assert spki.rsa_key(*numbers) == rsa
    assert spki.ec_key(spki.curve(curve), spki.key_bits(curve)) == curve
    assert spki.rsa_numbers(curve) is None
    assert spki.curve(rsa) == ""


def test_ecdsa_values_are_two_halves() -> None:
    value = key("p256", "xml-b").sign(b"x")
    raw = spki.ecdsa_raw(value, 32)
    assert len(raw) == 64
    assert spki.ecdsa_der(raw) == value
    for wrong in (b"", b"abc"):
        with pytest.raises(MalformedError):
            spki.ecdsa_der(wrong)


def test_an_unknown_algorithm_keeps_its_name() -> None:
    data = signed().replace(b"xmldsig-more#rsa-sha256", b"xmldsig-more#esign-sha256")
    signature = read_signature(xmltree.parse(data, "s").getroot(), "s")
    assert signature.algorithm == Algorithm(
        scheme="unknown:http://www.w3.org/2001/04/xmldsig-more#esign-sha256"
    )


BARE = '<?xml version="1.0"?><a b="1"/>'


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_characters_that_hide_from_the_checks_are_refused(codec: str) -> None:
    """A parser guesses these encodings; a DTD, a declaration or a bomb in them went unseen."""
    with pytest.raises(MalformedError):
        xmltree.parse(BARE.encode(codec), "x")
    hidden = BARE.replace("?>", ' encoding="utf-7"?>')
    with pytest.raises(MalformedError):
        xmltree.parse(hidden.encode(codec), "x")


@pytest.mark.parametrize(
    ("codec", "declared"),
    [("utf-16", "utf-8"), ("utf-16", "us-ascii"), ("utf-8-sig", "utf-16"), ("utf-8", "UTF-16")],
)
def test_an_encoding_other_than_the_declared_one_is_refused(codec: str, declared: str) -> None:
    text = BARE.replace("?>", f' encoding="{declared}"?>')
    with pytest.raises(MalformedError):
        xmltree.parse(text.encode(codec), "x")


def test_attributes_that_take_quadratic_time_to_sort_are_refused() -> None:
    """400,000 of them in ascending order took a quarter of an hour."""
    text = "<a " + " ".join(f'z{n:06}=""' for n in range(399_000)) + "/>"
    started = time.process_time()
    with pytest.raises(LimitError):
        xmltree.parse(text.encode(), "x")
    assert time.process_time() - started < 5
