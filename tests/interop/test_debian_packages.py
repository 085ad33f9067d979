"""Debian's own tools: packages by dpkg-deb, lists by apt-ftparchive and gpg; and this machine.

Who else can say that a file is a package's: `dpkg --verify` and `debsums` compare with MD5 digests
that lie beside the files, `gpgv` checks the list, `apt-get` says which SHA-256 a package must have.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.packages.places import has_packages
from signward.verbs.verify import assess_path

pytestmark = pytest.mark.interop

SOURCES = """\
Types: deb
URIs: file:{archive}
Suites: sample
Components: main
Signed-By: /etc/apt/keyrings/sample.gpg
"""
CONF = """\
APT::FTPArchive::Release {{ Origin "Sample"; Suite "sample"; Codename "sample";
  Components "main"; Architectures "amd64"; }}
"""
SMALL = ("hostname", "diffutils", "sed", "gzip", "grep", "bsdutils", "mawk", "sensible-utils")
"""Packages of which three that this machine has as its archive does are fetched."""


def tool(*words: str | Path, folder: Path, code: int | None = 0, **more: str) -> str:
    name = str(words[0])
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [found, *map(str, words[1:])], cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"LC_ALL": "C", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"} | more,
    )  # fmt: skip
    assert code is None or done.returncode == code, done.stderr
    return done.stdout


class Built:
    """A package, its archive and a system that it is installed in, all by Debian's tools."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.home = folder / "gnupg"
        self.archive = folder / "archive"
        self._package()
        self._archive()
        self._system()

    def _package(self) -> None:
        tree, pool = self.folder / "tree", self.archive / "pool"
        for path, text in {
            "usr/bin/sample": "#!/bin/sh\necho sample\n", "usr/share/sample/data": "data\n" * 4000,
            "etc/sample.conf": "colour = green\n",
        }.items():  # fmt: skip
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        (tree / "usr/bin/sample").chmod(0o755)
        (tree / "usr/bin/alias").hardlink_to(tree / "usr/bin/sample")
        (tree / "usr/share/sample/link").symlink_to("data")
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(
            "Package: sample\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
            "Description: a sample\n"
        )
        (tree / "DEBIAN/conffiles").write_text("/etc/sample.conf\n")
        files = ("usr/bin/alias", "usr/bin/sample", "usr/share/sample/data")
        sums = (f"{hashlib.md5((tree / one).read_bytes()).hexdigest()}  {one}\n" for one in files)
        (tree / "DEBIAN/md5sums").write_text("".join(sums))
        pool.mkdir(parents=True)
        tool("dpkg-deb", "--root-owner-group", "--build", tree, pool / "sample_1.0-1_all.deb",
             folder=self.folder)  # fmt: skip

    def _archive(self) -> None:
        lists = self.archive / "dists/sample/main/binary-amd64"
        lists.mkdir(parents=True)
        packages = tool("apt-ftparchive", "packages", "pool", folder=self.archive)
        (lists / "Packages").write_text(packages)
        (self.folder / "ftp.conf").write_text(CONF.format())
        suite = self.archive / "dists/sample"
        release = tool("apt-ftparchive", "-c", self.folder / "ftp.conf", "release", ".",
                       folder=suite)  # fmt: skip
        (suite / "Release").write_text(release)
        self.home.mkdir(mode=0o700)
        gpg = ("gpg", "--homedir", self.home, "--batch", "--passphrase", "", "--yes")
        tool(*gpg, "--quick-generate-key", "Sample <sample@example.org>", "rsa3072", "sign",
             folder=self.folder)  # fmt: skip
        tool(*gpg, "--clearsign", "--output", suite / "InRelease", suite / "Release",
             folder=self.folder)  # fmt: skip
        tool(*gpg, "--output", self.folder / "keys.gpg", "--export", folder=self.folder)
        tool("gpgconf", "--homedir", self.home, "--kill", "all", folder=self.folder)

    def _system(self) -> None:
        admin = self.root / "var/lib/dpkg"
        (admin / "info").mkdir(parents=True)
        (admin / "updates").mkdir()
        (admin / "status").touch()
        deb = self.archive / "pool/sample_1.0-1_all.deb"
        tool("dpkg", f"--root={self.root}", "--force-not-root", "--force-script-chrootless",
             "--log=/dev/null", "--install", deb, folder=self.folder)  # fmt: skip
        for path, data in {
            "etc/apt/sources.list.d/sample.sources": SOURCES.format(archive=self.archive).encode(),
            "etc/apt/keyrings/sample.gpg": (self.folder / "keys.gpg").read_bytes(),
            "var/cache/apt/archives/sample_1.0-1_all.deb": deb.read_bytes(),
        }.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(data)
        self._update()

    def _update(self) -> None:
        """Have apt fetch its own lists, under its own names."""
        (self.root / "var/lib/apt/lists/partial").mkdir(parents=True)
        sources = self.root / "etc/apt/sources.list.d/sample.sources"
        told = sources.read_text()
        sources.write_text(told.replace("Signed-By: ", f"Signed-By: {self.root}"))
        set_to = {
            "Dir": str(self.root),
            "Dir::State::status": f"{self.root}/var/lib/dpkg/status",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
        }
        options = [word for name, value in set_to.items() for word in ("-o", f"{name}={value}")]
        tool("apt-get", *options, "update", folder=self.folder)
        sources.write_text(told)
        assert list((self.root / "var/lib/apt/lists").glob("*InRelease"))
        assert list((self.root / "var/lib/apt/lists").glob("*Packages*"))

    def judge(self, path: str) -> Verdict:
        packages = PackageOptions(root=str(self.root), ledger=str(self.folder / "ledger"))
        return assess_path(self.root / path, Context(Options(packages=packages)))

    @property
    def changed_by_dpkg(self) -> set[str]:
        told = tool("dpkg", f"--root={self.root}", "--verify", folder=self.folder, code=None)
        return {line.split()[-1].lstrip("/") for line in told.splitlines() if line[2:3] == "5"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("debian"))


