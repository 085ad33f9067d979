"""Signed policies: what the signature covers, which keys count, and that none goes backwards."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest
from conformance.authenticode.keys import Key, key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from signward.cli.commands import run
from signward.envelopes import dsse
from signward.errors import KeyProviderError, PolicyError
from signward.keys import open_key
from signward.policy.rules.signed import PAYLOAD_TYPE, payload_of, read_payload
from signward.verbs.memory import Memory
from signward.verbs.policies.load import load_rules
from signward.verbs.policies.signed import Accepted, Opened, open_signed, policy_keys
from signward.verbs.sealing import Sealer
from tests.builders.feeds import public_pem, spki

BASE = """\
schema = 1
name = "base"
version = {version}

[keys.vendor]
file = "keys/vendor.pem"

[[rule]]
id = "vendor"
action = "allow"
publisher = {{ key = "vendor" }}
"""

SUPPLEMENT = """\
schema = 1
name = "more"
version = 1
supplements = "base"

[[rule]]
id = "tool"
action = "allow"
digest = ["file:sha256:{digest}"]
"""

SIGNER = key("p256", "policy")
OTHER = key("ed25519", "another policy")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def private_file(folder: Path, of: Key, name: str = "key.pem") -> str:
    path = folder / name
    path.write_bytes(of.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(path)


def written(folder: Path, version: int = 1, vendor: bytes | None = None) -> Path:
    """Write a base policy with the key it names; return its path."""
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    (folder / "keys" / "vendor.pem").write_bytes(vendor or public_pem(key("p256", "vendor")))
    path = folder / "base.toml"
    path.write_text(BASE.format(version=version))
    return path


def signed(path: Path, of: Key = SIGNER, output: str = "") -> Path:
    """Sign a policy by the command; return the signed file's path."""
    target = output or f"{path}.signed"
    uri = f"file:{private_file(path.parent, of)}"
    assert run(["policy", "sign", str(path), "--key", uri, "-o", target]) == 0
    return Path(target)


def trusted(folder: Path, *keys: Key) -> list[str]:
    files = []
    for index, one in enumerate(keys or (SIGNER,)):
        path = folder / f"trusted{index}.pem"
        path.write_bytes(public_pem(one))
        files.append(str(path))
    return files


def test_what_was_signed_is_loaded_with_the_keys_it_carries(tmp_path: Path) -> None:
    path = signed(written(tmp_path))
    (tmp_path / "keys" / "vendor.pem").write_bytes(public_pem(key("p256", "changed since")))
    rules = load_rules([path], trusted(tmp_path))
    assert (rules.name, rules.version, [r.id for r in rules.rules]) == ("base", 1, ["vendor"])
    assert rules.keys["vendor"].der == spki(key("p256", "vendor"))


def test_the_command_writes_the_public_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = written(tmp_path), tmp_path / "public.pem"
    uri = f"file:{private_file(tmp_path, SIGNER)}"
    assert run(["policy", "sign", str(path), "--key", uri, "--key-out", str(out)]) == 0
    assert f"signed by key {dsse.key_id(spki(SIGNER))[:16]}" in capsys.readouterr().out
    assert out.read_bytes() == public_pem(SIGNER)
    assert load_rules([Path(f"{path}.signed")], [str(out)]).version == 1


@pytest.mark.parametrize("kind", ["rsa2048", "p384", "ed25519", "ml-dsa-44"])
def test_keys_of_every_kind_sign(tmp_path: Path, kind: str) -> None:
    signer = key(kind, "policy")
    path = signed(written(tmp_path), signer)
    assert load_rules([path], trusted(tmp_path, signer)).version == 1


def test_a_supplement_is_signed_on_its_own_by_any_key_that_counts(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text(SUPPLEMENT.format(digest="0" * 64))
    files = [signed(written(tmp_path)), signed(more, OTHER)]
    rules = load_rules(files, trusted(tmp_path, SIGNER, OTHER))
    assert [r.id for r in rules.rules] == ["vendor", "tool"]
    with pytest.raises(PolicyError, match=r"more.toml.signed: found .* signature by key"):
        load_rules(files, trusted(tmp_path))


def test_without_a_signature_nothing_counts_where_one_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(PolicyError, match="a policy without a signature"):
        load_rules([path], trusted(tmp_path))
    assert load_rules([path]).version == 1


def test_a_signed_policy_is_not_read_without_its_key(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="required the key it is signed by: --policy-key"):
        load_rules([signed(written(tmp_path))])


def test_another_key_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="required a policy signed by a key of --policy-key"):
        load_rules([signed(written(tmp_path), OTHER)], trusted(tmp_path))


