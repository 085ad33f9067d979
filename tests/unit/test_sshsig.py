"""SSH signatures beside a file, lists of allowed signers and of withdrawn keys (THREATS 45)."""

from __future__ import annotations

import base64
import hashlib
import struct
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.envelopes import Signer
from signward.envelopes.allowed_signers import allowed_keys, entries, is_list, matches, read_line
from signward.envelopes.krl import read_revocations
from signward.envelopes.ssh_certificate import read_certificate
from signward.envelopes.sshsig import fingerprint_text, read_key, read_text
from signward.envelopes.sshsig_draft import content_digest, draft_sshsig, ssh_key
from signward.errors import BadInputError, EvidenceError, NotSignableError
from signward.findings import Code
from signward.frozen import replace
from signward.integrity import usual_algorithm
from signward.policy.record import record
from signward.policy.settings import Policy
from signward.state import Algorithm, Outcome, SshPrincipal, Stage, TrustedSignature, Verdict
from signward.trust.settings import TrustPolicy
from signward.verbs.context import Context
from signward.verbs.detached import form_of
from signward.verbs.options import Options
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource
from tests.builders import ssh
from tests.builders.ssh import KINDS, Key, revocations, string

CONTENT = b"any file at all" * 1000
KEY = Key("ed25519")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def listed(*keys: Key, who: str = "ann@example.org", options: str = "") -> str:
    return "".join(f"{who} {options}{' ' if options else ''}{key.line} c\n" for key in keys)


def judged(
    blob: bytes,
    folder: Path,
    text: str | None = None,
    content: bytes = CONTENT,
    *,
    namespace: str = "file",
    revoked: bytes | None = None,
    stage: Stage = Stage.ACCEPTED,
    at: datetime = AT,
) -> Verdict:
    rings, gone = folder / "allowed", folder / "gone"
    rings.write_text(listed(KEY) if text is None else text)
    gone.write_bytes(revoked or b"")
    policy = Policy(stage=stage, trust=TrustPolicy(ssh_namespace=namespace))
    options = Options(
        keyrings=(str(rings),) if text != "" else (),
        revoked=(str(gone),) if revoked is not None else (),
        policy=policy,
        at=at,
    )
    return assess_as(form_of(blob), BytesSource("file.bin", content), Context(options))


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_and_its_signature(kind: str, digest: str, tmp_path: Path) -> None:
    key = Key(kind)
    blob = ssh.signed(CONTENT, key, digest=digest)
    verdict = judged(blob, tmp_path, listed(key))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    made = verdict.signatures[0]
    assert isinstance(made, TrustedSignature)
    assert isinstance(made.basis, SshPrincipal)
    assert made.basis.principals == ("ann@example.org",)
    fingerprint = made.basis.key
    assert verdict.publisher is not None
    assert verdict.publisher.name == "ann@example.org"
    assert verdict.publisher.identity == f"ssh:{fingerprint}"
    assert verdict.facts["namespace"] == "file"
    holder = record(verdict).signatures[0].holder
    assert holder is not None
    assert (holder.kind, holder.key, holder.names) == ("sshsig", fingerprint, ("ann@example.org",))
    assert judged(blob, tmp_path, listed(key), CONTENT + b"x").cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "sk-p256"])
def test_who_is_on_no_list_is_nobody(kind: str, tmp_path: Path) -> None:
    blob = ssh.signed(CONTENT, Key(kind))
    for text in ("", listed(Key("p384"))):
        verdict = judged(blob, tmp_path, text)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNTRUSTED_ROOT)
        assert judged(blob, tmp_path, text, stage=Stage.INTACT).outcome is Outcome.ACCEPTED
    broken = judged(blob, tmp_path, "", CONTENT + b"x", stage=Stage.INTACT)
    assert broken.cause is Code.SIGNATURE_MISMATCH
    untold = record(judged(blob, tmp_path, "")).signatures[0].holder
    assert untold is not None
    assert untold.key.startswith("SHA256:")


