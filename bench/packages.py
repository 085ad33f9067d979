"""Measure packages: APKs, JARs and RPMs beside apksigner, jarsigner and rpmkeys, many a process.

rpmkeys checks signatures and the packed payload's digest; Signward unpacks it besides and checks
each file's.

Java's tools take one file a process; here their own classes judge all files in one virtual
machine, which costs a start once, so that what is compared is verifying.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo.fetch import CorpusMissingError, require

from bench.measure import REPOSITORY, NotMeasuredError, Row, medians, tool
from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import Outcome, Stage
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path

APKS = ("fdroidserver", "appium-settings")
JARS = "node-liquibase"
"""One of its JARs is signed by its publisher; jarsigner signs others for the comparison."""

COUNTS = {"APK": 280, "JAR": 104, "RPM": 360}
"""Files judged a round, the same ones over again: Java's machine warms up on the first ones."""

APKSIG = Path("/usr/share/java/apksig.jar")
"""Where Debian's libapksig-java has apksigner's own classes."""

_PROGRAM = REPOSITORY / "bench/peers/Verifying.java"


def against_peers(rounds: int) -> list[Row]:
    """Compare each kind of package with its own tool; a kind that cannot be says why."""
    rows: list[Row] = []
    for name, compare in (("APK", _apk), ("JAR", _jar), ("RPM", _rpm)):
        try:
            rows += compare(rounds)
        except NotMeasuredError as error:
            rows.append(Row(name, "not measured", "", str(error)))
    return rows


def _apk(rounds: int) -> list[Row]:
    """Judge packages as apksigner does, which knows no pins: their integrity."""
    if not APKSIG.is_file():
        raise NotMeasuredError("libapksig-java is not installed")
    files = _intact([p for name in APKS for p in _tree(name).rglob("*.apk")])
    with _java("apk") as command:
        return [_row("APK, ratio to apksigner", files, rounds, command)]


def _jar(rounds: int) -> list[Row]:
    """Judge JARs as jarsigner does, whom no keystore tells: their integrity."""
    real = sorted(_tree(JARS).rglob("*.jar"))
    with _java("jar") as command, tempfile.TemporaryDirectory() as folder:
        return [_row("JAR, ratio to jarsigner", _intact(_signed(real, folder)), rounds, command)]


def _signed(paths: Sequence[Path], folder: str) -> list[Path]:
    """Return copies of JARs; those without a signature jarsigner signs, with a key of its own."""
    store = f"{folder}/keys.p12"
    access = ["-keystore", store, "-storepass", "bench-only"]
    subprocess.run([tool("keytool"), "-genkeypair", *access, "-alias", "bench", "-keyalg", "RSA",
                    "-keysize", "2048", "-dname", "CN=Bench"],
                   check=True, capture_output=True)  # fmt: skip
    copies = [Path(shutil.copy(path, folder)) for path in paths]
    for copy in copies:
        if assess_path(copy, _context()).cause is Code.UNSIGNED:
            subprocess.run([tool("jarsigner"), *access, str(copy), "bench"],
                           check=True, capture_output=True)  # fmt: skip
    return copies


def _rpm(rounds: int) -> list[Row]:
    """Judge the signed RPM that could be had, of 5 KB, and ones that rpmbuild makes of JARs."""
    with tempfile.TemporaryDirectory() as folder:
        tree = _tree("rpm") / "rpm-4.18.0/tests/data"
        key, made = _built(sorted(_tree(JARS).rglob("*.jar")), Path(folder))
        keys = [str(tree / "keys/rpm.org-rsa-2048-test.pub"), key]
        words = [tool("rpmkeys"), "--dbpath", f"{folder}/database"]
        subprocess.run([*words, "--import", *keys], check=True, capture_output=True)
        small = _intact(list((tree / "RPMS").glob("*-signed.rpm")), keyrings=keys)
        return [
            _row(f"RPM, {what}, ratio to rpmkeys", files, rounds, [*words, "--checksig"], keys)
            for what, files in (("small", small), ("of a JAR each", _intact(made, keyrings=keys)))
        ]


