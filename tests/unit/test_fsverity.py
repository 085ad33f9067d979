"""fs-verity: digests over trees of every shape, and built-in signatures beside files."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections import Counter
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.envelopes.cms_external import is_plain
from signward.errors import BadInputError, MalformedError, NotSignableError
from signward.findings import Code
from signward.formats._fsverity import FsVerityFormat
from signward.formats._ima import ImaFormat, key_id_of
from signward.keys._local import LocalKey
from signward.state import Algorithm, Outcome, Verdict
from signward.verbs.attributes import form_beside
from signward.verbs.detached import form_of
from signward.verbs.verify import assess_as, assess_path
from signward.wire import ima, verity
from signward.wire.source import BytesSource, FileSource
from signward.wire.verity import Parameters
from tests.builders.keyfiles import encoded
from tests.contract.test_formats import RIGHT_CAUSES
from tests.signing import context, identity, sign_beside

CONTENT = bytes(range(256)) * 40
OWN = identity()


def judged(blob: bytes, folder: Path, who: Identity = OWN, content: bytes = CONTENT) -> Verdict:
    return assess_as(form_of(blob), BytesSource("file", content), context(folder, who))


def plain_digest(content: bytes, parameters: Parameters) -> bytes:
    """Return the digest as the document tells it, level by level, with all of it at hand."""
    one = parameters
    size = hashlib.new(one.algorithm).block_size
    salt = one.salt.ljust(-(-len(one.salt) // size) * size, b"\0") if one.salt else b""

    def level(data: bytes) -> bytes:
        blocks = [data[i : i + one.block] for i in range(0, len(data), one.block)]
        return b"".join(
            hashlib.new(one.algorithm, salt + b.ljust(one.block, b"\0")).digest() for b in blocks
        )

    width = hashlib.new(one.algorithm).digest_size
    root = level(content)
    while len(root) > width:
        root = level(root)
    fields = (1, {"sha256": 1, "sha512": 2}[one.algorithm], one.block.bit_length() - 1,
              len(one.salt), 0, len(content), root, one.salt)  # fmt: skip
    packed = struct.pack("<BBBBIQ64s32s144x", *fields)
    return hashlib.new(one.algorithm, packed).digest()


@pytest.mark.parametrize("salt", [b"", b"\xaa\xbb", bytes(32)])
@pytest.mark.parametrize("block", [1024, 4096])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digests_of_every_shape_of_tree(algorithm: str, block: int, salt: bytes) -> None:
    parameters = Parameters(algorithm=algorithm, block=block, salt=salt)
    many = block // hashlib.new(algorithm).digest_size
    shapes = (0, 1, block - 1, block, block + 1, 2 * block, many * block, many * block + 1,
              (many + 1) * block, 2 * many * block, many * many * block + 1)  # fmt: skip
    for size in shapes:
        if size > 20_000_000:
            continue
        content = bytes(size)
        source = BytesSource("file", content)
        assert verity.source_digest(source, parameters) == plain_digest(content, parameters), size


@pytest.mark.parametrize(
    "parameters",
    [Parameters(algorithm="sha1"), Parameters(block=512), Parameters(block=131072),
     Parameters(block=3000), Parameters(block=0), Parameters(block=-4096),
     Parameters(salt=bytes(33))],
)  # fmt: skip
def test_trees_that_no_kernel_builds_are_refused(parameters: Parameters) -> None:
    with pytest.raises(MalformedError):
        verity.source_digest(BytesSource("file", b"x"), parameters)


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("rsa2048", "sha256"), ("rsa3072", "sha512"), ("p256", "sha256"), ("p384", "sha512")],
)
def test_what_is_signed_is_accepted(kind: str, digest: str, tmp_path: Path) -> None:
    who = identity(kind)
    blob = sign_beside(FsVerityFormat(), CONTENT, who, digest)
    verdict = judged(blob, tmp_path, who)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    parameters = Parameters(algorithm=digest)
    expected = verity.source_digest(BytesSource("f", CONTENT), parameters)
    assert verdict.digests[f"fs-verity-{digest}"] == expected


@pytest.mark.parametrize(("kind", "digest"), [("rsa2048", "sha384"), ("ed25519", "sha512"),
                                              ("ml-dsa-65", "sha512")])  # fmt: skip
def test_what_the_kernel_does_not_take_is_refused_by_name(kind: str, digest: str) -> None:
    with pytest.raises(NotSignableError, match=f"{digest}|{kind}"):
        sign_beside(FsVerityFormat(), CONTENT, identity(kind), digest)


def test_no_flipped_byte_of_content_is_accepted(tmp_path: Path) -> None:
    blob, judging = sign_beside(FsVerityFormat(), CONTENT), context(tmp_path, OWN)
    for offset in range(0, len(CONTENT), 7):
        changed = bytearray(CONTENT)
        changed[offset] ^= 1 << (offset % 8)
        verdict = assess_as(form_of(blob), BytesSource("file", bytes(changed)), judging)
        assert verdict.cause is Code.SIGNATURE_MISMATCH
    for content in (CONTENT + b"\0", CONTENT[:-1], b""):
        assert judged(blob, tmp_path, content=content).cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_no_flipped_byte_of_a_signature_is_accepted(kind: str, tmp_path: Path) -> None:
    who = identity(kind)
    blob = sign_beside(FsVerityFormat(), CONTENT, who)
    judging, causes, accepted = context(tmp_path, who), Counter[Code | None](), []
    for offset in range(len(blob)):
        changed = bytearray(blob)
        changed[offset] ^= 1 << (offset * 5 % 8)
        verdict = assess_as(FsVerityFormat(bytes(changed)), BytesSource("f", CONTENT), judging)
        causes[verdict.cause] += 1
        if verdict.outcome is Outcome.ACCEPTED:
            accepted.append(offset)
    assert accepted == []
    assert set(causes) <= RIGHT_CAUSES


def test_block_size_and_salt_must_be_those_signed(tmp_path: Path) -> None:
    own = Parameters(block=1024, salt=b"salt")
    blob = sign_beside(FsVerityFormat(parameters=own), CONTENT)
    source, judging = BytesSource("file", CONTENT), context(tmp_path, OWN)
    told = assess_as(form_of(blob, own), source, judging)
    assert told.outcome is Outcome.ACCEPTED
    assert assess_as(form_of(blob), source, judging).cause is Code.SIGNATURE_MISMATCH


def test_other_messages_are_no_built_in_signatures(tmp_path: Path) -> None:
    from tests.unit.test_detached import signed

    assert not is_plain(signed(CONTENT))
    assert not is_plain(b"")
    assert not is_plain(CONTENT)
    assert is_plain(sign_beside(FsVerityFormat(), CONTENT))
    for blob in (signed(CONTENT), b"", b"\x30\x80", bytes(20000)):
        verdict = assess_as(FsVerityFormat(blob), BytesSource("f", CONTENT), context(tmp_path, OWN))
        assert verdict.cause is Code.MALFORMED


@given(st.binary(max_size=300))
def test_any_octets_are_a_descriptor_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadInputError):
        verity.read_descriptor(data)


def test_a_descriptor_tells_how_the_tree_was_built() -> None:
    packed = struct.pack("<BBBBIQ64s32s144x", 1, 2, 10, 4, 0, 5, bytes(64), b"salt")
    told = verity.read_descriptor(packed)
    assert told == Parameters(algorithm="sha512", block=1024, salt=b"salt")
    for at, value in ((0, 2), (1, 3), (2, 9), (2, 255), (3, 33)):
        broken = bytearray(packed)
        broken[at] = value
        with pytest.raises(MalformedError):
            verity.read_descriptor(bytes(broken))


# --- what the kernel keeps -----------------------------------------------------------------------


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[int, bytes]:
    """Have a file's kernel answer with what stands here, by the type that is asked for."""
    kept: dict[int, bytes] = {}

    def answer(_source: FileSource, kind: int, most: int) -> bytes:
        return kept.get(kind, b"")[:most]

    monkeypatch.setattr(FileSource, "verity_metadata", answer)
    return kept


