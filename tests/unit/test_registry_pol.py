"""Registry.pol, written and read: by us, by Samba's reader and by one from PyPI."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import registry_pol
from signward.wire.registry_pol import Setting, binary, number, read, text, write

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SETTINGS = st.builds(
    Setting, key=NAMES, value=NAMES, type=st.integers(0, 11), data=st.binary(max_size=40)
)
EXAMPLE = (
    number(r"Software\Policies\Vendor", "EnableScripts", 1),
    text(r"Software\Policies\Vendor", "Ex;ec[u]tion", "All;Signed]"),
    binary(r"Software\Löwe", "Blob", bytes(range(256))),
)


def test_the_bytes_are_those_of_the_specification() -> None:
    assert write([number("K", "V", 258)]) == (
        b"PReg\x01\0\0\0[\0K\0\0\0;\0V\0\0\0;\0\x04\0\0\0;\0\x04\0\0\0;\0\x02\x01\0\0]\0"
    )
    assert write([]) == b"PReg\x01\0\0\0"


@given(st.lists(SETTINGS, max_size=5))
def test_what_is_written_is_read(settings: list[Setting]) -> None:
    assert read(write(settings)) == tuple(settings)


def test_a_nul_in_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        write([number("a\0b", "V", 1)])


@pytest.mark.parametrize("length", range(len(write(EXAMPLE))))
def test_no_part_of_a_file_is_a_file(length: int) -> None:
    whole = write(EXAMPLE)
    boundaries = {len(write(EXAMPLE[:count])) for count in range(3)}
    if length in boundaries:
        assert read(whole[:length]) == EXAMPLE[: sorted(boundaries).index(length)]
        return
    with pytest.raises(MalformedError):
        read(whole[:length])


@given(st.binary(max_size=80))
def test_hostile_bytes_are_refused_as_bad_input(data: bytes) -> None:
    try:
        read(registry_pol.MAGIC + data)
    except BadInputError:
        return
    assert write(read(registry_pol.MAGIC + data)) == registry_pol.MAGIC + data


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "nothing"),
        (b"PReg\x02\0\0\0", "5052656702000000"),
        (b"PReg\x01\0\0\0(\0", "2800"),
        (b"PReg\x01\0\0\0[\0" + b"a\0" * 10, "a name without its end"),
        (b"PReg\x01\0\0\0[\0\x00\xd8\0\0", "half a surrogate pair"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, found: str) -> None:
    with pytest.raises(MalformedError) as raised:
        read(data)
    assert raised.value.finding.found == found


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_pol, "MAX_DATA", 4)
    monkeypatch.setattr(registry_pol, "MAX_SETTINGS", 2)
    with pytest.raises(LimitError, match="5 octets of data"):
        read(write([binary("K", "V", b"12345")]))
    with pytest.raises(LimitError, match="more settings"):
        read(write([number("K", "V", 1)] * 3))
    monkeypatch.setattr(registry_pol, "MAX_FILE", 20)
    with pytest.raises(LimitError, match="at most 20"):
        read(write([number("K", "V", 1)]))


SAMBA = "/usr/bin/python3"
_SAMBA_READS = """
import sys
from samba.dcerpc import preg
from samba.ndr import ndr_unpack, ndr_pack
data = open(sys.argv[1], "rb").read()
policy = ndr_unpack(preg.file, data)
for entry in policy.entries:
    print(ascii((entry.keyname, entry.valuename, int(entry.type), entry.data)))
open(sys.argv[2], "wb").write(ndr_pack(policy))
"""


def _samba() -> str:
    asked = subprocess.run([SAMBA, "-c", "import samba.dcerpc.preg"], capture_output=True)
    if asked.returncode:
        pytest.skip("python3-samba is not installed")
    return SAMBA


@pytest.mark.interop
def test_samba_reads_and_writes_the_same(tmp_path: Path) -> None:
    python = _samba()
    ours, theirs = tmp_path / "ours.pol", tmp_path / "theirs.pol"
    ours.write_bytes(write(EXAMPLE))
    told = subprocess.run([python, "-c", _SAMBA_READS, str(ours), str(theirs)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    lines = told.stdout.splitlines()
    assert lines[0] == ascii((EXAMPLE[0].key, "EnableScripts", 4, 1))
    assert lines[1] == ascii((EXAMPLE[1].key, "Ex;ec[u]tion", 1, "All;Signed]"))
    assert lines[2] == ascii((EXAMPLE[2].key, "Blob", 3, bytes(range(256))))
    assert read(theirs.read_bytes()) == EXAMPLE


@pytest.mark.interop
def test_the_reader_from_pypi_agrees() -> None:
    registrypol = pytest.importorskip("registrypol.policy", reason="registrypol is not installed")
    plain = (EXAMPLE[0], text("K", "V", "AllSigned"))
    policy = registrypol.RegistryPolicy.from_bytes(write(plain))
    told = [(v.key.rstrip("\0"), v.value.rstrip("\0"), v.type, v.data) for v in policy.values]
    assert told == [(p.key, p.value, p.type, p.data) for p in plain]
    assert read(policy.to_bytes()) == plain
