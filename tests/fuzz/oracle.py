"""What may be accepted, found out without Signward: cryptography, asn1crypto, our own cuts.

Every function answers with a complaint, or an empty string when it has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from asn1crypto import cms as asn1_cms
from asn1crypto import tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from tests.fuzz.trees import NotDerError, Tree, read

KNOWN_CRITICAL = {
    "2.5.29.15", "2.5.29.17", "2.5.29.18", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.32",
    "2.5.29.33", "2.5.29.36", "2.5.29.37", "2.5.29.54",
}  # fmt: skip
"""Extensions RFC 5280 asks a validator to process; any other critical one must reject."""


def path_complaint(
    ders: Sequence[bytes], root: bytes, at: datetime, usage: x509.ObjectIdentifier
) -> str:
    """Say what speaks against a path (leaf first, ``root`` last) for this usage at ``at``."""
    if not ders or ders[-1] != root:
        return "the path does not end in the anchor"
    try:
        path = [x509.load_der_x509_certificate(one) for one in ders]
        extensions = [one.extensions for one in path]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return "" if all(map(bearable, ders)) else f"cryptography cannot read the path: {error}"
    for child, issuer in pairwise(path):
        complaint = _link_complaint(child, issuer)
        if complaint:
            return complaint
    for number, (one, listed) in enumerate(zip(path, extensions, strict=True)):
        complaint = _certificate_complaint(one, listed, number, at, usage)
        if complaint and number < len(path) - 1:
            return f"certificate {number}: {complaint}"
    return ""


_DECIDING = frozenset(bytes.fromhex(f"551d{n:02x}") for n in (15, 19, 30, 32, 36, 37, 54))
"""Extensions a path stands or falls with: unreadable ones may not be accepted."""

_USAGE, _CONSTRAINTS = bytes.fromhex("551d25"), bytes.fromhex("551d13")


def bearable(certificate: bytes) -> bool:
    """Say whether a certificate is off DER, or unreadable in a hint only: the wild has both.

    What decides must then still stand in it: the leaf's EKU, or a CA's constraints.
    """
    listed = [one for one in read(certificate).at(0).children or () if one.tag == 0xA3]
    extensions = listed[0].at(0).children or [] if len(listed) == 1 else []
    oids = {one.at(0).content for one in extensions}
    if len(oids) != len(extensions) or not oids & {_USAGE, _CONSTRAINTS}:
        return False
    return all(_bearable_extension(one) for one in extensions)


def _bearable_extension(one: Tree) -> bool:
    oid, critical = one.at(0).content, len(one.children or ()) == 3 and one.at(1).content != b"\0"
    if oid not in _DECIDING:
        return not critical
    try:
        read(one.at(-1).content)
    except NotDerError:
        return False
    return True


def folded(name: x509.Name) -> str:
    """Return a name as RFC 5280 7.1 compares it: ASCII case and blanks do not count."""
    return " ".join(name.rfc4514_string().casefold().split())


def _link_complaint(child: x509.Certificate, issuer: x509.Certificate) -> str:
    if folded(child.issuer) != folded(issuer.subject):
        return "the names do not chain"
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(child.signature, child.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        return f"the signature does not fit: {error!r}"
    return ""


def _certificate_complaint(
    one: x509.Certificate,
    listed: x509.Extensions,
    number: int,
    at: datetime,
    usage: x509.ObjectIdentifier,
) -> str:
    if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
        return f"not valid at {at}"
    unknown = {e.oid.dotted_string for e in listed if e.critical} - KNOWN_CRITICAL
    if unknown:
        return f"unknown critical {unknown}"
    by_kind = {type(e.value): e.value for e in listed}
    ekus = by_kind.get(x509.ExtendedKeyUsage)
    assert ekus is None or isinstance(ekus, x509.ExtendedKeyUsage)
    wanted = {usage, Usage.ANY_EXTENDED_KEY_USAGE} if number else {usage}
    if (ekus is None and not number) or (ekus is not None and not wanted & set(ekus)):
        return "wrong EKU"
    if usage == Usage.TIME_STAMPING and not number and ekus is not None and set(ekus) != {usage}:
        return "timeStamping is not the only EKU"
    bits = by_kind.get(x509.KeyUsage)
    assert bits is None or isinstance(bits, x509.KeyUsage)
    if number == 0:
        signs = bits is None or bits.digital_signature or bits.content_commitment
        return "" if signs else "key usage without digitalSignature"
    return _authority_complaint(by_kind.get(x509.BasicConstraints), bits, number)


def _authority_complaint(basic: object, bits: x509.KeyUsage | None, number: int) -> str:
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        return "an issuer that is no CA"
    if basic.path_length is not None and basic.path_length < number - 1:
        return "path length"
    return "" if bits is None or bits.key_cert_sign else "key usage without keyCertSign"


def token_complaint(
    token: bytes, value: bytes, tsa: bytes, earliest: datetime, latest: datetime
) -> str:
    """Say what speaks against a token proving that ``value`` existed inside a span."""
    try:
        info = asn1_cms.ContentInfo.load(token, strict=True)["content"]
        content = info["encap_content_info"]["content"].contents
        tst = tsp.TSTInfo.load(content, strict=True)
        signer = info["signer_infos"][0]
        imprint = tst["message_imprint"]
        algorithm = imprint["hash_algorithm"]["algorithm"].native
        spoken, instant = imprint["hashed_message"].native, tst["gen_time"].native
        attributes = {a["type"].native: a["values"] for a in signer["signed_attrs"]}
        digest = attributes["message_digest"][0].native
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"asn1crypto cannot read the token: {error!r}"
    if tst["version"].native != "v1":
        return "TSTInfo version"
    if hashlib.new(algorithm, value).digest() != spoken:
        return "the imprint speaks of another value"
    if not earliest <= instant.astimezone(UTC) <= latest:
        return f"time {instant} outside {earliest} to {latest}"
    if attributes["content_type"][0].native != "tst_info":
        return "content type"
    hashed = hashlib.new(signer["digest_algorithm"]["algorithm"].native, content).digest()
    if digest != hashed:
        return "message digest"
    return _ess_complaint(attributes, tsa)


def _ess_complaint(attributes: dict[str, object], tsa: bytes) -> str:
    """RFC 3161 2.4.1: the signing certificate is named by its digest."""
    raw = attributes.get("signing_certificate_v2") or attributes.get("signing_certificate")
    if raw is None:
        return "no signing certificate attribute"
    body = bytes(raw.dump())  # type: ignore[attr-defined]
    if hashlib.sha256(tsa).digest() in body or hashlib.sha1(tsa).digest() in body:
        return ""
    return "the signing certificate attribute names another certificate"


def listed_serials(crl: bytes) -> set[int]:
    """Return the serial numbers a CRL lists, where cryptography is stricter than X.690 needs."""
    lists = [one for one in read(crl).at(0).children or () if one.tag == 0x30][3:]
    entries = lists[0].children or [] if lists else []
    return {int.from_bytes(e.at(0).content, "big", signed=True) for e in entries}


def crl_complaint(crl: bytes, serial: int, issuer: bytes, at: datetime) -> str:
    """Say what speaks against a CRL that is to call ``serial`` good at ``at``."""
    try:
        seen = x509.load_der_x509_crl(crl)
        entry = seen.get_revoked_certificate_by_serial_number(serial)
        critical = {e.oid.dotted_string for e in seen.extensions if e.critical}
        key = x509.load_der_x509_certificate(issuer)
    except (ValueError, x509.DuplicateExtension):
        return "" if serial not in listed_serials(crl) else f"unreadable, and it lists {serial}"
    if entry is not None and entry.revocation_date_utc <= at:
        return f"it lists {serial}"
    if seen.issuer != key.subject:
        return "another issuer"
    if seen.last_update_utc > at or (seen.next_update_utc and seen.next_update_utc < at):
        return "not current"
    if critical:
        return f"critical extensions {critical}"
    public = key.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return "" if seen.is_signature_valid(public) else "its signature does not fit"


def ocsp_complaint(response: bytes, serial: int, at: datetime) -> str:
    """Say what speaks against an OCSP answer that is to call ``serial`` good at ``at``."""
    try:
        seen = ocsp.load_der_ocsp_response(response)
        if seen.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return "no successful answer"
        singles = [one for one in seen.responses if one.serial_number == serial]
        good = [one for one in singles if one.certificate_status is ocsp.OCSPCertStatus.GOOD]
        times = [(one.this_update_utc, one.next_update_utc) for one in good]
    except (ValueError, x509.DuplicateExtension) as error:
        return f"cryptography cannot read the answer: {error}"
    later = [one.revocation_time_utc for one in singles if one.revocation_time_utc]
    if any(instant > at for instant in later):
        return ""  # revoked, but only after the instant that is asked about
    if not any(begin <= at and (end is None or at <= end) for begin, end in times):
        return "it does not say good now"
    return ""
