"""From issuing to refused: a service runs, and another process judges a file by what it serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe

import signward
from signward.cli import main
from signward.frozen import replace
from signward.keys._generate import generate
from signward.service.roles import load_role
from signward.verbs.authority import export, finding, renew, respond, revoke
from signward.verbs.authority.issue import issue, order
from signward.verbs.authority.realm import Realm
from tests.builders.authority import Clock, founded
from tests.builders.service import serving


class World:
    """An authority that is served, and a file that was signed with a key it certified."""

    def __init__(self, folder: Path, realm: Realm) -> None:
        self.folder, self.realm = folder, realm
        asked = order(realm, "issuing", "code-signing", generate("p-256", folder / "release.key"),
                      subject="Release")  # fmt: skip
        made = issue(realm, "issuing", asked, "tester")
        self.serial = made.serial
        (folder / "release.pem").write_bytes(export.export(realm, self.serial, "path"))
        (folder / "root.pem").write_bytes(export.export(realm, "root", "pem"))
        self.file = folder / "setup.exe"
        self.file.write_bytes(pe.image())
        key = ("--key", f"file:{folder}/release.key", "--cert", f"{folder}/release.pem")
        assert main(["sign", "--quiet", *key, str(self.file)]) == 0

    def verify(self, who: str) -> tuple[int, dict[str, Any]]:
        """Judge the file in a process of its own; return its exit code and the record.

        ``who`` has a cache of his own: what was fetched is used to its own end (docs/limits.md).
        """
        root = Path(signward.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-m", "signward", "verify", "--json", "--online-private",
             "--revocation", "require", "--anchor", self.folder / "root.pem", self.file],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(root),
                 "XDG_CACHE_HOME": str(self.folder / f"cache of {who}")},
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(params=["crl", "ocsp"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    realm = founded(tmp_path / "data", Clock(datetime.now(UTC)))
    if request.param == "crl":
        ca = {**realm.settings.ca, "issuing": replace(realm.settings.ca["issuing"], ocsp_key="")}
        realm.settings = replace(realm.settings, ca=ca)
    roles = [load_role(name) for name in ("ca", "crl", request.param)]
    with serving(realm, list({role.name: role for role in roles}.values())) as service:
        # The port is known only now: what is issued from here on names it.
        realm.settings = replace(realm.settings, url=service.url)
        renew.renew(realm, "issuing", "tester")
        yield World(tmp_path, realm)
    realm.close()


def test_a_revoked_signer_is_refused_by_the_next_process(world: World) -> None:
    code, record = world.verify("one")
    assert (code, record["outcome"]) == (0, "accepted"), record
    revoke.revoke(world.realm, finding.find(world.realm, world.serial), "keyCompromise", "tester")
    time.sleep(respond.REVISION_SECONDS)  # so long a responder may not have looked
    code, record = world.verify("another")
    assert (code, record["cause"]) == (1, "revoked"), record
