"""The fleet inventory: files stored once, hosts whole or not at all, several at a time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from signward.errors import EvidenceError
from signward.inventory import fleet as inventory
from signward.inventory.fleet import Fleet, Size, is_fleet
from signward.policy.rules.fleet import Host, Place, host_bits
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome


def subject(name: str, host: str = "a", **fields: Any) -> Subject:
    plain: dict[str, Any] = {
        "path": f"/opt/{name}",
        "host": host,
        "digests": frozenset({f"file:sha256:{name}"}),
    }
    return Subject(**{**plain, **fields})


def gather(path: Path, *subjects: Subject, at: int = 1, instead: bool = True) -> None:
    with Fleet(path, create=True) as fleet, fleet.gathering(at, instead=instead) as gathering:
        for each in subjects:
            gathering.add(each)


def content(path: Path) -> dict[str, list[tuple[str, str, int]]]:
    """Return where each file was seen, by the one digest it has."""
    with Fleet(path) as fleet:
        hosts = fleet.hosts()
        return {
            next(iter(known.subject.digests)).rpartition(":")[2]:
            [(hosts[place.host].name, place.path, place.times) for place in known.places]
            for known in fleet.known()
        }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.db"


def test_a_file_of_two_hosts_is_stored_once(path: Path) -> None:
    gather(path, subject("x"), subject("y"), subject("x", path="/srv/x"))
    gather(path, subject("x", "b", tags=frozenset({"desk", "lab"})))
    with Fleet(path) as fleet:
        assert fleet.size() == Size(2, 2, 4)
        assert fleet.hosts() == (Host(name="a"), Host(name="b", tags=frozenset({"desk", "lab"})))
    assert content(path) == {
        "x": [("a", "/opt/x", 1), ("a", "/srv/x", 1), ("b", "/opt/x", 1)],
        "y": [("a", "/opt/y", 1)],
    }


def test_all_of_a_subject_comes_back(path: Path) -> None:
    signer = Signer(identity="subject:Example", subject={"common_name": "Example"}, ekus=("1.2",))
    told = subject("x", kind="pe", signers=(signer,), version=(1, 2, 3, 4), cause="expired",
                   outcome=Outcome.REJECTED, unknown=frozenset({"product"}))  # fmt: skip
    gather(path, told)
    with Fleet(path) as fleet:
        (known,) = fleet.known()
    back = {"path": "", "host": "", "tags": frozenset()}
    for field in Subject.__struct_fields__:
        assert getattr(known.subject, field) == back.get(field, getattr(told, field))


def test_a_scan_replaces_what_was_known_of_its_hosts(path: Path) -> None:
    gather(path, subject("x"), subject("y"))
    gather(path, subject("y", "b"))
    gather(path, subject("z"))
    assert content(path) == {"y": [("b", "/opt/y", 1)], "z": [("a", "/opt/z", 1)]}
    with Fleet(path) as fleet:
        assert fleet.size().files == 2


def test_a_log_adds_to_it(path: Path) -> None:
    gather(path, subject("x"))
    for _ in range(2):
        with Fleet(path, create=True) as fleet, fleet.gathering(5, instead=False) as gathering:
            gathering.add(subject("x"), 3)
            gathering.add(subject("z"))
    assert content(path) == {"x": [("a", "/opt/x", 7)], "z": [("a", "/opt/z", 2)]}


def test_a_host_without_files_is_known(path: Path) -> None:
    gather(path, subject("x"))
    with Fleet(path, create=True) as fleet, fleet.gathering(5, instead=True) as gathering:
        gathering.host("a", frozenset({"desk"}))
    with Fleet(path) as fleet:
        assert fleet.hosts() == (Host(name="a", tags=frozenset({"desk"})),)
        assert list(fleet.known()) == []


def _interrupted(path: Path) -> None:
    with Fleet(path, create=True) as fleet, fleet.gathering(5, instead=True) as gathering:
        for number in range(2 * inventory.BATCH + 1):
            gathering.add(subject(f"{number}"))
        raise KeyboardInterrupt


def test_what_is_interrupted_changes_nothing(path: Path) -> None:
    gather(path, subject("x"))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert content(path) == {"x": [("a", "/opt/x", 1)]}


def test_one_fleet_gathers_again_and_again(path: Path) -> None:
    with Fleet(path, create=True) as fleet:
        for host in "ab":
            with fleet.gathering(5, instead=True) as gathering:
                gathering.add(subject("x", host))
        assert fleet.size() == Size(2, 1, 2)


_ENTER = """
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from tests.unit.test_fleet import gather, subject
host = sys.argv[2]
gather(Path(sys.argv[1]), *(subject(f"{n}", host) for n in range(500)), subject(host, host))
"""


def test_processes_take_turns(path: Path) -> None:
    names = [f"host-{number}" for number in range(6)]
    running = [
        subprocess.Popen([sys.executable, "-c", _ENTER, str(path), name], cwd=Path.cwd())
        for name in names
    ]
    assert [process.wait(120) for process in running] == [0] * len(names)
    with Fleet(path) as fleet:
        assert fleet.size() == Size(6, 506, 6 * 501)


def test_a_reader_sees_one_state(path: Path) -> None:
    gather(path, subject("x"))
    with Fleet(path) as fleet, fleet.unchanged():
        assert fleet.size().files == 1
        writer = sqlite3.connect(path, timeout=0, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM subject")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("COMMIT")
        assert [known.number for known in fleet.known()] == [1]
        writer.execute("ROLLBACK")
        writer.close()


def test_numbers_choose_files(path: Path) -> None:
    gather(path, *(subject(f"{n}") for n in range(5)))
    with Fleet(path) as fleet:
        assert [known.number for known in fleet.known(only={2, 4})] == [2, 4]


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_another_program_is_left_alone(path: Path, create: bool) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE host (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(EvidenceError, match="no inventory"):
        Fleet(path, create=create)
    assert path.read_bytes() == before


def test_what_is_no_inventory_is_told(path: Path) -> None:
    with pytest.raises(EvidenceError, match="there is none"):
        Fleet(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(EvidenceError, match="not a database"):
        Fleet(path)


@pytest.mark.parametrize("body", ["80", "81a470617468a1ff", "81a178" + "91" * 5000])
def test_a_damaged_file_is_told(path: Path, body: str) -> None:
    """No subject; a path that is no UTF-8; arrays within arrays."""
    gather(path, subject("x"))
    database = sqlite3.connect(path)
    database.execute(f"UPDATE subject SET body = x'{body}'")
    database.commit()
    database.close()
    with Fleet(path) as fleet, pytest.raises(EvidenceError, match="file 1"):
        list(fleet.known())


@pytest.mark.parametrize("tags", ["'['", "x'5b22ff225d'", "7"])
def test_damaged_tags_are_told(path: Path, tags: str) -> None:
    gather(path, subject("x"))
    database = sqlite3.connect(path)
    database.execute(f"UPDATE host SET tags = {tags}")
    database.commit()
    database.close()
    with pytest.raises(EvidenceError, match=r"tags|rows that no inventory has"), Fleet(path) as it:
        it.hosts()


def test_more_hosts_than_the_limit_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gather(path, subject("x"))
    monkeypatch.setattr(inventory, "MAX_HOSTS", 1)
    with pytest.raises(EvidenceError, match="at most 1"):
        gather(path, subject("x", "b"))
    assert content(path) == {"x": [("a", "/opt/x", 1)]}


def test_it_is_told_by_its_head(path: Path) -> None:
    gather(path)
    assert is_fleet(path.read_bytes()[:100])
    assert not is_fleet(b"SQLite format 3\0".ljust(100, b"\0"))
    assert not is_fleet(b"")


@pytest.mark.parametrize("hosts", [[0], [9], [0, 1, 8], [64, 3, 64]])
def test_hosts_are_bits(hosts: list[int]) -> None:
    bits = host_bits([Place(host, "/") for host in hosts])
    assert [n for n in range(70) if bits >> n & 1] == sorted(set(hosts))


def test_files_without_a_digest_are_told_apart_by_their_paths(path: Path) -> None:
    blank: dict[str, Any] = {"digests": frozenset(), "cause": "unsigned"}
    gather(path, subject("x", **blank), subject("y", **blank))
    gather(path, subject("x", "b", **blank))
    with Fleet(path) as fleet:
        assert fleet.size() == Size(2, 2, 3)


def test_a_log_beside_a_scan_takes_no_tags_away(path: Path) -> None:
    kiosk = frozenset({"kiosk"})
    for order in ((frozenset(), kiosk), (kiosk, frozenset[str]())):
        with Fleet(path, create=True) as fleet, fleet.gathering(5, instead=True) as gathering:
            for tags in order:
                gathering.add(subject("x", tags=tags))
        with Fleet(path) as fleet:
            assert fleet.hosts() == (Host(name="a", tags=kiosk),)


def everything(path: Path) -> list[object]:
    with Fleet(path) as fleet:
        return [*fleet.hosts(), *fleet.known()]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sighting SET path = x'ff'",
        "UPDATE sighting SET count = -1",
        "UPDATE sighting SET count = 9223372036854775807",
        "UPDATE sighting SET count = 'many'",
        "UPDATE sighting SET host = 7",
        "UPDATE host SET tags = 'x'",
        "UPDATE host SET tags = x'00'",
        "UPDATE subject SET body = 'x'",
        "UPDATE subject SET body = x'00'",
        "UPDATE subject SET id = 4611686018427387904",
        "UPDATE subject SET id = -1",
    ],
)
def test_rows_that_no_inventory_has_are_told(path: Path, statement: str) -> None:
    gather(path, subject("x"))
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(EvidenceError):
        everything(path)


def test_an_instant_without_its_zone_is_told(path: Path) -> None:
    zoneless = Signer(identity="subject:Example", begins=datetime(2026, 1, 1))  # noqa: DTZ001
    gather(path, subject("x", signers=(zoneless,)))
    with pytest.raises(EvidenceError, match="timezone"), Fleet(path) as fleet:
        list(fleet.known())
