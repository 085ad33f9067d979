"""SiPolicy XML as written: valid by the schema, whatever names say, and read back by our reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.compilers._sipolicy import (
    DRIVERS,
    Eku,
    FileKind,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    SiPolicy,
    token,
    write_policy,
)
from signward.policy.blocklist import Subject, read_block_list
from signward.policy.sipolicy import read_policy
from tests.schemas import check_windows

GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def _policy(**changes: object) -> SiPolicy:
    fields: dict[str, object] = {
        "id": GUID,
        "base_id": GUID,
        "version": (10, 0, 0, 7),
        "name": 'Ours & "theirs" <1>',
        "label": "ours 7",
        "options": ("Enabled:UMCI", "Enabled:Audit Mode"),
        "ekus": (Eku(id="ID_EKU_E1", oid="1.3.6.1.4.1.311.10.3.6"),),
        "files": (
            FileRule(id="ID_DENY_D1", kind=FileKind.DENY, digest=bytes(32)),
            FileRule(id="ID_DENY_D2", kind=FileKind.DENY, file_name="a.sys", maximum=(1, 2, 3, 4)),
            FileRule(id="ID_FILEATTRIB_F1", kind=FileKind.ATTRIBUTE, product_name="P"),
            FileRule(id="ID_ALLOW_A1", kind=FileKind.ALLOW, digest=bytes(20)),
        ),
        "signers": (
            Signer(id="ID_SIGNER_S1", name="One", tbs=b"\x11" * 32, ekus=("ID_EKU_E1",),
                   issuer="I", publisher="P", files=("ID_FILEATTRIB_F1",)),
            Signer(id="ID_SIGNER_S2", name="Two", well_known=6),
        ),
        "scenarios": (
            Scenario(
                id="ID_SIGNINGSCENARIO_DRIVERS",
                value=DRIVERS,
                allowed=(SignerRef(signer="ID_SIGNER_S2"),),
                denied=(SignerRef(signer="ID_SIGNER_S1", exceptions=("ID_ALLOW_A1",)),),
                files=("ID_DENY_D1", "ID_DENY_D2"),
            ),
        ),
        "ci_signers": ("ID_SIGNER_S2",),
        "update_signers": ("ID_SIGNER_S2",),
        "supplemental_signers": ("ID_SIGNER_S2",),
        "hvci": 2,
    }  # fmt: skip
    return SiPolicy(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [
    _policy(),
    _policy(base_id="11111111-2222-3333-4444-555555555555"),
    SiPolicy(id=GUID, base_id=GUID, version=(0, 0, 0, 0)),
], ids=["everything", "supplement", "nothing"])  # fmt: skip
def test_it_is_valid_by_the_schema(policy: SiPolicy) -> None:
    check_windows("SiPolicy.xsd", write_policy(policy))


def test_what_was_written_is_what_is_read() -> None:
    root = read_policy("test", write_policy(_policy()))
    assert root.get("PolicyType") == "Base Policy"
    assert root.get("FriendlyName") == 'Ours & "theirs" <1>'
    assert [e.text for e in root.below("Option")] == ["Enabled:UMCI", "Enabled:Audit Mode"]
    assert [e.get("Value") for e in root.below("EKU")] == ["010A2B0601040182370A0306"]
    assert [e.get("Value") for e in root.below("CertRoot")] == ["11" * 32, "06"]
    assert [e.text for e in root.below("String")] == ["ours 7", 'Ours & "theirs" <1>']
    assert next(root.below("PolicyID")).text == "{0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0}"


def _driver(version: str) -> Subject:
    facts = {"original-name": "A.SYS", "fixed-file-version": version}
    return Subject(scenarios=(DRIVERS,), digests=frozenset(), facts=facts, paths=())


def test_our_own_reader_of_block_lists_understands_the_denials() -> None:
    listed = read_block_list("test", write_policy(_policy()))
    denied = _driver("1.2.3.4")
    newer = _driver("1.2.3.5")
    by_hash = Subject(scenarios=(DRIVERS,), digests=frozenset({bytes(32)}), facts={}, paths=())
    assert len(list(listed.findings(denied))) == 1
    assert not list(listed.findings(newer))
    assert len(list(listed.findings(by_hash))) == 1


@given(st.text())
def test_any_name_makes_xml_that_is_read_back(name: str) -> None:
    rule = FileRule(id="ID_ALLOW_A", kind=FileKind.ALLOW, friendly_name=name, file_name="*")
    root = read_policy("test", write_policy(_policy(files=(rule,))))
    written = next(root.below("Allow")).get("FriendlyName")
    assert len(written) == len(name)
    kept = [(a, b) for a, b in zip(name, written, strict=True) if b != "\ufffd"]
    assert all(a == b for a, b in kept)


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True))
def test_a_token_is_fit_for_identifiers(name: str) -> None:
    assert set(token(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