def test_a_bare_key_is_known_by_its_fingerprint(tmp_path: Path) -> None:
    verdict = judged(ssh.signed(CONTENT, KEY), tmp_path, f"{KEY.line} ssh-rsa AAAA evil\n")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    assert verdict.publisher.name.startswith("SSH key SHA256:")


@pytest.mark.parametrize("profile", ["sigstore", "pinned", "openpgp", "jar"])
def test_no_profile_forgets_what_a_line_says(profile: str, tmp_path: Path) -> None:
    (tmp_path / "allowed").write_text(listed(KEY, options='valid-before="20200101"'))
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "x.sig").write_bytes(ssh.signed(CONTENT, KEY))
    rings = ["--keyring", str(tmp_path / "allowed"), "--profile", profile]
    words = ["verify", "--detached", str(tmp_path / "x.sig"), *rings, str(tmp_path / "x")]
    assert run(words) == 1


def test_a_device_s_key_is_not_the_same_key_in_a_file(tmp_path: Path) -> None:
    device, plain = Key("sk-ed25519"), Key("ed25519", ssh.private("sk-ed25519"))
    verdict = judged(ssh.signed(CONTENT, device), tmp_path, listed(plain))
    assert verdict.cause is Code.UNTRUSTED_ROOT
    swapped = ssh.signed(CONTENT, device, blob=plain.blob)
    assert judged(swapped, tmp_path, listed(plain)).outcome is Outcome.REJECTED


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-p256", "webauthn"])
def test_nobody_touched_the_device(kind: str, tmp_path: Path) -> None:
    key = Key(kind)
    verdict = judged(ssh.signed(CONTENT, key, flags=0), tmp_path, listed(key))
    assert verdict.cause is Code.ATTRIBUTE_RULE
    assert judged(ssh.signed(CONTENT, key, flags=5), tmp_path, listed(key)).outcome is (
        Outcome.ACCEPTED
    )


def test_what_a_browser_signed(tmp_path: Path) -> None:
    key = Key("webauthn")
    extended = ssh.signed(CONTENT, key, flags=0x81, extensions=b"\xa0")
    assert judged(extended, tmp_path, listed(key)).outcome is Outcome.ACCEPTED
    for how in ({"flags": 0x81}, {"flags": 0x41}, {"extensions": b"\xa0"}):
        verdict = judged(ssh.signed(CONTENT, key, **how), tmp_path, listed(key))
        assert verdict.cause is Code.MALFORMED, how
    another = b'{"type":"webauthn.get","challenge":"AAAA","origin":"https://example.org"}'
    verdict = judged(ssh.signed(CONTENT, key, client=another), tmp_path, listed(key))
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_namespaces(tmp_path: Path) -> None:
    blob = ssh.signed(CONTENT, KEY, b"git")
    assert judged(blob, tmp_path).cause is Code.WRONG_USAGE
    assert judged(blob, tmp_path, namespace="git").outcome is Outcome.ACCEPTED
    for patterns, taken in (("git,file", True), ("g*", True), ("file", False), ("*,!git", False)):
        text = listed(KEY, options=f'namespaces="{patterns}"')
        verdict = judged(blob, tmp_path, text, namespace="git")
        assert (verdict.outcome is Outcome.ACCEPTED) is taken, patterns
        assert taken or verdict.cause is Code.WRONG_USAGE


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ('valid-after="20260102"', Code.NOT_YET_VALID),
        ('valid-after="20251231",valid-before="20260101000001Z"', None),
        ('valid-before="202512312359"', Code.EXPIRED),
        ("cert-authority", Code.WRONG_USAGE),
    ],
)
def test_what_a_line_allows(options: str, cause: Code | None, tmp_path: Path) -> None:
    blob = ssh.signed(CONTENT, KEY)
    assert judged(blob, tmp_path, listed(KEY, options=options)).cause is cause
    both = listed(KEY, options=options) + listed(KEY, who="bob@example.org")
    verdict = judged(blob, tmp_path, both)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.publisher is not None
    names = "ann@example.org, bob@example.org" if cause is None else "bob@example.org"
    assert verdict.publisher.name == names