def test_a_file_is_judged_by_what_the_kernel_keeps(
    kernel: dict[int, bytes], tmp_path: Path
) -> None:
    own = Parameters(block=1024, salt=b"\1\2")
    kernel[verity.SIGNATURE_TYPE] = sign_beside(FsVerityFormat(parameters=own), CONTENT)
    kernel[verity.DESCRIPTOR_TYPE] = struct.pack(
        "<BBBBIQ64s32s144x", 1, 1, 10, 2, 0, len(CONTENT), bytes(64), b"\1\2"
    )
    path, judging = tmp_path / "file", context(tmp_path, OWN)
    path.write_bytes(CONTENT)
    verdict = assess_path(path, judging)
    assert (verdict.format, verdict.outcome) == ("fs-verity", Outcome.ACCEPTED)
    path.write_bytes(CONTENT + b"x")
    assert assess_path(path, judging).cause is Code.SIGNATURE_MISMATCH


def test_a_file_without_verity_has_nothing(tmp_path: Path) -> None:
    """The kernel itself is asked here."""
    from signward.wire.source import open_source

    (tmp_path / "file").write_bytes(CONTENT)
    with open_source(tmp_path / "file") as source:
        assert source.verity_metadata(verity.SIGNATURE_TYPE, 16128) == b""
        assert verity.parameters_of(source) is None
        assert form_beside(source, Code.UNSIGNED) is None


def test_an_ima_signature_of_the_fs_verity_digest(tmp_path: Path) -> None:
    """Nobody here writes them but this test: version 3, kind 6, over ``ima_file_id``."""
    digest = verity.file_digest(CONTENT)
    algorithm = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
    octets = ima.file_id(ima.VERITY, "sha256", digest)
    assert octets == b"\6\4" + digest
    value = LocalKey("test", OWN.key.private).sign(octets, algorithm)
    whole = ima.write_signature(ima.VERITY, 3, "sha256", key_id_of(OWN.certificate), value)
    verdict = judged(whole, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.digests == {"fs-verity-sha256": digest}
    assert judged(whole, tmp_path, content=CONTENT + b"x").cause is Code.SIGNATURE_MISMATCH
    plain = b"\3" + whole[1:]
    verdict = assess_as(ImaFormat(plain), BytesSource("f", CONTENT), context(tmp_path, OWN))
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_the_commands(tmp_path: Path) -> None:
    path, key = tmp_path / "program", tmp_path / "key.pem"
    path.write_bytes(CONTENT)
    key.write_bytes(encoded(OWN.key) + OWN.pem)
    (tmp_path / "anchor.pem").write_bytes(OWN.pem)
    tree = ["--fs-verity-block", "2048", "--fs-verity-salt", "abcd"]
    assert run(["sign", "--key", f"file:{key}", "--fs-verity", *tree, str(path)]) == 0
    words = ["verify", "--anchor", str(tmp_path / "anchor.pem"), "--detached"]
    assert run([*words, f"{path}.fsverity-sig", *tree, str(path)]) == 0
    assert run([*words, f"{path}.fsverity-sig", str(path)]) == 1
    assert run(["sign", "--key", f"file:{key}", "--fs-verity", "--digest", "sha384",
                str(path)]) == 1  # fmt: skip
