"""Signed notes, checkpoints and receipts: published examples, and every octet counts."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from signward.authority.log import note
from signward.authority.log.checkpoint import (
    Checkpoint,
    Policy,
    draft,
    open_checkpoint,
    parse_text,
)
from signward.authority.log.faults import NotIncludedError, NotSignedError
from signward.authority.log.note import Type, VerifierKey, cosigned, key_of, read_key
from signward.authority.log.proof import (
    MAX_RECEIPT,
    Receipt,
    check_inclusion,
    open_receipt,
    read_receipt,
)
from signward.authority.log.tree import EMPTY_ROOT, Frontier, leaf_hash, node_hash
from signward.errors import BadInputError, LimitError, MalformedError

# The examples of golang.org/x/mod/sumdb/note (its tests and documentation).
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ADVICE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED_ADVICE = (
    f"{ADVICE}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vA"
    "F1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
).encode()

LOG = Ed25519PrivateKey.from_private_bytes(b"L" * 32)
WITNESS = Ed25519PrivateKey.from_private_bytes(b"W" * 32)
ENTRIES = [b"first", b"second", b"third"]


def verifier(private: Ed25519PrivateKey, name: str, kind: Type = Type.ED25519) -> VerifierKey:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key_of(name, private.public_key().public_bytes(encoding, form), kind)


LOG_KEY = verifier(LOG, "example.test/log")
WITNESS_KEY = verifier(WITNESS, "witness.test/w1", Type.COSIGNATURE)
SECONDS = 1_679_315_147


def tree() -> Frontier:
    return Frontier().extended([leaf_hash(entry) for entry in ENTRIES])


def checkpoint(*, witnessed: bool = False, text: str = "") -> bytes:
    unsigned = draft(tree(), LOG_KEY)
    text = text or unsigned.checkpoint.text
    signatures = [(LOG_KEY, LOG.sign(text.encode()))]
    if witnessed:
        value = SECONDS.to_bytes(8, "big") + WITNESS.sign(cosigned(text, SECONDS))
        signatures.append((WITNESS_KEY, value))
    return note.signed(text, signatures)


def receipt(*, entry: bytes | None = ENTRIES[2]) -> bytes:
    left = node_hash(leaf_hash(ENTRIES[0]), leaf_hash(ENTRIES[1]))
    return Receipt(index=2, path=(left,), note=checkpoint(), entry=entry).text


# --- notes -------------------------------------------------------------------------------------


def test_the_published_note() -> None:
    claimed = note.parse(SIGNED_ADVICE)
    assert claimed.text == ADVICE
    assert [one.name for one in claimed.signatures] == ["PeterNeumann", "EnochRoot"]
    for texts in ([PETER], [ENOCH], [ENOCH, PETER]):
        keys = [read_key(text) for text in texts]
        assert {one.key for one in note.check(claimed, keys)} == set(keys)
        assert [key.text for key in keys] == texts
    with pytest.raises(NotSignedError, match="PeterNeumann, EnochRoot"):
        note.check(claimed, [LOG_KEY])


def test_a_signature_that_does_not_fit_spoils_the_note() -> None:
    changed = SIGNED_ADVICE.replace(b"answer", b"Answer")
    with pytest.raises(NotSignedError, match="does not fit"):
        note.check(note.parse(changed), [read_key(PETER)])
    swapped = SIGNED_ADVICE.replace(b"EnochRoot rwz+eB", b"EnochRoot rwz+eC")
    assert note.check(note.parse(swapped), [read_key(PETER)])  # of a key nobody asked for
    with pytest.raises(NotSignedError, match="does not fit"):
        note.check(note.parse(swapped), [read_key(PETER), read_key(ENOCH)])


def test_one_key_signs_in_another_name_only_as_another_key() -> None:
    other = VerifierKey(name="Peter", type=Type.ED25519, public_key=read_key(PETER).public_key)
    assert other.key_id != read_key(PETER).key_id
    with pytest.raises(NotSignedError):
        note.check(note.parse(SIGNED_ADVICE), [other])


def test_manglings_of_a_key_are_refused() -> None:
    cuts = [PETER[i:j] for i in range(0, len(PETER), 3) for j in range(i + 1, len(PETER), 3)]
    flips = [PETER[:i] + chr(ord(c) + 1) + PETER[i + 1 :] for i, c in enumerate(PETER)]
    wrong = [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "x" * 2000,
    ]
    for text in (*cuts, *flips, *wrong, "", "+", "++", "a b+00000000+AA=="):
        with pytest.raises(BadInputError):
            read_key(text)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"text\n", b"text\n\n", b"text\n\nsig\n", SIGNED_ADVICE[:-1], SIGNED_ADVICE + b"x\n",
        SIGNED_ADVICE.replace(b"\n", b"\r\n"), SIGNED_ADVICE.replace(b"If", b"If\xff"),
        SIGNED_ADVICE.replace(b"If", b"If\0"), SIGNED_ADVICE.replace(b"nAM=", b"nAM"),
        SIGNED_ADVICE.replace(b"nAM=", b"nAN="), SIGNED_ADVICE.replace(b"PeterN", b"Peter+N"),
        "t\n\n— a\xa0b AAAAAAA=\n".encode(), "t\n\n— a AAAAAA==\n".encode(), "t\n\n— a \n".encode(),
        b"t\n\n- a AAAAAAAA\n", "t\n\n—  AAAAAAAA\n".encode(),
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        note.parse(data)


def test_notes_have_bounds() -> None:
    line = "— a AAAAAAAA\n"
    assert len(note.parse(f"t\n\n{line * 16}".encode()).signatures) == 16
    for data in (f"t\n\n{line * 65}".encode(), b"x" * (note.MAX_NOTE + 1)):
        with pytest.raises(LimitError):
            note.parse(data)


@given(st.binary() | st.text().map(str.encode))
@example(b"\n\n")
@example("\n\n\n— a AAAAAAAA\n".encode())
def test_any_octets_are_a_note_or_refused(data: bytes) -> None:
    try:
        claimed = note.parse(data)
    except BadInputError:
        return
    with pytest.raises(NotSignedError):
        note.check(claimed, [LOG_KEY])


@given(st.data())
def test_a_changed_note_is_refused(data: st.DataObject) -> None:
    good = checkpoint(witnessed=True)
    policy = Policy(log=LOG_KEY, witnesses=(WITNESS_KEY,), quorum=1)
    place = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "double"]))
    octet = bytes([good[place] ^ data.draw(st.integers(1, 255))])
    changed = {
        "flip": good[:place] + octet + good[place + 1 :], "cut": good[:place],
        "drop": good[:place] + good[place + 1 :], "double": good[: place + 1] + good[place:],
    }[kind]  # fmt: skip
    if changed != good:
        with pytest.raises((BadInputError, NotSignedError)):
            open_checkpoint(changed, policy)


# --- checkpoints -------------------------------------------------------------------------------


def test_a_checkpoint_is_read_as_written() -> None:
    signed = open_checkpoint(checkpoint(), Policy(log=LOG_KEY))
    assert signed.note == checkpoint()
    assert signed.checkpoint == Checkpoint(origin=LOG_KEY.name, size=3, root=tree().root)
    assert (
        draft(tree(), LOG_KEY).seal(LOG.sign(draft(tree(), LOG_KEY).to_be_signed)) == checkpoint()
    )
    with pytest.raises(ValueError, match="timestamp"):
        draft(tree(), LOG_KEY).seal(b"", (b"token",))


def test_witnesses_count_as_policy_says() -> None:
    wanted = Policy(log=LOG_KEY, witnesses=(WITNESS_KEY,), quorum=1)
    signed = open_checkpoint(checkpoint(witnessed=True), wanted)
    assert signed.witnessed == (("witness.test/w1", datetime.fromtimestamp(SECONDS, UTC)),)
    with pytest.raises(NotSignedError, match="0 witnesses"):
        open_checkpoint(checkpoint(), wanted)
    stranger = verifier(Ed25519PrivateKey.from_private_bytes(b"X" * 32), "x.test", Type.COSIGNATURE)
    with pytest.raises(NotSignedError, match="0 witnesses"):
        open_checkpoint(
            checkpoint(witnessed=True), Policy(log=LOG_KEY, witnesses=(stranger,), quorum=1)
        )
    assert open_checkpoint(checkpoint(witnessed=True), Policy(log=LOG_KEY)).witnessed == ()


def test_a_witness_alone_is_not_the_log() -> None:
    text = draft(tree(), LOG_KEY).checkpoint.text
    value = SECONDS.to_bytes(8, "big") + WITNESS.sign(cosigned(text, SECONDS))
    alone = note.signed(text, [(WITNESS_KEY, value)])
    with pytest.raises(NotSignedError, match="no signature of the log"):
        open_checkpoint(alone, Policy(log=LOG_KEY, witnesses=(WITNESS_KEY,), quorum=1))


def test_a_cosignature_speaks_of_its_time() -> None:
    text = draft(tree(), LOG_KEY).checkpoint.text
    made = WITNESS.sign(cosigned(text, SECONDS))
    later = (SECONDS + 1).to_bytes(8, "big") + made
    for value in (later, made, b"", b"\xff" * 8 + made):
        data = note.signed(text, [(LOG_KEY, LOG.sign(text.encode())), (WITNESS_KEY, value)])
        with pytest.raises((NotSignedError, MalformedError)):
            open_checkpoint(data, Policy(log=LOG_KEY, witnesses=(WITNESS_KEY,)))


def test_another_origin_is_another_log() -> None:
    text = draft(tree(), LOG_KEY).checkpoint.text.replace("example.test", "other.test")
    with pytest.raises(NotSignedError, match="origin"):
        open_checkpoint(checkpoint(text=text), Policy(log=LOG_KEY))
    named = Policy(log=LOG_KEY, origin="other.test/log")
    assert open_checkpoint(checkpoint(text=text), named).checkpoint.origin == "other.test/log"


ROOT = base64.b64encode(tree().root).decode()
EMPTY = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "o\n", "o\n3\n", f"o\n03\n{ROOT}\n", f"o\n-3\n{ROOT}\n", f"o\n+3\n{ROOT}\n",
        f"o\n٣\n{ROOT}\n", f"\n3\n{ROOT}\n", f"o\n3\n{ROOT[:-4]}\n", f"o\n3\n{ROOT}\n\n",
        f"o\n3\n{ROOT}\n\nx\n", f"o\n3\n{ROOT}", f"o\n{2**63}\n{ROOT}\n", f"o\n0\n{ROOT}\n",
        f"o\n 3\n{ROOT}\n", f"o\n3\n{ROOT[:-1]}\n", "o\n3\n\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_text(text)


@pytest.mark.parametrize("text", [f"o\n0\n{EMPTY}\n", f"o\n{2**63 - 1}\n{ROOT}\nmore\nlines\n"])
def test_a_checkpoints_text_is_read_as_written(text: str) -> None:
    assert parse_text(text).text == text


@given(st.text() | st.lists(st.text() | st.integers().map(str) | st.just(ROOT)).map("\n".join))
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    try:
        assert parse_text(text).text == text
    except MalformedError:
        return


# --- receipts ----------------------------------------------------------------------------------


def test_a_receipt_proves_its_entry() -> None:
    proven = open_receipt(receipt(), Policy(log=LOG_KEY))
    assert (proven.index, proven.entry, proven.signed.checkpoint.size) == (2, b"third", 3)
    assert read_receipt(receipt()).text == receipt()
    bare = receipt(entry=None)
    assert read_receipt(bare).text == bare
    assert open_receipt(bare, Policy(log=LOG_KEY), b"third").entry == b"third"
    with pytest.raises(MalformedError, match="no entry"):
        open_receipt(bare, Policy(log=LOG_KEY))


def test_a_receipt_proves_no_other_entry() -> None:
    for data, entry in ((receipt(), b"second"), (receipt(entry=b"other"), None)):
        with pytest.raises(NotIncludedError):
            open_receipt(data, Policy(log=LOG_KEY), entry)


@pytest.mark.parametrize(
    "change",
    [
        (b"tlog-proof@v1", b"tlog-proof@v2"), (b"index 2", b"index 02"), (b"index 2", b"index -1"),
        (b"index 2\n", b""), (b"index 2", b"index 9223372036854775808"), (b"extra ", b"Extra "),
        (b"\n\n", b"\n"), (b"index 2\n", b"index 2\nAAAA\n"), (b"index 2\n", b"index 2\n\n"),
        (b"index 2\n", b"index 2\r\n"), (b"c2sp", b"\xffc2sp"),
        (b"index 2\n", b"index 2\n" + b"A" * 43 + b"=\n" * 70),
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_refused(change: tuple[bytes, bytes]) -> None:
    assert change[0] in receipt()
    with pytest.raises((BadInputError, NotSignedError)):
        open_receipt(receipt().replace(*change, 1), Policy(log=LOG_KEY))


def test_receipts_have_bounds() -> None:
    with pytest.raises(LimitError):
        read_receipt(b"x" * (MAX_RECEIPT + 1))
    many = b"index 2\n" + (base64.b64encode(bytes(32)) + b"\n") * 65
    with pytest.raises(LimitError, match="hashes"):
        read_receipt(receipt().replace(b"index 2\n", many))
    largest = Receipt(index=0, path=(bytes(32),) * 64, note=b"", entry=bytes(65_535)).text
    assert len(largest) + note.MAX_NOTE <= MAX_RECEIPT


@given(st.data())
def test_a_changed_receipt_is_refused(data: st.DataObject) -> None:
    good = receipt()
    place = data.draw(st.integers(0, len(good) - 1))
    changed = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))])
    changed += good[place + 1 :]
    with pytest.raises((BadInputError, NotSignedError, NotIncludedError)):
        open_receipt(changed, Policy(log=LOG_KEY))


@given(st.binary())
def test_any_octets_are_a_receipt_or_refused(data: bytes) -> None:
    for text in (data, b"c2sp.org/tlog-proof@v1\n" + data):
        with pytest.raises(BadInputError):
            open_receipt(text, Policy(log=LOG_KEY))


# --- published: Rekor v2 is a tlog-tiles log ---------------------------------------------------

REKOR2 = (
    "rekor2-checkpoint-missing-root-hash_fail", "rekor2-checkpoint-missing-size_fail",
    "rekor2-checkpoint-multiple-cosigs", "rekor2-checkpoint-two-sigs-cosigned",
    "rekor2-dsse-happy-path", "rekor2-timestamp-with-expired-cert-chain",
)  # fmt: skip
"""Those of sigstore-conformance whose outcome hangs on the log's proof."""