def test_whose_signature_it_was(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    (tmp_path / "s").write_bytes(ssh.signed(CONTENT, KEY))
    (tmp_path / "allowed").write_text(listed(KEY))
    words = ["verify", "--detached", str(tmp_path / "s"), "--keyring", str(tmp_path / "allowed")]
    assert run([*words, str(tmp_path / "f")]) == 0
    assert run([*words, "--publisher", "ann@example.org", str(tmp_path / "f")]) == 0
    assert run([*words, "--publisher", "bob@example.org", str(tmp_path / "f")]) == 1
    assert run([*words, "--namespace", "git", str(tmp_path / "f")]) == 1
    (tmp_path / "gone").write_text(KEY.line + "\n")
    assert run([*words, "--revoked", str(tmp_path / "gone"), str(tmp_path / "f")]) == 1


def test_weak_keys_and_digests(tmp_path: Path) -> None:
    small = Key("rsa", rsa.generate_private_key(65537, 1024))
    assert judged(ssh.signed(CONTENT, small), tmp_path, listed(small)).cause is Code.WEAK_KEY
    key = Key("rsa")
    old = ssh.signed(CONTENT, key, rsa_digest="sha1")
    assert judged(old, tmp_path, listed(key)).cause is Code.MALFORMED
    assert judged(ssh.signed(CONTENT, KEY, digest="sha1"), tmp_path).cause is Code.MALFORMED
    assert judged(ssh.signed(CONTENT, key, rsa_digest="sha256"), tmp_path, listed(key)).outcome is (
        Outcome.ACCEPTED
    )


@pytest.mark.parametrize(
    "name",
    [b"ssh-dss-cert-v01@openssh.com", b"ssh-mldsa44-ed25519@openssh.com", b"ssh-dss"],
)
def test_keys_of_kinds_that_we_do_not_know(name: bytes, tmp_path: Path) -> None:
    blob = ssh.signed(CONTENT, KEY, blob=string(name) + string(bytes(40)), name=name)
    verdict = judged(blob, tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_ALGORITHM)


def test_an_algorithm_of_another_key(tmp_path: Path) -> None:
    for name in (b"rsa-sha2-256", b"x", b"webauthn-" + Key("webauthn").name):
        assert judged(ssh.signed(CONTENT, KEY, name=name), tmp_path).cause is Code.MALFORMED
    swapped = ssh.signed(CONTENT, KEY, blob=Key("p256").blob, name=Key("p256").name)
    assert judged(swapped, tmp_path, listed(Key("p256"))).outcome is Outcome.REJECTED


@pytest.mark.parametrize(
    "blob",
    [
        ssh.signed(CONTENT, KEY, version=2),
        ssh.signed(CONTENT, KEY, reserved=b"x"),
        ssh.signed(CONTENT, KEY, b""),
        ssh.signed(CONTENT, KEY, behind=b"\0"),
        ssh.signed(CONTENT, KEY) + b"more",
        ssh.signed(CONTENT, KEY) * 2,
        ssh.signed(CONTENT, KEY)[:-20],
        ssh.signed(CONTENT, KEY).replace(b"\n", b"\n*", 2),
        b"-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\n" + b"A" * 70_000 + b"\n-----END SSH SIGNATURE-----\n",
        ssh.armoured(b"SSHSIG\0\0\0\x01\xff\xff\xff\xff"),
        ssh.signed(CONTENT, KEY, blob=KEY.blob + b"\0"),
        ssh.signed(CONTENT, KEY, blob=string(b"ssh-ed25519") + string(bytes(31))),
        ssh.signed(CONTENT, KEY, blob=string(b"ssh-rsa") + string(b"\0\x03") + string(b"\x05")),
    ],
)
def test_malformed_signatures(blob: bytes, tmp_path: Path) -> None:
    verdict = judged(blob, tmp_path)
    assert verdict.outcome is not Outcome.ACCEPTED
    assert verdict.cause in (Code.MALFORMED, Code.LIMIT_EXCEEDED)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_octet_can_be_changed(position: int, flip: int) -> None:
    octets = bytearray(read_armour(ssh.signed(b"", Key("sk-ed25519"))))
    octets[position % len(octets)] ^= flip
    form = form_of(ssh.armoured(bytes(octets)))
    verdict = assess_as(form, BytesSource("f", b""), Context(Options(at=AT)))
    assert verdict.outcome is not Outcome.ACCEPTED
    intact = Options(policy=Policy(stage=Stage.INTACT), at=AT)
    whole = assess_as(form, BytesSource("f", b""), Context(intact))
    assert whole.outcome is not Outcome.ACCEPTED


def read_armour(blob: bytes) -> bytes:
    import base64

    return base64.b64decode(b"".join(blob.splitlines()[1:-1]))


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data: bytes) -> None:
    for read in (read_text, read_key, read_revocations, allowed_keys):
        for octets in (data, ssh.armoured(data), b"SSHKRL\n\0" + data, b"a ssh-rsa " + data):
            try:
                read(octets)
            except BadInputError:
                continue


