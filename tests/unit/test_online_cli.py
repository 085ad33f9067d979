"""``signward verify --online``: what is unknown offline becomes good, or revoked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe, tsa
from conformance.authenticode.cases.base import sign_image, signed_image
from conformance.authenticode.pki import Pki, authority, instant, make_pki, timestamper
from conformance.authenticode.revocation import Revoked, crl, ocsp

import signward
from signward.cli import main
from tests.builders.online import distribution, information, online_pki
from tests.builders.web import Server, running

AT = "2026-01-01T00:00:00Z"
REVOKED_AT = instant(2025, 6)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with running() as server:
        yield server


class World:
    """A signed file, its PKI, and a server for what its certificates name."""

    def __init__(self, folder: Path, server: Server, *, embed_issuer: bool = True) -> None:
        self.server = server
        self.pki: Pki = online_pki(
            leaf=(
                information(ocsp=server.url("/ocsp"), issuer=server.url("/ca.cer")),
                distribution(server.url("/ca.crl")),
            ),
            intermediate=(distribution(server.url("/root.crl")),),
        )
        certificates = self.pki.chain if embed_issuer else (self.pki.leaf.certificate,)
        whole = pe.image()
        signed = pe.signed(whole, sign_image(whole, self.pki, certificates=certificates))
        self.file = folder / "image.exe"
        self.file.write_bytes(signed)
        self.anchor = folder / "root.pem"
        self.anchor.write_bytes(self.pki.root.pem)

    def arguments(self, *more: str) -> list[str]:
        """Return the words of a judgement of the file."""
        return ["verify", "--json", "--anchor", str(self.anchor), "--at", AT, *more, str(self.file)]

    def run(self, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
        """Judge the file; return the exit code and the record."""
        code = main(self.arguments(*more))
        return code, json.loads(capsys.readouterr().out)

    def serve_good(self) -> None:
        """Serve the issuer, and CRLs that list nothing."""
        self.server.serve("/ca.cer", self.pki.intermediate.certificate)
        self.server.serve("/ca.crl", crl(self.pki.intermediate))
        self.server.serve("/root.crl", crl(self.pki.root))


def codes(record: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in record["findings"]}


def statuses(record: dict[str, Any]) -> list[str]:
    path = record["signatures"][0]["path"]["certificates"]
    return [c["revocation"]["status"] for c in path if c.get("revocation")]


ONLINE = ("--online", "--online-private")
REQUIRED = (*ONLINE, "--revocation", "require")


def test_unknown_becomes_good_by_crls(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    code, record = world.run(capsys, "--revocation", "require")
    assert (code, record["cause"]) == (3, "revocation-unknown")
    assert server.requests == []
    code, record = world.run(capsys, *REQUIRED)
    assert (code, statuses(record)) == (0, ["good", "good"])
    assert "revocation-unknown" not in codes(record)


def test_ocsp_is_asked_first_and_suffices(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    server.serve("/ocsp", ocsp(world.pki.leaf))
    code, record = world.run(capsys, *REQUIRED)
    assert (code, statuses(record)) == (0, ["good", "good"])
    assert server.asked("/ocsp")
    assert not server.asked("/ca.crl")


@pytest.mark.parametrize("how", ["crl", "ocsp"])
def test_accepted_becomes_revoked(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    if how == "ocsp":
        server.serve("/ocsp", ocsp(world.pki.leaf, revoked_at=REVOKED_AT))
    else:
        entry = Revoked(serial=world.pki.leaf.serial, at=REVOKED_AT)
        server.serve("/ca.crl", crl(world.pki.intermediate, [entry]))
    assert world.run(capsys)[0] == 0
    code, record = world.run(capsys, *ONLINE)
    assert (code, record["cause"]) == (1, "revoked")


def test_a_missing_issuer_is_fetched_and_then_its_status(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server, embed_issuer=False)
    world.serve_good()
    code, record = world.run(capsys)
    assert (code, record["cause"]) == (1, "no-path")
    code, record = world.run(capsys, *REQUIRED)
    assert (code, statuses(record)) == (0, ["good", "good"])
    assert len(record["signatures"][0]["path"]["certificates"]) == 3


def test_failures_are_notes_and_change_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    code, record = world.run(capsys, *ONLINE)
    assert code == 0
    notes = [f for f in record["findings"] if f["code"] == "revocation-evidence"]
    assert {note["effect"] for note in notes} == {"note"}
    assert {note["required"].rpartition("/")[2] for note in notes} == {
        "ocsp", "ca.crl", "root.crl",
    }  # fmt: skip
    assert world.run(capsys, *REQUIRED)[0] == 3


def test_without_the_private_switch_loopback_is_not_asked(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    code, record = world.run(capsys, "--online")
    assert (code, server.requests) == (0, [])
    assert any("--online-private" in f["found"] for f in record["findings"])


def test_the_cache_answers_the_second_run(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wall clock decides freshness, so this evidence reaches far into the future."""
    world = World(tmp_path, server)
    far = {"this_update": instant(2026, 1, 2), "next_update": instant(2049)}
    server.serve("/ca.crl", crl(world.pki.intermediate, **far))  # type: ignore[arg-type]
    server.serve("/root.crl", crl(world.pki.root, **far))  # type: ignore[arg-type]
    assert world.run(capsys, *REQUIRED)[0] == 0
    asked = len(server.asked("/ca.crl"))
    assert world.run(capsys, *REQUIRED)[0] == 0
    assert len(server.asked("/ca.crl")) == asked == 1