FILES = ("usr/bin/sample", "usr/bin/alias", "usr/share/sample/data", "usr/share/sample/link",
         "etc/sample.conf")  # fmt: skip


def test_what_debians_tools_made_is_vouched_for(built: Built) -> None:
    for path in FILES:
        verdict = built.judge(path)
        assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-package"), path
        assert verdict.publisher is not None
        assert verdict.publisher.name == "Sample <sample@example.org>"
    inrelease = next((built.root / "var/lib/apt/lists").glob("*InRelease"))
    tool("gpgv", "--keyring", built.folder / "keys.gpg", inrelease, folder=built.folder)
    assert built.changed_by_dpkg == set()


def test_what_dpkg_and_debsums_call_changed_is_changed_here(built: Built) -> None:
    """They and we agree; but their digests lie beside the files, and ours are signed."""
    place = built.root / "usr/share/sample/data"
    before = place.read_bytes()
    try:
        place.write_bytes(before[:-1] + b"!")
        assert built.judge("usr/share/sample/data").cause is Code.DIGEST_MISMATCH
        assert built.changed_by_dpkg == {"usr/share/sample/data"}
        told = tool("debsums", f"--root={built.root}", "--changed", "sample", folder=built.folder,
                    code=None)  # fmt: skip
        assert told.strip().endswith("usr/share/sample/data")
        sums = built.root / "var/lib/dpkg/info/sample.md5sums"
        kept = sums.read_text()
        new = hashlib.md5(place.read_bytes()).hexdigest()
        sums.write_text(re.sub(r"\S+(  usr/share/sample/data)", rf"{new}\1", kept))
        assert built.changed_by_dpkg == set()  # whoever changes the one changes the other
        assert built.judge("usr/share/sample/data").cause is Code.DIGEST_MISMATCH
        sums.write_text(kept)
    finally:
        place.write_bytes(before)


def test_a_list_that_gpgv_refuses_is_refused_here(built: Built) -> None:
    place = next((built.root / "var/lib/apt/lists").glob("*InRelease"))
    before = place.read_bytes()
    try:
        place.write_bytes(before.replace(b"Origin: Sample", b"Origin: Simple"))
        told = subprocess.run(["gpgv", "--keyring", built.folder / "keys.gpg", place],
                              capture_output=True, check=False)  # fmt: skip
        assert told.returncode != 0
        assert built.judge("usr/bin/sample").outcome is not Outcome.ACCEPTED
    finally:
        place.write_bytes(before)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Packages that this machine has, as its archive has them: file and SHA-256 that apt says."""
    if not has_packages() or not list(Path("/var/lib/apt/lists").glob("*InRelease")):
        pytest.skip("apt's lists are not on this machine")
    folder = tmp_path_factory.mktemp("debs")
    found: dict[str, tuple[Path, str]] = {}
    for name in SMALL:
        version = tool("dpkg-query", "-W", "-f", "${Version}", name, folder=folder, code=None)
        told = tool("apt-get", "download", "--print-uris", f"{name}={version}", folder=folder,
                    code=None)  # fmt: skip
        uri = re.search(r"' (\S+) \d+ SHA256:([0-9a-f]{64})", told)
        if uri is None:
            continue
        tool("apt-get", "download", "-qq", f"{name}={version}", folder=folder, code=None)
        if (folder / uri[1]).is_file():
            found[name] = folder / uri[1], uri[2]
        if len(found) == 3:
            return found
    pytest.skip("apt-get cannot download packages that are installed here")


def test_this_machines_own_files(
    fetched: dict[str, tuple[Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of packages that were really fetched: the archive's key, and as debsums says."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = next(iter(fetched.values()))[0].parent
    packages = PackageOptions(debs=(str(folder),), ledger=str(tmp_path / "ledger"))
    context = Context(Options(at=datetime.now(UTC), packages=packages))
    system = context.system
    assert system is not None
    for name, (_, sha256) in fetched.items():
        held = next(one for one in system.ledger.packages if one.name == name)
        assert held.deb.hex() == sha256  # apt and we read the same list
        changed = tool("debsums", "--changed", "--all", name, folder=tmp_path, code=None)
        paths = tool("dpkg-query", "-L", name, folder=tmp_path).splitlines()
        files = [path for path in paths if Path(path).is_file()]
        assert files
        for path in files:
            verdict = assess_path(path, context)
            expected = Outcome.REJECTED if path in changed else Outcome.ACCEPTED
            assert verdict.outcome is expected, (path, verdict.cause)
            if expected is Outcome.ACCEPTED:
                assert verdict.publisher is not None
                assert verdict.publisher.identity.startswith("openpgp:")