def test_lists_of_withdrawn_keys(tmp_path: Path) -> None:
    sha1, sha256 = hashlib.sha1(KEY.blob).digest(), hashlib.sha256(KEY.blob).digest()
    lists = {
        "text": f"# gone\n{KEY.line} ann\n".encode(),
        "keys": revocations((2, string(Key("rsa").blob) + string(KEY.blob))),
        "sha1": revocations((3, string(sha1))),
        "sha256": revocations((5, string(bytes(32)) + string(sha256))),
    }
    blob = ssh.signed(CONTENT, KEY)
    for name, data in lists.items():
        verdict = judged(blob, tmp_path, revoked=data)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REVOKED), name
    signed = revocations((2, string(Key("rsa").blob)), (4, CA.blob)) + string(b"value")
    for data in (b"", revocations(), signed):
        assert judged(blob, tmp_path, revoked=data).outcome is Outcome.ACCEPTED
    for data in (
        revocations(version=2),
        revocations((9, b"")),
        revocations((5, string(bytes(20)))),
        lists["keys"][:-1],
        listed(KEY).encode(),
        b"no list",
    ):
        with pytest.raises(EvidenceError):
            judged(blob, tmp_path, revoked=data)


def test_a_key_in_two_lists_has_the_lines_of_both(tmp_path: Path) -> None:
    texts = {"git": listed(KEY, options='namespaces="git"'), "file": listed(KEY, who="bob")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    blob = ssh.signed(CONTENT, KEY)
    for names in (("git", "file"), ("file", "git")):
        rings = tuple(str(tmp_path / name) for name in names)
        source = BytesSource("file.bin", CONTENT)
        verdict = assess_as(form_of(blob), source, Context(Options(keyrings=rings, at=AT)))
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert verdict.publisher is not None
        assert verdict.publisher.name == "bob"
    verdict = assess_as(form_of(ssh.signed(CONTENT, KEY, b"git")), source,
                        Context(Options(keyrings=rings, at=AT)))  # fmt: skip
    assert verdict.cause is Code.WRONG_USAGE


def test_lines_of_allowed_signers() -> None:
    line = f'"ann@example.org,*@x" namespaces="a b,c",valid-after="20250101Z" {KEY.line} c'.encode()
    entry = read_line(line)
    assert entry.principals == "ann@example.org,*@x"
    assert (entry.namespaces, entry.blob) == ("a b,c", KEY.blob)
    assert entry.after == datetime(2025, 1, 1, tzinfo=UTC)
    assert is_list(b"# c\n\n" + line)
    assert not is_list(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    assert len(allowed_keys(line + b"\n\n# c\n" + line)) == 1
    assert entries(b"\xff") == ()
    for options in (
        'namespaces="a",namespaces="b"',
        "valid-after=20250101",
        'valid-after="2025"',
        'valid-after="20251301"',
        "no-such-option",
        'cert-authority="x"',
        "namespaces",
    ):
        with pytest.raises(BadInputError):
            read_line(f"ann {options} {KEY.line}".encode())
    for wrong in (b"ann", KEY.line.replace("ed25519", "rsa").encode(), b"a ssh-ed25519 AAA"):
        with pytest.raises(BadInputError):
            read_line(wrong)
    for who in ('""', "!ann@example.org", '"!*,!b"'):
        with pytest.raises(BadInputError):
            read_line(f"{who} {KEY.line}".encode())
    crowded = listed(KEY).encode() * 20_001
    with pytest.raises(BadInputError):
        allowed_keys(crowded)


@pytest.mark.parametrize(
    ("patterns", "text", "fits"),
    [("a", "a", True), ("?", "a", True), ("a.c", "abc", False), ("*,!b", "b", False),
     ("!b,*", "c", True), ("!b", "c", False), ("b,a*", "axy", True), ("", "a", False)],
)  # fmt: skip
def test_patterns(patterns: str, text: str, fits: bool) -> None:
    assert matches(patterns, text) is fits


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "p521", "rsa"])
def test_drafts(kind: str, tmp_path: Path) -> None:
    key = Key(kind)
    spki = read_key(key.blob).spki
    held = ssh_key(spki)
    assert (held.holder, held.spki) == (key.blob, spki)
    algorithm = usual_algorithm(spki)
    digest = content_digest("sha384" if kind == "p384" else "sha256")
    computed = hashlib.new(digest, CONTENT).digest()
    signer = Signer(certificates=(), algorithm=algorithm, digest=digest, holder=held)
    draft = draft_sshsig(signer, digest, computed, "file")
    value = _plain_value(key, draft.to_be_signed, algorithm)
    assert draft.stamped(value) is None
    verdict = judged(draft.seal(value), tmp_path, listed(key))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings


