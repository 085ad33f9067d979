"""A Debian system in a folder: packages, the archive that lists them, and what dpkg knows."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tests.builders.openpgp import Key, certificate, packet
from tests.builders.openpgp_clear import clear

AT = datetime(2024, 6, 1, tzinfo=UTC)
"""When systems are judged."""

MADE = datetime(2024, 5, 1, tzinfo=UTC)
"""When Releases are made."""

PREFIX = "archive.example.org_debian_dists_sample_"
KEYRING = "/srv/keys/sample.gpg"


@dataclass
class File:
    """A file of a package; with ``link`` a symbolic link, with ``hard`` another name of one."""

    content: bytes = b""
    mode: int = 0o644
    link: str = ""
    hard: str = ""


def tar(members: Mapping[str, File]) -> bytes:
    """A tar archive as dpkg-deb writes it, folders first."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted({str(p) for name in members for p in Path(name).parents}):
            folder = tarfile.TarInfo("." + path)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, file in members.items():
            info = tarfile.TarInfo("." + name)
            info.mode, info.size = file.mode, len(file.content)
            if file.link or file.hard:
                info.type = tarfile.SYMTYPE if file.link else tarfile.LNKTYPE
                info.linkname, info.size = file.link or "." + file.hard, 0
            archive.addfile(info, io.BytesIO(file.content))
    return out.getvalue()


def ar(members: Mapping[str, bytes]) -> bytes:
    """An ar archive."""
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        out += b"\n" * (len(data) % 2)
    return out


@dataclass
class Deb:
    """A package."""

    name: str
    files: Mapping[str, File]
    version: str = "1.0-1"
    architecture: str = "amd64"
    config: tuple[str, ...] = ()
    pack: Callable[[bytes], bytes] = lzma.compress
    suffix: str = ".xz"

    @property
    def control(self) -> bytes:
        return (
            f"Package: {self.name}\nVersion: {self.version}\n"
            f"Architecture: {self.architecture}\nMaintainer: A <a@example.org>\n"
            "Description: a sample\n two lines\n"
        ).encode()

    @property
    def data(self) -> bytes:
        told = {"/control": File(self.control)}
        if self.config:
            told["/conffiles"] = File("".join(f"{path}\n" for path in self.config).encode())
        return ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.gz": gzip.compress(tar(told), mtime=0),
                f"data.tar{self.suffix}": self.pack(tar(self.files)),
            }
        )

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version}_{self.architecture}.deb"

    @property
    def listed(self) -> bytes:
        """Its paragraph in an archive's list."""
        digest = hashlib.sha256(self.data).hexdigest()
        return (
            self.control
            + (
                f"Filename: pool/{self.filename}\nSize: {len(self.data)}\nSHA256: {digest}\n"
            ).encode()
        )


@dataclass
class Machine:
    """A system below ``root``, made by ``write``."""

    root: Path
    debs: tuple[Deb, ...]
    key: Key = field(default_factory=Key)
    at_hand: bool = True
    release: Mapping[str, str] = field(default_factory=dict)
    diversions: str = ""
    merged: bool = True

    def write(self) -> Machine:
        """Install everything; return the machine."""
        if self.merged:
            (self.root / "usr/bin").mkdir(parents=True)
            (self.root / "bin").symlink_to("usr/bin")
        self.put("/etc/apt/sources.list.d/sample.sources", self.sources())
        self.put(KEYRING, certificate(self.key))
        self.put("/var/lib/dpkg/diversions", self.diversions.encode())
        self.put("/var/lib/dpkg/status", b"\n".join(map(self.status, self.debs)))
        for deb in self.debs:
            self.install(deb)
        self.lists()
        return self

    def sources(self) -> bytes:
        return (
            "Types: deb\nURIs: http://archive.example.org/debian\nSuites: sample\n"
            f"Components: main\nSigned-By: {KEYRING}\n"
        ).encode()

    def put(self, path: str, data: bytes, mode: int = 0o644) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)
        return place

    def status(self, deb: Deb) -> bytes:
        conffiles = "".join(f"\n {path} 0123456789abcdef" for path in deb.config)
        told = f"Status: install ok installed\n{f'Conffiles:{conffiles}' if conffiles else ''}"
        return deb.control + told.rstrip("\n").encode() + b"\n"

    def install(self, deb: Deb) -> None:
        for path, file in deb.files.items():
            place = self.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.link:
                place.symlink_to(file.link)
            else:
                content = deb.files[file.hard].content if file.hard else file.content
                self.put(path, content, file.mode)
        folders = {str(p) for path in deb.files for p in Path(path).parents}
        listed = ["/." if one == "/" else one for one in sorted(folders)] + list(deb.files)
        self.put(f"/var/lib/dpkg/info/{deb.name}.list", "".join(f"{p}\n" for p in listed).encode())
        if self.at_hand:
            self.put(f"/var/cache/apt/archives/{deb.filename}", deb.data)

    def packages(self) -> bytes:
        return b"\n".join(deb.listed for deb in self.debs)

    def text(self) -> bytes:
        """The Release."""
        packages = self.packages()
        told = {
            "Origin": "Sample", "Suite": "stable", "Codename": "sample", "Components": "main",
            "Date": format_datetime(MADE, usegmt=True), **self.release,
        }  # fmt: skip
        listed = f" {hashlib.sha256(packages).hexdigest()} {len(packages)}"
        fields = "".join(f"{name}: {value}\n" for name, value in told.items() if value)
        return f"{fields}SHA256:\n{listed} main/binary-amd64/Packages\n".encode()

    def lists(self) -> None:
        """Write apt's lists, anew."""
        self.put(f"/var/lib/apt/lists/{PREFIX}InRelease", clear(self.text(), self.key, made=MADE))
        self.put(f"/var/lib/apt/lists/{PREFIX}main_binary-amd64_Packages", self.packages())

    def lists_apart(self) -> None:
        """Write Release and Release.gpg instead of InRelease."""
        (self.root / f"var/lib/apt/lists/{PREFIX}InRelease").unlink()
        text = self.text()
        self.put(f"/var/lib/apt/lists/{PREFIX}Release", text)
        signature = packet(2, self.key.sign(text, made=MADE))
        self.put(f"/var/lib/apt/lists/{PREFIX}Release.gpg", signature)