def test_ignored_revocation_fetches_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    assert world.run(capsys, *ONLINE, "--revocation", "ignore")[0] == 0
    assert server.requests == []


def test_an_online_verdict_replays_offline(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the server gone, the cache empty and another validation clock."""
    world = World(tmp_path, server, embed_issuer=False)
    world.serve_good()
    bundle = tmp_path / "bundle"
    assert main(world.arguments(*REQUIRED, "--evidence", str(bundle))) == 0
    first = capsys.readouterr().out
    server.routes.clear()
    server.requests.clear()
    assert main(["verify", "--json", "--replay", str(bundle), str(world.file)]) == 0
    assert capsys.readouterr().out == first
    assert server.requests == []


def test_notes_of_failures_are_replayed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    bundle = tmp_path / "bundle"
    assert main(world.arguments(*REQUIRED, "--evidence", str(bundle))) == 3
    first = capsys.readouterr().out
    assert '"revocation-evidence"' in first
    assert main(["verify", "--json", "--replay", str(bundle), str(world.file)]) == 3
    assert capsys.readouterr().out == first


def test_the_status_of_a_timestamp_authority_is_fetched_too(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its compromise is known only to a list that nothing else on the path names."""
    pki = make_pki(tsa={"extensions": (distribution(server.url("/tsa.crl")),)})
    token = tsa.token(pki.tsa, at=instant(2025))
    path = tmp_path / "a.exe"
    path.write_bytes(signed_image(pki=pki, signer={"unsigned": (token,)}))
    (tmp_path / "root.pem").write_bytes(pki.root.pem)
    entry = Revoked(serial=pki.tsa.serial, at=REVOKED_AT, reason="keyCompromise")
    server.serve("/tsa.crl", crl(pki.root, [entry]))
    words = ["verify", "--json", "--anchor", str(tmp_path / "root.pem"), "--at", AT, str(path)]
    found = []
    for more in ((), ONLINE):
        assert main([*words, *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    offline, online = found
    assert "timestamp-revoked" not in codes(offline)
    assert offline["signatures"][0]["proven_time"] is not None
    assert "timestamp-revoked" in codes(online)
    assert online["signatures"][0]["proven_time"] is None


def test_the_issuer_of_a_timestamp_authority_is_fetched_too(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pki = make_pki()
    middle = authority("Stamp CA", pki.root)
    stamper = timestamper("Stamper", middle, extensions=(information(issuer=server.url("/ca")),))
    token = tsa.token(stamper, at=instant(2025), certificates=(stamper.certificate,))
    path = tmp_path / "a.exe"
    path.write_bytes(signed_image(pki=pki, signer={"unsigned": (token,)}))
    (tmp_path / "root.pem").write_bytes(pki.root.pem)
    server.serve("/ca", middle.certificate)
    words = ["verify", "--json", "--anchor", str(tmp_path / "root.pem"), "--at", AT, str(path)]
    proven = []
    for more in ((), ONLINE):
        assert main([*words, *more]) == 0
        proven.append(json.loads(capsys.readouterr().out)["signatures"][0]["proven_time"])
    assert proven[0] is None
    assert proven[1]["authority"] == "Stamper"


LAZY = (
    "import sys\n"
    "from signward.cli import main\n"
    "main(['verify', '--stage', 'intact', sys.argv[1]])\n"
    "names = {'signward.fetch', 'signward.verbs.online', 'signward.verbs.bundle', 'ssl'}\n"
    "print('LOADED', names & set(sys.modules))\n"
)


def test_an_offline_run_loads_nothing_of_this(tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(pe.image())
    source = str(Path(signward.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LAZY, str(tmp_path / "a.exe")],
        env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "LOADED set()"


def test_a_nonce_is_sent_on_request_and_a_foreign_one_is_no_evidence(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    server.serve("/ocsp", ocsp(world.pki.leaf))
    code, record = world.run(capsys, *REQUIRED, "--online-nonce")
    assert (code, statuses(record)) == (0, ["good", "good"])
    assert [request.method for request in server.asked("/ocsp")] == ["POST"]
    assert not server.asked("/ca.crl")
    server.serve("/ocsp", ocsp(world.pki.leaf, nonce=b"another's"))
    code, record = world.run(capsys, *REQUIRED, "--online-nonce")
    assert (code, statuses(record)) == (0, ["good", "good"])
    assert server.asked("/ca.crl"), "the answer is not taken, so the CRL is asked for"
    (told,) = [f for f in record["findings"] if f["code"] == "revocation-evidence"]
    assert "nonce is not the one that was sent" in told["found"]
    assert told["effect"] == "warn"
    bundle = tmp_path / "bundle"
    assert world.run(capsys, *REQUIRED, "--online-nonce", "--evidence", str(bundle))[1] == record
    assert main(["verify", "--json", "--replay", str(bundle), str(world.file)]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert told in replayed["findings"]


@pytest.mark.parametrize("how", ["crl", "ocsp"])
def test_a_revocation_that_was_heard_of_is_not_forgotten_when_its_server_is_gone(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    far = {"this_update": instant(2026, 1, 2), "next_update": instant(2049)}
    asked_each_time = {"headers": {"Cache-Control": "no-cache"}}
    if how == "ocsp":
        told = ocsp(world.pki.leaf, revoked_at=REVOKED_AT, **far)  # type: ignore[arg-type]
        server.serve("/ocsp", told, **asked_each_time)
    else:
        entry = Revoked(serial=world.pki.leaf.serial, at=REVOKED_AT)
        told = crl(world.pki.intermediate, [entry], **far)  # type: ignore[arg-type]
        server.serve("/ca.crl", told, **asked_each_time)
    assert world.run(capsys, *ONLINE)[1]["cause"] == "revoked"
    server.routes.clear()
    bundle = tmp_path / "bundle"
    code, record = world.run(capsys, *ONLINE, "--evidence", str(bundle))
    assert (code, record["cause"]) == (1, "revoked")
    (warned,) = [f for f in record["findings"]
                 if f["code"] == "revocation-evidence" and f["effect"] == "warn"]  # fmt: skip
    assert "status 404" in warned["found"]
    assert warned["hint"] == "the verdict rests on the answer that came before"
    assert main(["verify", "--json", "--replay", str(bundle), str(world.file)]) == 1
    assert json.loads(capsys.readouterr().out)["findings"] == record["findings"]


def test_without_other_evidence_a_replayed_answer_leaves_the_status_unknown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, server)
    world.serve_good()
    del server.routes["/ca.crl"]
    server.serve("/ocsp", ocsp(world.pki.leaf, nonce=b"another's"))
    assert world.run(capsys, *ONLINE, "--online-nonce")[0] == 0
    code, record = world.run(capsys, *REQUIRED, "--online-nonce")
    assert (code, record["cause"]) == (3, "revocation-unknown")
