"""The binary form of App Control policies: octet by octet, round trips, and hostile octets."""

from __future__ import annotations

import random
import uuid
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.compilers._cip import HEADER, OPTIONS, claimed_content, read_cip, write_cip
from signward.compilers._sipolicy import (
    HIGHEST,
    Eku,
    FileKind,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    SiPolicy,
    Version,
)
from signward.errors import PolicyError

GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
BASE = "11111111-2222-3333-4444-555555555555"

SMALL = SiPolicy(
    id=GUID,
    base_id=GUID,
    version=(10, 1, 2, 3),
    label="a",
    options=("Enabled:UMCI", "Enabled:Audit Mode"),
    ekus=(Eku(id="ID_EKU_1", oid="1.3.6.1.4.1.311.10.3.6"),),
    files=(
        FileRule(id="ID_ALLOW_1", kind=FileKind.ALLOW, digest=b"\xab" * 3),
        FileRule(id="ID_DENY_1", kind=FileKind.DENY, file_name="b", maximum=(1, 0, 0, 2)),
    ),
    signers=(
        Signer(id="ID_SIGNER_1", name="x", tbs=b"\xcd" * 4, ekus=("ID_EKU_1",), publisher="p"),
    ),
    scenarios=(
        Scenario(id="ID_SIGNINGSCENARIO_1", value=12, allowed=(SignerRef(signer="ID_SIGNER_1"),),
                 files=("ID_ALLOW_1", "ID_DENY_1")),
    ),
    ci_signers=("ID_SIGNER_1",),
    hvci=2,
)  # fmt: skip


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def _string(text: str) -> bytes:
    octets = text.encode("utf-16-le")
    return _words(len(octets)) + octets + bytes(-len(octets) % 4) + _words(0)


def _expected() -> bytes:
    """Put SMALL together by hand, as the two published readers take it apart."""
    nothing = _words(0, 0)
    header = b"".join((
        _words(8), uuid.UUID(GUID).bytes_le, bytes.fromhex("e4f7072e4c19204db7c96f44a6c5a234"),
        _words(0x80000000 | 0x10000 | 4, 1, 2, 1, 1),
        bytes.fromhex("0300 0200 0100 0a00"), _words(0x40),
    ))  # fmt: skip
    eku = _words(12) + bytes.fromhex("010a2b0601040182370a0306")
    denied = _words(0) + _string("b") + bytes(8) + _words(0)
    let_in = _words(1) + nothing + bytes(8) + _words(3) + b"\xab\xab\xab\x00"
    signer = b"".join((_words(0, 4), b"\xcd" * 4, _words(1, 0), nothing, _string("p"), nothing,
                       _words(0)))  # fmt: skip
    scenario = _words(12, 0, 0x800C, 1, 0, 0, 0, 2, 0, 1, *(0,) * 6)
    setting = b"".join((_string("PolicyInfo"), _string("Information"), _string("Id"), _words(3),
                        _string("a")))  # fmt: skip
    third = _words(3) + bytes.fromhex("0200 0000 0000 0100") + _words(0) + bytes(12) + bytes(8)
    return b"".join((
        header, eku, denied, let_in, signer, _words(0), _words(1, 0), scenario, _words(2, 1),
        setting, third, _words(4), nothing * 6, _words(5), (nothing + bytes(8)) * 2,
        _words(6), uuid.UUID(GUID).bytes_le * 2, _words(0), _words(7), nothing * 2, _words(8, 0, 9),
    ))  # fmt: skip


def test_every_octet_is_where_the_published_readers_look_for_it() -> None:
    assert write_cip(SMALL).hex(" ", 4) == _expected().hex(" ", 4)


def test_the_older_format_ends_after_the_paths() -> None:
    older = write_cip(SMALL, 7)
    assert older[:4] == _words(7)
    assert older.endswith(_words(7) + _words(0, 0, 0, 0) + _words(8))
    assert read_cip("test", older) == read_cip("test", write_cip(SMALL))