def test_no_octet_can_be_changed(tmp_path: Path) -> None:
    data = json.loads(signed(written(tmp_path)).read_bytes())
    payload = bytearray(dsse.open_envelope(json.dumps(data).encode()).claimed_payload)
    keys = policy_keys(trusted(tmp_path))
    for at in range(0, len(payload), 7):
        changed = bytes(payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :])
        data["payload"] = base64.b64encode(changed).decode()
        with pytest.raises(PolicyError, match="does not fit its key"):
            open_signed("p", json.dumps(data).encode(), keys)


def test_a_feed_signed_by_the_same_key_is_no_policy(tmp_path: Path) -> None:
    from signward.trust.feed import PAYLOAD_TYPE as FEED

    sealer = Sealer(open_key(f"file:{private_file(tmp_path, SIGNER)}", lambda _: None))
    payload = payload_of("p", written(tmp_path).read_bytes(), lambda _: public_pem(SIGNER))
    with pytest.raises(PolicyError, match="found payload"):
        open_signed("p", sealer.seal(FEED, payload), [spki(SIGNER)])


def test_an_older_version_is_refused_and_a_newer_one_remembered(tmp_path: Path) -> None:
    old = signed(written(tmp_path, 1), output=str(tmp_path / "old"))
    new = signed(written(tmp_path, 2), output=str(tmp_path / "new"))
    keys = trusted(tmp_path)
    assert load_rules([old], keys).version == 1
    assert load_rules([old], keys).version == 1
    assert load_rules([new], keys).version == 2
    with pytest.raises(PolicyError, match="found version 1, required 2 or later"):
        load_rules([old], keys)
    assert load_rules([new], keys).version == 2


def test_an_older_version_is_refused_after_a_change_of_keys(tmp_path: Path) -> None:
    old = signed(written(tmp_path, 1), OTHER, str(tmp_path / "old"))
    new = signed(written(tmp_path, 2), SIGNER, str(tmp_path / "new"))
    keys = trusted(tmp_path, OTHER, SIGNER)
    assert [load_rules([path], keys).version for path in (old, new)] == [1, 2]
    with pytest.raises(PolicyError, match="required 2 or later"):
        load_rules([old], keys)


@pytest.mark.parametrize("changed", ["rule", "key"])
def test_of_one_version_there_is_one_document(tmp_path: Path, changed: str) -> None:
    first = signed(written(tmp_path), output=str(tmp_path / "first"))
    path = written(tmp_path, vendor=public_pem(OTHER) if changed == "key" else None)
    if changed == "rule":
        path.write_text(path.read_text() + '\n[[rule]]\nid = "x"\naction = "allow"\nkind=["pe"]\n')
    second = signed(path, output=str(tmp_path / "second"))
    keys = trusted(tmp_path)
    load_rules([first], keys)
    with pytest.raises(PolicyError, match="a second document of version 1"):
        load_rules([second], keys)
    load_rules([first], keys)


def test_signing_the_same_again_is_the_same_document(tmp_path: Path) -> None:
    first = signed(written(tmp_path), output=str(tmp_path / "first"))
    again = signed(written(tmp_path), OTHER, str(tmp_path / "again"))
    keys = trusted(tmp_path, SIGNER, OTHER)
    assert load_rules([first], keys) == load_rules([again], keys)