@pytest.mark.parametrize("case", REKOR2)
def test_proofs_of_rekor_v2(case: str, vectors: Path) -> None:
    folder = vectors / "sigstore-conformance/test/assets/bundle-verify" / case
    bundle = json.loads((folder / "bundle.sigstore.json").read_text())
    logged = bundle["verificationMaterial"]["tlogEntries"][0]
    proof = logged.get("inclusionProof", {})
    head = proof.get("checkpoint", {}).get("envelope", "").encode()
    key = _rekor_key(json.loads((folder / "trusted_root.json").read_text()), head)
    made = _receipt_of(logged, proof, head)
    if case.endswith("_fail"):
        with pytest.raises((BadInputError, NotSignedError)):
            open_receipt(made, Policy(log=key))
        return
    proven = open_receipt(made, Policy(log=key))
    assert proven.index == int(logged["logIndex"])
    assert proven.signed.checkpoint.size == int(proof["treeSize"])
    assert proven.signed.checkpoint.root == base64.b64decode(proof["rootHash"])
    path = tuple(base64.b64decode(one) for one in proof["hashes"])
    with pytest.raises(NotIncludedError):
        check_inclusion(leaf_hash(b"other"), proven.index, proven.signed.checkpoint, path)


def _rekor_key(root: dict[str, object], head: bytes) -> VerifierKey:
    """Return the trusted root's Ed25519 key for the log that the checkpoint names."""
    logs = root["tlogs"]
    assert isinstance(logs, list)
    name = head.partition(b"\n")[0].decode()
    (spki,) = (log["publicKey"]["rawBytes"] for log in logs if log["baseUrl"] == f"https://{name}")
    return key_of(name, base64.b64decode(spki))


def _receipt_of(logged: dict[str, str], proof: dict[str, list[str]], head: bytes) -> bytes:
    path = tuple(base64.b64decode(one) for one in proof.get("hashes", ()))
    entry = base64.b64decode(logged["canonicalizedBody"])
    return Receipt(index=int(logged["logIndex"]), path=path, note=head, entry=entry).text