def _plain_value(key: Key, data: bytes, algorithm: Algorithm) -> bytes:
    """Return a value as key providers make them: ECDSA in DER."""
    if key.kind.startswith("p"):
        from cryptography.hazmat.primitives.asymmetric import ec

        return bytes(key.private.sign(data, ec.ECDSA(ssh._CURVES[key.kind][1])))
    return key.value(data, algorithm.digest or "sha512")


def test_what_ssh_has_no_name_for() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448

    for strange in (ed448.Ed448PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        spki = strange.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with pytest.raises(NotSignableError):
            ssh_key(spki)
    held = ssh_key(read_key(Key("rsa").blob).spki)
    pss = Algorithm(scheme="rsa-pss", digest="sha256", mgf_digest="sha256", salt_length=32)
    plain = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
    for algorithm, digest, namespace in (
        (pss, "sha256", "file"),
        (Algorithm(scheme="rsa-pkcs1v15", digest="sha384"), "sha256", "file"),
        (plain, "sha384", "file"),
        (plain, "sha256", ""),
    ):
        signer = Signer(certificates=(), algorithm=algorithm, digest=digest, holder=held)
        with pytest.raises(NotSignableError):
            draft_sshsig(signer, digest, bytes(32), namespace)
    with pytest.raises(NotSignableError):
        draft_sshsig(replace(signer, holder=None), "sha256", bytes(32), "file")


def test_numbers_of_keys_are_written_as_short_as_can_be() -> None:
    octets = struct.pack(">I", 4) + b"\0\x01\0\x01"
    with pytest.raises(BadInputError):
        read_key(string(b"ssh-rsa") + octets + string(b"\0" + b"\xff" * 256))


# --- certificates -----------------------------------------------------------------

CA = Key("p384")
MOMENT = int(AT.timestamp())


def vouched(*principals: str, by: Key = CA, key: Key = KEY, **how: Any) -> bytes:
    """Return a signature by a key that an authority certifies."""
    names = principals or ("ann@example.org",)
    return ssh.signed(CONTENT, key, blob=ssh.certificate(key, by, *names, **how))


def authority(*keys: Key, who: str = "*@example.org", options: str = "") -> str:
    return listed(*(keys or (CA,)), who=who, options=f"cert-authority{options}")


@pytest.mark.parametrize("by", ["ed25519", "p384", "rsa", "sk-ed25519"])
@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa", "sk-ed25519", "sk-p256"])
def test_a_certified_key(kind: str, by: str, tmp_path: Path) -> None:
    key, ca = Key(kind), Key(by)
    blob = vouched("ann@example.org", "root", by=ca, key=key)
    verdict = judged(blob, tmp_path, authority(ca))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    made = verdict.signatures[0]
    assert isinstance(made, TrustedSignature)
    assert isinstance(made.basis, SshPrincipal)
    assert made.basis.principals == ("ann@example.org",)
    assert made.basis.key == fingerprint_text(hashlib.sha256(key.blob).digest())
    assert made.basis.authority == fingerprint_text(hashlib.sha256(ca.blob).digest())
    assert verdict.publisher is not None
    assert verdict.publisher.identity == f"ssh:ann@example.org@{made.basis.authority}"
    changed = judged(blob, tmp_path, authority(ca), CONTENT + b"x")
    assert changed.cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"purpose": 2}, Code.WRONG_USAGE),
        ({"after": MOMENT + 1}, Code.NOT_YET_VALID),
        ({"after": MOMENT, "before": MOMENT + 1}, None),
        ({"before": MOMENT}, Code.EXPIRED),
        ({"critical": string(b"force-command") + string(b"x")}, Code.CRITICAL_EXTENSION),
        ({"behind": b"\0"}, Code.MALFORMED),
        ({"by": Key("p521")}, Code.UNTRUSTED_ROOT),
        ({"by": Key("p521"), "authority": CA.blob}, Code.MALFORMED),
        ({"by": Key("p384", ssh.private("other p384")), "authority": CA.blob},
         Code.CERTIFICATE_SIGNATURE),
        ({"by": Key("rsa"), "rsa_digest": "sha1"}, Code.MALFORMED),
    ],
)  # fmt: skip
def test_what_a_certificate_must_say(
    how: dict[str, Any], cause: Code | None, tmp_path: Path
) -> None:
    assert judged(vouched(**how), tmp_path, authority()).cause is cause


