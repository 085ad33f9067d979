"""Second opinions on what we issue: pkilint on every profile, OpenSSL on requests, paths, CRLs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, pkix
from pkilint.cabf import cabf_crl
from pkilint.pkix import certificate, crl, extension, name
from pkilint.validation import ValidationFindingSeverity as Severity

from signward.authority import names
from signward.authority.crl import REASONS, Revoked, draft
from signward.authority.lint import approve
from signward.authority.profiles import profile, profiles
from signward.authority.request import read_request
from signward.verbs.authority import export, finding, revoke
from signward.verbs.authority.issue import Order, issue, order
from signward.verbs.authority.realm import Realm
from signward.verbs.secrets import SecretFinder
from signward.wire import der
from tests.builders.authority import NOW, Clock, Pure, founded, key, private, signed
from tests.builders.token import PIN, SoftHsm, missing_tool, module

pytestmark = pytest.mark.interop

PURE = Pure()
AT_ROOT = ("sub-ca", "timestamping")
URI = (names.alternative("uri:https://github.com/example/repository"),)
TOLD = frozenset({"pkix.subject_key_identifier_rfc7093_method_1_identified"})
"""What pkilint tells of every certificate of ours: how the key's identifier was made."""


def certificate_faults(data: bytes) -> set[str]:
    """Return the codes pkilint has for a certificate, of whatever severity."""
    linter = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(
            name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS
        ),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    document = loader.RFC5280CertificateDocumentLoader().load_document(data, "ours")
    return codes(linter.validate(document.root))


def crl_faults(data: bytes, *, of_authorities: bool = False) -> set[str]:
    """Return the codes pkilint has for a CRL, by RFC 5280 and the CA/Browser Forum's rules.

    One of authorities alone may be good for longer.
    """
    kinds = crl.CertificateRevocationListType
    kind = kinds.ARL if of_authorities else kinds.CRL
    linter = crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container(
                [cabf_crl.create_validity_period_validator(kind)]
            ),
            crl.create_extensions_validator_container([]),
            cabf_crl.CabfCrlReasonCodeAllowlistValidator(kind),
        ],
    )
    document = loader.RFC5280CertificateListDocumentLoader().load_document(data, "ours")
    return codes(linter.validate(document.root))


def codes(results: object) -> set[str]:
    found = [f for result in results for f in result.finding_descriptions]  # type: ignore[attr-defined]
    return {f.finding.code for f in found if f.finding.severity <= Severity.INFO}


def issued(profile_name: str, kind: str = "p-256") -> bytes:
    """Return a certificate of a profile for a key of a kind."""
    root = profile_name in AT_ROOT
    prepared = PURE.prepared(
        profile_name,
        spki=key("peer", kind).public_key,
        issuer=PURE.root if root else PURE.issuing,
        names=URI if profile(profile_name).names_required else (),
    )
    return signed(approve(prepared), PURE.root_key if root else PURE.issuing_key)


def test_pkilint_objects_where_something_is_wrong() -> None:
    """So that its silence means something."""
    good = issued("code-signing")
    without = good.replace(der.oid("2.5.29.35"), der.oid("2.5.29.99"))
    assert certificate_faults(without) - TOLD == {"pkix.authority_key_identifier_extension_absent"}


@pytest.mark.parametrize("kind", ["rsa-3072", "p-256", "p-384", "p-521", "ed25519"])
@pytest.mark.parametrize("profile_name", [n for n in profiles() if n != "root"])
def test_pkilint_has_nothing_against_any_profile(profile_name: str, kind: str) -> None:
    listed = profile(profile_name).keys
    if kind not in listed and not (kind == "rsa-3072" and "rsa-2048" in listed):
        assert profile_name == "kernel-module"  # which takes what the kernel reads
        return
    assert certificate_faults(issued(profile_name, kind)) == TOLD


def test_pkilint_has_nothing_against_root_and_limited_authority() -> None:
    assert certificate_faults(PURE.root.certificate.der) == TOLD
    only = (names.constraint("dir:O=Example Ltd,C=SE"), names.constraint("dns:example.org"))
    prepared = PURE.prepared("sub-ca", issuer=PURE.root, permitted=only)
    assert certificate_faults(signed(approve(prepared), PURE.root_key)) == TOLD


def test_pkilint_has_nothing_against_our_crls() -> None:
    begin = NOW.replace(microsecond=0)
    told = [code for reason, code in REASONS.items() if reason != "cACompromise"]
    revoked = [
        Revoked(serial=n + 1, at=begin, reason=code, invalid_from=begin if n % 2 else None)
        for n, code in enumerate(told)
    ]
    for listed in ([], revoked):
        made = draft(PURE.issuing, listed, 7, begin, begin + timedelta(days=7))
        data = made.seal(PURE.issuing_key.sign(made.to_be_signed, made.algorithm))
        assert crl_faults(data) == set()


# --- OpenSSL --------------------------------------------------------------------------------------


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    opened = founded(tmp_path / "data", Clock(datetime.now(UTC)))
    yield opened
    opened.close()


def verified(realm: Realm, folder: Path, leaf: bytes, *options: str) -> str:
    """Return what ``openssl verify`` says, with both CRLs."""
    (folder / "leaf.pem").write_bytes(leaf)
    (folder / "root.pem").write_bytes(export.export(realm, "root", "pem"))
    (folder / "issuing.pem").write_bytes(export.export(realm, "issuing", "pem"))
    crls = export.export_crl(realm, "root", "pem") + export.export_crl(realm, "issuing", "pem")
    (folder / "crls.pem").write_bytes(crls)
    done = openssl(
        "verify", "-x509_strict", "-crl_check_all", "-CRLfile", folder / "crls.pem",
        "-CAfile", folder / "root.pem", "-untrusted", folder / "issuing.pem", *options,
        folder / "leaf.pem",
    )  # fmt: skip
    return done.stdout + done.stderr