def test_what_does_not_load_is_not_remembered(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text(SUPPLEMENT.format(digest="0" * 64).replace('"base"', '"another"'))
    keys, second = trusted(tmp_path), signed(written(tmp_path, 9), output=str(tmp_path / "9"))
    with pytest.raises(PolicyError, match="supplements"):
        load_rules([second, signed(more)], keys)
    assert load_rules([signed(written(tmp_path, 1))], keys).version == 1


def test_a_memory_that_cannot_be_read_is_no_leave_to_start_anew(tmp_path: Path) -> None:
    path, keys = signed(written(tmp_path)), trusted(tmp_path)
    load_rules([path], keys)
    (kept,) = (tmp_path / "state").rglob("base.json")
    kept.write_bytes(b"{")
    with pytest.raises(PolicyError, match="required the last version accepted"):
        load_rules([path], keys)


def test_without_a_place_to_remember_in_nothing_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(PolicyError, match="a folder to remember accepted versions in"):
        load_rules([signed(written(tmp_path))], trusted(tmp_path))


def test_the_memory_is_not_of_the_file_but_of_the_name(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    first, keys = signed(path), trusted(tmp_path)
    load_rules([first], keys)
    moved = tmp_path / "elsewhere"
    moved.write_bytes(signed(written(tmp_path, 2)).read_bytes())
    with pytest.raises(PolicyError, match="required 3 or later"):
        load_rules([moved], keys)


def test_an_unsignable_policy_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("schema = 2")
    assert (
        run(["policy", "sign", str(path), "--key", f"file:{private_file(tmp_path, SIGNER)}"]) == 2
    )
    assert not (tmp_path / "p.toml.signed").exists()


def test_a_key_outside_the_policys_folder_is_not_carried(tmp_path: Path) -> None:
    (tmp_path / "secret.pem").write_bytes(public_pem(SIGNER))
    folder = tmp_path / "policies"
    folder.mkdir()
    path = folder / "base.toml"
    path.write_text(BASE.format(version=1).replace("keys/vendor.pem", "../secret.pem"))
    uri = f"file:{private_file(tmp_path, SIGNER)}"
    assert run(["policy", "sign", str(path), "--key", uri]) == 2


def test_a_value_that_does_not_fit_its_key_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_key(f"file:{private_file(tmp_path, SIGNER)}", lambda _: None)
    monkeypatch.setattr(type(opened), "sign", lambda *_: b"\x30\x00")
    with pytest.raises(KeyProviderError, match="a key that documents can be signed by"):
        Sealer(opened).seal("t", b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{",
        b'{"policy": 1}',
        b'{"policy": "\\ud800"}',
        b'{"policy": "schema = 1", "other": 1}',
        b'{"policy": "schema = 1"}',
        b'{"policy": "schema = 1", "keys": {"a": "!"}}',
        b'{"schema": 2, "policy": ""}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_payloads_that_are_none(payload: bytes) -> None:
    with pytest.raises(PolicyError):
        read_payload("p", payload)


def test_a_key_that_is_too_large_is_not_carried() -> None:
    body = {"policy": "", "keys": {"a": bytes(1024 * 1024 + 1)}}
    with pytest.raises(PolicyError, match="octets in key file 'a'"):
        read_payload("p", msgspec.json.encode(body))


def test_two_documents_of_one_call_are_remembered_together(tmp_path: Path) -> None:
    memory = Accepted(Memory(tmp_path / "memory"))
    documents = [
        Opened(read_payload("p", payload_of("p", text.encode(), lambda _: b""))[0], {}, "0" * 64)
        for text in ('schema=1\nname="a"\nversion=2', 'schema=1\nname="b"\nversion=1')
    ]
    with pytest.raises(ZeroDivisionError), memory.advancing(documents):
        raise ZeroDivisionError
    assert not list((tmp_path / "memory").glob("*.json"))
    with memory.advancing(documents):
        pass
    assert sorted(p.name for p in (tmp_path / "memory").glob("*.json")) == ["a.json", "b.json"]


def test_older_versions_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = signed(written(tmp_path, 1), output=str(tmp_path / "old"))
    new = signed(written(tmp_path, 2), output=str(tmp_path / "new"))
    (trust,) = trusted(tmp_path)
    assert load_rules([new], [trust]).version == 2
    key_option = ("--policy-key", trust)
    assert run(["policy", "diff", str(old), str(new), *key_option]) == 1  # they differ
    assert run(["policy", "check", str(new), *key_option]) == 0
    assert run(["policy", "check", str(old), *key_option]) == 2
    assert "required 2 or later" in capsys.readouterr().err
    assert run(["policy", "diff", str(old), str(new)]) == 2


def test_the_payload_type_is_its_own() -> None:
    assert PAYLOAD_TYPE == "application/vnd.signward.policy+json"