def test_a_denial_without_versions_is_of_all_versions() -> None:
    by_hash = FileRule(id="ID_DENY_1", kind=FileKind.DENY, digest=bytes(32))
    policy = SiPolicy(id=GUID, base_id=GUID, version=(1, 0, 0, 0), files=(by_hash,))
    data = write_cip(policy)
    assert data[HEADER + 4 : HEADER + 24] == _words(0, 0, 0) + b"\xff" * 8
    (rule,) = read_cip("test", data).files
    assert (rule.minimum, rule.maximum) == (None, None)


_VERSIONS: st.SearchStrategy[Version] = st.tuples(*(st.integers(0, 0xFFFF),) * 4)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def _file_rules() -> st.SearchStrategy[FileRule]:
    end = st.none() | _VERSIONS.filter(any)
    named = st.builds(
        FileRule, id=st.just(""), kind=st.sampled_from(FileKind), file_name=_NAMES,
        internal_name=_NAMES, description=_NAMES, product_name=_NAMES, package_family=_NAMES,
        minimum=end, maximum=end,
    )  # fmt: skip
    placed = st.builds(FileRule, id=st.just(""), kind=st.sampled_from(FileKind),
                       path=_NAMES.filter(bool))  # fmt: skip
    hashed = st.builds(FileRule, id=st.just(""), kind=st.sampled_from(FileKind),
                       digest=st.binary(min_size=1, max_size=33))  # fmt: skip
    return named | hashed | placed


def _some(identifiers: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    known = st.sampled_from(identifiers or [""])
    return st.lists(known, max_size=3 if identifiers else 0, unique=True).map(tuple)


@st.composite
def _policies(draw: st.DrawFn) -> SiPolicy:
    files = [msgspec.structs.replace(rule, id=f"F{n}")
             for n, rule in enumerate(draw(st.lists(_file_rules(), max_size=5)))]  # fmt: skip
    some_files = _some([f.id for f in files])
    ekus = tuple(Eku(id=f"E{n}", oid=f"1.2.{n}.4711") for n in range(draw(st.integers(0, 2))))
    signers = tuple(
        Signer(
            id=f"S{n}", name="", well_known=0 if n else 6, tbs=b"\x01" * 20 if n else b"",
            ekus=tuple(e.id for e in ekus), issuer=draw(_NAMES), publisher=draw(_NAMES),
            oem=draw(_NAMES), files=draw(some_files),
        )
        for n in range(draw(st.integers(0, 3)))
    )  # fmt: skip
    one = st.builds(SignerRef, signer=st.sampled_from([s.id for s in signers] or [""]),
                    exceptions=some_files)  # fmt: skip
    refs = st.lists(one, max_size=2 if signers else 0).map(tuple)
    scenarios = tuple(
        Scenario(id=f"C{value}", value=value, allowed=draw(refs), denied=draw(refs),
                 files=draw(some_files))
        for value in (131, 12)
    )  # fmt: skip
    return SiPolicy(
        id=GUID, base_id=draw(st.sampled_from((GUID, BASE))), version=draw(_VERSIONS),
        name=draw(_NAMES), label=draw(_NAMES), files=tuple(files), ekus=ekus, signers=signers,
        options=tuple(draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True))),
        scenarios=scenarios, hvci=draw(st.integers(0, 2)),
        update_signers=tuple(s.id for s in signers[:1]), ci_signers=tuple(s.id for s in signers),
        supplemental_signers=tuple(s.id for s in signers[1:]),
    )  # fmt: skip