def test_openssl_follows_the_path_and_the_crl(realm: Realm, tmp_path: Path) -> None:
    asked = order(realm, "issuing", "code-signing", key("a").public_key, subject="Release")
    made = issue(realm, "issuing", asked, "tester")
    leaf = export.export(realm, made.serial, "pem")
    assert verified(realm, tmp_path, leaf).endswith("leaf.pem: OK\n")
    revoke.revoke(realm, finding.find(realm, made.serial), "keyCompromise", "tester")
    assert "certificate revoked" in verified(realm, tmp_path, leaf)
    other = issue(realm, "issuing", asked_again(realm), "tester")
    assert "OK" in verified(realm, tmp_path, export.export(realm, other.serial, "pem"))


def asked_again(realm: Realm) -> Order:
    return order(realm, "issuing", "code-signing", key("b").public_key, subject="Release")


def test_openssl_takes_the_timestamping_certificate(realm: Realm, tmp_path: Path) -> None:
    leaf = export.export(realm, "tsa", "pem")
    assert "OK" in verified(realm, tmp_path, leaf, "-purpose", "timestampsign")
    ocsp = export.export(realm, "issuing-ocsp", "pem")
    assert "OK" in verified(realm, tmp_path, ocsp, "-purpose", "ocsphelper")


def test_openssl_reads_the_crl(realm: Realm, tmp_path: Path) -> None:
    own = finding.find(realm, str(realm.folder / "certificates" / "issuing.pem"))
    revoke.revoke(realm, own, "cACompromise", "tester", invalidity=realm.now())
    (tmp_path / "crl.der").write_bytes(export.export_crl(realm, "root", "der"))
    (tmp_path / "root.pem").write_bytes(export.export(realm, "root", "pem"))
    done = openssl("crl", "-inform", "DER", "-in", tmp_path / "crl.der", "-noout", "-text",
                   "-CAfile", tmp_path / "root.pem")  # fmt: skip
    assert "verify OK" in done.stderr
    for text in ("CA Compromise", "Invalidity Date", "X509v3 CRL Number"):
        assert text in done.stdout


@pytest.mark.parametrize("kind", ["rsa:3072", "ec -pkeyopt ec_paramgen_curve:P-256", "ed25519"])
def test_a_request_by_openssl_is_certified(realm: Realm, tmp_path: Path, kind: str) -> None:
    done = openssl(
        "req", "-new", "-newkey", *kind.split(), "-nodes", "-keyout", tmp_path / "key.pem",
        "-subj", "/C=SE/O=Example Ltd/CN=By request", "-addext",
        "subjectAltName=URI:https://example.org/a", "-out", tmp_path / "request.pem",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    request = read_request((tmp_path / "request.pem").read_bytes())
    asked = order(realm, "issuing", "code-signing", request.spki, request=request)
    made = issue(realm, "issuing", asked, "tester")
    assert made.certificate.subject_text == "CN=By request,O=Example Ltd,C=SE"
    leaf = export.export(realm, made.serial, "pem")
    assert "OK" in verified(realm, tmp_path, leaf)
    public = openssl("x509", "-in", tmp_path / "leaf.pem", "-noout", "-pubkey").stdout
    assert public == openssl("pkey", "-in", tmp_path / "key.pem", "-pubout").stdout


def test_the_cryptography_library_accepts_what_we_issue(realm: Realm) -> None:
    path = x509.load_pem_x509_certificates(export.export(realm, "issuing-ocsp", "path"))
    for child, parent in pairwise(path):
        child.verify_directly_issued_by(parent)
    crl_found = x509.load_der_x509_crl(export.export_crl(realm, "issuing", "der"))
    assert crl_found.is_signature_valid(path[1].public_key())  # type: ignore[arg-type]


def test_a_request_by_the_cryptography_library_names_what_it_wants() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.sign(private("x"), hashes.SHA256())
    assert read_request(made.public_bytes(Encoding.PEM)).subject == b"\x30\x00"


# --- a token --------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(missing_tool()), reason=missing_tool() or "all is there")
def test_authorities_whose_keys_never_leave_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm(tmp_path, monkeypatch)
    hsm.make_token("CA")
    for number, (label, kind) in enumerate((("root", "EC:secp384r1"), ("issuing", "rsa:3072"))):
        hsm.generate("CA", kind, label, f"0{number}")
    hsm.ready()
    keys = {label: f"pkcs11:token=CA;object={label}?module-path={module()}"
            for label in ("root", "issuing")}  # fmt: skip
    realm = founded(tmp_path / "data", Clock(), keys=keys, password=PIN)
    made = issue(realm, "issuing", asked_again(realm), "tester")
    revoke.revoke(realm, finding.find(realm, made.serial), "superseded", "tester")
    paths = [x509.load_der_x509_certificate(one.der) for one in made.path]
    for child, parent in zip(paths, [*paths[1:], paths[-1]], strict=True):
        child.verify_directly_issued_by(parent)
    files = {path.name for path in (realm.folder / "keys").iterdir()}
    assert files == {"issuing-ocsp.pem", "tsa.pem", "log.pem", "feed.pem"}
    realm.close()
    locked = Realm.open(realm.folder, secrets=SecretFinder(environment={"SIGNWARD_PASSWORD": "no"}))
    with pytest.raises(Exception, match="PIN"):
        issue(locked, "issuing", asked_again(locked), "tester")
    locked.close()
