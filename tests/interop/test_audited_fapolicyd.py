"""What the real fapolicyd (Debian) writes down, read: also of files named to deceive."""

from __future__ import annotations

from pathlib import Path

import pytest

from signward.compilers.fapolicyd import COMPILER, Settings
from signward.inventory.audited import read
from signward.policy.rules.model import Action, Rule
from tests.builders import jail
from tests.builders.policies import rule_set

pytestmark = pytest.mark.interop

PROGRAMS = {
    "/opt/good": "/bin/true",
    "/opt/a b": "/bin/uname",
    "/opt/c trust=1": "/bin/echo",
    "/opt/d : path=/opt/good": "/bin/pwd",
    "/opt/e\nline": "/bin/id",
    "/opt/stray.sh": "#!/bin/sh\necho ran\n",
    "/bin/sh": "/bin/dash",
}


@pytest.fixture(autouse=True)
def _able() -> None:
    jail.require()


def test_the_daemons_own_lines_are_read(tmp_path: Path) -> None:
    paths = ("/opt/good", "/lib/**", "/lib64/**", "/usr/lib/**")
    rules = rule_set(Rule(id="good", action=Action.ALLOW, path=paths))
    files = {
        f.name: f.content for f in COMPILER.compile(rules, Settings(watch_fs=("tmpfs",))).files
    }
    told = jail.run_in_jail(tmp_path, files, PROGRAMS, [[p] for p in PROGRAMS])
    assert [run["ran"] for run in told["runs"]] == [place == "/opt/good" for place in PROGRAMS]
    log = tmp_path / "fapolicyd.log"
    log.write_text(told["log"], "utf-8")
    subjects = [seen.subject for seen in read(log)]
    known = {s.path: s for s in subjects if s.path.startswith(("/opt", "/bin"))}
    assert set(known) == {"/opt/good", "/opt/a b", "/opt/stray.sh", "/bin/sh"}
    assert known["/opt/a b"].file_class == "executable"
    assert known["/opt/stray.sh"].file_class == "script"
    assert len([s for s in subjects if "path" in s.unknown and not s.path]) >= 1
    assert all({"host", "signers"} <= s.unknown for s in subjects)