def test_whom_an_authority_may_certify(tmp_path: Path) -> None:
    assert judged(vouched("ann@example.com"), tmp_path, authority()).cause is Code.WRONG_USAGE
    nobody = ssh.signed(CONTENT, KEY, blob=ssh.certificate(KEY, CA))
    assert judged(nobody, tmp_path, authority()).cause is Code.WRONG_USAGE
    assert judged(vouched(), tmp_path, listed(CA)).cause is Code.WRONG_USAGE
    assert judged(vouched(), tmp_path, listed(KEY)).cause is Code.UNTRUSTED_ROOT
    assert judged(ssh.signed(CONTENT, CA), tmp_path, authority()).cause is Code.WRONG_USAGE
    for options, cause in ((',namespaces="git"', Code.WRONG_USAGE), (',namespaces="file"', None),
                           (',valid-before="20200101"', Code.EXPIRED)):  # fmt: skip
        verdict = judged(vouched(), tmp_path, authority(options=options))
        assert verdict.cause is cause, options
    several = authority(who="bob@example.org") + authority(who="ann@*,!x")
    assert judged(vouched(), tmp_path, several).outcome is Outcome.ACCEPTED


def test_each_principal_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "allowed").write_text(
        authority(who="*@example.org,root") + listed(Key("p256"), who="cid,dan")
        + listed(Key("p521"), who="*,!dan")
    )  # fmt: skip
    rings = ["--keyring", str(tmp_path / "allowed")]
    certified, plain = vouched("ann@example.org", "root"), ssh.signed(CONTENT, Key("p256"))
    for blob, fits, others in (
        (certified, ("root", "ann@example.org", "ann@example.org, root"), ("dan", "bob@example.org")),
        (plain, ("cid", "dan", "cid,dan"), ("root", "cid,")),
        (ssh.signed(CONTENT, Key("p521")), ("*,!dan",), ("*", "dan", "!dan", "cid")),
    ):  # fmt: skip
        (tmp_path / "x.sig").write_bytes(blob)
        words = ["verify", "--detached", str(tmp_path / "x.sig"), *rings, str(tmp_path / "x")]
        for who in (*fits, *others):
            assert run([*words, "--publisher", who]) == (0 if who in fits else 1), who