def _meaning(policy: SiPolicy) -> object:
    """Return what a policy says, without the names that the binary form does not keep."""
    files = {f.id: msgspec.structs.replace(f, id="", friendly_name="", minimum=f.bounds[0],
                                           maximum=f.bounds[1]) for f in policy.files}  # fmt: skip
    ekus = {e.id: e.oid for e in policy.ekus}
    signers = {s.id: (s.tbs, s.well_known, [ekus[e] for e in s.ekus], s.issuer, s.publisher, s.oem,
                      [files[f] for f in s.files]) for s in policy.signers}  # fmt: skip

    def refs(given: tuple[SignerRef, ...]) -> object:
        return [(signers[r.signer], [files[f] for f in r.exceptions]) for r in given]

    scenarios = [(s.value, refs(s.allowed), refs(s.denied), sorted(repr(files[f]) for f in s.files))
                 for s in policy.scenarios]  # fmt: skip
    told = (policy.id, policy.base_id, policy.version, policy.name, policy.label, policy.hvci)
    lists = [[signers[s] for s in group] for group in
             (policy.update_signers, policy.supplemental_signers, policy.ci_signers)]  # fmt: skip
    return told, set(policy.options), sorted(map(repr, files.values())), scenarios, lists


@settings(max_examples=300, deadline=None, derandomize=True)
@given(policy=_policies(), form=st.sampled_from((7, 8)))
def test_what_was_written_is_read(policy: SiPolicy, form: Literal[7, 8]) -> None:
    data = write_cip(policy, form)
    again = read_cip("test", data)
    assert _meaning(again) == _meaning(policy)
    assert write_cip(again, form) == data


def test_file_rules_are_sorted_by_kind_name_and_hash() -> None:
    rules = tuple(
        FileRule(id=f"F{n}", kind=kind, file_name=name, digest=digest)
        for n, (kind, name, digest) in enumerate((
            (FileKind.ATTRIBUTE, "a", b""), (FileKind.ALLOW, "", b"\x02"),
            (FileKind.ALLOW, "B", b""), (FileKind.ALLOW, "a", b""),
            (FileKind.ALLOW, "", b"\x01"), (FileKind.DENY, "z", b""),
        ))
    )  # fmt: skip
    policy = SiPolicy(id=GUID, base_id=GUID, version=HIGHEST, files=rules)
    read = read_cip("test", write_cip(policy)).files
    assert [(r.kind.name, r.file_name, r.digest) for r in read] == [
        ("DENY", "z", b""), ("ALLOW", "", b"\x01"), ("ALLOW", "", b"\x02"), ("ALLOW", "a", b""),
        ("ALLOW", "B", b""), ("ATTRIBUTE", "a", b""),
    ]  # fmt: skip


@pytest.mark.parametrize("policy", [
    msgspec.structs.replace(SMALL, options=("Disabled:Default Windows Certificate Remapping",)),
    msgspec.structs.replace(SMALL, ci_signers=("ID_SIGNER_NONE",)),
])  # fmt: skip
def test_what_has_no_place_is_refused(policy: SiPolicy) -> None:
    with pytest.raises(PolicyError):
        write_cip(policy)


def test_every_length_but_the_whole_is_refused() -> None:
    data = write_cip(SMALL)
    for length in range(len(data)):
        with pytest.raises(PolicyError):
            read_cip("test", data[:length])
    with pytest.raises(PolicyError):
        read_cip("test", data + b"\x00")


def test_changed_octets_are_read_or_refused_but_nothing_else() -> None:
    data, chance, refused = write_cip(SMALL), random.Random(5), 0
    for _ in range(4000):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(data))] = chance.choice(
                (0, 1, 2, 255, chance.randrange(256))
            )
        try:
            read_cip("test", bytes(changed))
        except PolicyError:
            refused += 1
    assert 1000 < refused < 4000


def test_a_count_larger_than_the_file_is_refused_at_once() -> None:
    data = bytearray(write_cip(SMALL))
    data[0x28:0x2C] = b"\xff\xff\xff\x7f"
    with pytest.raises(PolicyError, match="a count of"):
        read_cip("test", bytes(data))


@pytest.mark.parametrize("data", [b"0", b"0\x80", b"0\x03\x02\x01\x00", b"0" * 64])
def test_der_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError):
        claimed_content("test", data)
