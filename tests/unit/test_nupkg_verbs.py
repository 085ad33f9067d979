"""NuGet packages on the command line: signed, countersigned, timestamped, shown, stripped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signward.envelopes.cms import CMS_TIMESTAMP, open_countersignatures, open_signatures
from signward.envelopes.cms_counter import with_unsigned_counter
from signward.envelopes.cms_draft import attribute
from signward.errors import MalformedError
from signward.formats._nuget import read_content
from signward.formats.nupkg import FORMAT
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders.packages import package
from tests.builders.web import Server
from tests.desk import Desk, write_key
from tests.signing import identity, sign_bytes

URL = "https://packages.example/v3/index.json"
REPOSITORY = ("--option", "type=repository", "--option", f"service-index={URL}")


def shown(desk: Desk, path: Path) -> dict[str, object]:
    desk.run("show", "--json", "--anchor", desk.folder / "root.pem", path)
    found: dict[str, object] = json.loads(desk.out)
    return found


def test_from_author_to_repository_and_back(desk: Desk, server: Server) -> None:
    unsigned = package()
    path = desk.file("a.nupkg", unsigned)
    second = write_key(desk.folder / "second.pem", identity(name="Signing Test Repository"))
    assert desk.verify(path) == "unsigned"
    assert desk.sign(path) == 0
    assert desk.verify(path) == "accepted"
    assert desk.sign(*REPOSITORY, "--option", "owners=one;two", path, key=second) == 0
    assert desk.verify(path) == "accepted"
    facts = json.dumps(shown(desk, path))
    for words in ('"signature-type": "author"', '"countersignature": "repository"', URL, "one;two"):
        assert words in facts
    assert desk.run("timestamp", "--timestamp", server.url("/tsa"), path) == 0
    artifact = FORMAT.envelopes(BytesSource("a.nupkg", path.read_bytes()))
    (author,) = open_signatures(artifact[0], read_content)
    (repository,) = open_countersignatures(author)
    assert sorted(t.kind for t in author.timestamps) == ["pkcs9", "rfc3161"]
    assert [t.kind for t in repository.timestamps] == ["rfc3161"]
    assert {a.oid for a in repository.unsigned_attributes} == {CMS_TIMESTAMP}
    assert desk.verify(path) == "accepted"
    assert (
        desk.run("verify", "--signatures", "all", "--anchor", desk.folder / "root.pem", path) == 0
    )
    assert desk.run("strip", path) == 0
    assert path.read_bytes() == unsigned


def test_a_second_word_of_a_repository_is_refused(desk: Desk) -> None:
    path = desk.file("a.nupkg", package())
    assert desk.sign(*REPOSITORY, path) == 0
    before = path.read_bytes()
    assert desk.sign(*REPOSITORY, path) == 1
    assert "an author's" in desk.out + desk.err
    assert path.read_bytes() == before


def test_attributes_reach_one_countersignature_and_leave_the_rest() -> None:
    options = {"type": "repository", "service-index": URL}
    data = sign_bytes("a.nupkg", sign_bytes("a.nupkg", package()), options=options)
    (blob,) = FORMAT.envelopes(BytesSource("a.nupkg", data))
    added = attribute("1.2.3.4", der.null())
    changed = with_unsigned_counter(blob, 0, added)
    (before,), (after,) = (
        open_countersignatures(open_signatures(one, read_content)[0]) for one in (blob, changed)
    )
    assert after.to_be_verified == before.to_be_verified
    assert [a.oid for a in after.unsigned_attributes] == ["1.2.3.4"]
    with pytest.raises(MalformedError, match="1 countersignatures"):
        with_unsigned_counter(blob, 1, added)