def _built(contents: Sequence[Path], folder: Path) -> tuple[str, list[Path]]:
    """Return a public key's file, and an RPM of each file: built, and signed by rpmsign and gpg."""
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    gpg = [tool("gpg"), "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    _run([*gpg, "--quick-generate-key", "Bench <bench@example.org>", "rsa2048", "sign", "never"])
    _run([*gpg, "--armor", "--output", f"{folder}/key.asc", "--export"])
    for number, path in enumerate(contents):
        spec = folder / "one.spec"
        spec.write_text(
            f"Name: bench{number}\nVersion: 1\nRelease: 1\nSummary: Bench\nLicense: none\n"
            "BuildArch: noarch\n%description\nBench\n%install\n"
            f"install -D '{path}' %{{buildroot}}/opt/one.jar\n%files\n/opt/one.jar\n"
        )
        _run([tool("rpmbuild"), "-bb", "--define", f"_topdir {folder}/build", str(spec)])
    made = sorted((folder / "build/RPMS").rglob("*.rpm"))
    _run([tool("rpmsign"), "--define", "_gpg_name Bench", "--define", f"_gpg_path {home}",
          "--define", f"__gpg {gpg[0]}", "--addsign", *map(str, made)])  # fmt: skip
    return f"{folder}/key.asc", made


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotMeasuredError(f"{command[0]}: {done.stderr[-200:]}")


def _tree(name: str) -> Path:
    try:
        return require(name)
    except CorpusMissingError as error:
        raise NotMeasuredError(str(error)) from None
    except KeyError:
        raise NotMeasuredError(f"no sample is called {name}") from None


def _context(keyrings: Sequence[str] = ()) -> Context:
    return Context(Options(policy=Policy(stage=Stage.INTACT), keyrings=tuple(keyrings)))


def _intact(found: Sequence[Path], keyrings: Sequence[str] = ()) -> list[Path]:
    """Return the files whose signatures are intact; raise ``NotMeasuredError`` for none."""
    context = _context(keyrings)
    files = [p for p in sorted(found) if assess_path(p, context).outcome is Outcome.ACCEPTED]
    if not files:
        raise NotMeasuredError("no sample of it has a signature that is intact")
    return files


@contextmanager
def _java(kind: str) -> Iterator[list[str]]:
    """Yield the words that have Java judge files of one kind, in one virtual machine."""
    with tempfile.TemporaryDirectory() as folder:
        exports = ["--add-exports", "jdk.jartool/sun.security.tools.jarsigner=ALL-UNNAMED"]
        path = f"{folder}:{APKSIG}"
        subprocess.run([tool("javac"), "-d", folder, "--class-path", path, *exports, str(_PROGRAM)],
                       check=True, capture_output=True)  # fmt: skip
        yield [tool("java"), "--class-path", path, *exports, "Verifying", kind]


def _row(
    what: str, files: Sequence[Path], rounds: int, command: Sequence[str],
    keyrings: Sequence[str] = (),
) -> Row:  # fmt: skip
    """Compare the files a second, ``COUNTS`` of them a round; all must pass both sides."""
    context, times = _context(keyrings), COUNTS[what[:3]] // len(files)
    names = [str(path) for path in files] * times

    def ours() -> None:
        for path in names:
            if assess_path(path, context).outcome is not Outcome.ACCEPTED:
                raise NotMeasuredError(f"{path} is not accepted")

    def theirs() -> None:
        done = subprocess.run([*command, *names], check=False, capture_output=True, text=True)
        if done.returncode:
            raise NotMeasuredError(f"{command[0]}: {done.stdout[-200:]} {done.stderr[-200:]}")

    mine, peer = medians(rounds, ours, theirs)
    octets = sum(path.stat().st_size for path in files)
    figure = (
        f"{peer.wall / mine.wall:.1f}x ({len(names) / mine.wall:.0f} and "
        f"{len(names) / peer.wall:.0f} files/s); in processor time "
        f"{peer.processor / mine.processor:.1f}x"
    )
    how = (
        f"{len(files)} files, {octets / 1e6:.1f} MB, each {times} times; integrity, one "
        "process each side, the peer's start included"
    )
    return Row(what, figure, "", how)