def test_withdrawn_certificates(tmp_path: Path) -> None:
    for data in (
        f"{KEY.line}\n".encode(),
        f"{CA.line}\n".encode(),
        revocations((3, string(hashlib.sha1(KEY.blob).digest()))),
        revocations((2, string(CA.blob))),
    ):
        verdict = judged(vouched(), tmp_path, authority(), revoked=data)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REVOKED)
    other = revocations((2, string(Key("rsa").blob)))
    assert judged(vouched(), tmp_path, authority(), revoked=other).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("gone", [KEY, CA])
def test_a_certificate_in_a_list_as_text_withdraws_its_key(gone: Key, tmp_path: Path) -> None:
    octets = ssh.certificate(gone, Key("p521"), "root")
    name = gone.name.decode().removesuffix("@openssh.com") + "-cert-v01@openssh.com"
    line = f"{name} {base64.b64encode(octets).decode()}\n".encode()
    assert judged(vouched(), tmp_path, authority(), revoked=line).cause is Code.REVOKED
    expected = Code.REVOKED if gone is KEY else None
    assert judged(ssh.signed(CONTENT, KEY), tmp_path, revoked=line).cause is expected


def of_authority(*parts: tuple[int, bytes], ca: bytes = CA.blob) -> bytes:
    """Return a list that withdraws certificates: each part is a kind and what it tells."""
    inner = b"".join(bytes([kind]) + string(data) for kind, data in parts)
    return revocations((1, string(ca) + string(b"") + inner))


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}Q", *values)


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (of_authority((0x20, numbers(3, 7))), True),
        (of_authority((0x20, numbers(3, 8))), False),
        (of_authority((0x21, numbers(7, 7))), True),
        (of_authority((0x21, numbers(1, 6)), (0x21, numbers(8, 1 << 63))), False),
        (of_authority((0x22, numbers(5) + string(b"\x04"))), True),
        (of_authority((0x22, numbers(5) + string(b"\xfb"))), False),
        (of_authority((0x22, numbers(8) + string(b"\xff"))), False),
        (of_authority((0x23, string(b"x") + string(b"login of ann"))), True),
        (of_authority((0x23, string(b"login of"))), False),
        (of_authority((0x20, numbers(7)), ca=b""), True),
        (of_authority((0x20, numbers(7)), ca=KEY.blob), False),
    ],
)
def test_certificates_withdrawn_by_number_or_name(data: bytes, meant: bool, tmp_path: Path) -> None:
    verdict = judged(vouched(), tmp_path, authority(), revoked=data)
    assert verdict.cause is (Code.REVOKED if meant else None), verdict.findings
    plain = judged(ssh.signed(CONTENT, KEY), tmp_path, revoked=data)
    assert plain.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "part", [(0x20, b"\0"), (0x21, numbers(1)), (0x21, numbers(1, 2, 3)), (0x39, b""), (0x23, b"x")]
)
def test_lists_of_certificates_that_cannot_be_read(part: tuple[int, bytes], tmp_path: Path) -> None:
    with pytest.raises(EvidenceError):
        judged(vouched(), tmp_path, authority(), revoked=of_authority(part))


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_no_bit_of_a_certificate_can_be_changed(position: int, bit: int) -> None:
    octets = bytearray(ssh.certificate(KEY, CA, "ann@example.org"))
    octets[position % len(octets)] ^= 1 << bit
    with tempfile.NamedTemporaryFile("w", suffix=".allowed") as file:
        file.write(authority())
        file.flush()
        context = Context(Options(keyrings=(file.name,), at=AT))
        blob = ssh.signed(CONTENT, KEY, blob=bytes(octets))
        verdict = assess_as(form_of(blob), BytesSource("f", CONTENT), context)
    assert verdict.outcome is not Outcome.ACCEPTED


@given(st.binary(max_size=200))
def test_any_certificate_is_read_or_refused(data: bytes) -> None:
    whole = ssh.certificate(KEY, CA, "ann@example.org")
    for octets in (data, whole[: len(data)] + data, whole[:120] + data):
        try:
            read_certificate(octets)
        except BadInputError:
            continue
