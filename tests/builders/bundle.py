"""Bundles to sign: folders on disk with every kind of content that a list has seals for."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from pathlib import Path

from tests.samples.macho import DYLIB, fat, program


def info(name: str, **more: object) -> bytes:
    """Return an Info.plist that names ``name`` as the executable."""
    return plistlib.dumps(
        {"CFBundleExecutable": name, "CFBundleIdentifier": f"org.example.{name}",
         "CFBundlePackageType": "APPL", **more}
    )  # fmt: skip


def framework(name: str = "Kit") -> dict[str, bytes | str]:
    """Return a versioned framework: files' bytes, or the target of a link (text)."""
    return {
        f"Versions/A/{name}": program(kind=DYLIB),
        "Versions/A/Resources/Info.plist": info(name),
        "Versions/A/Resources/data.txt": b"of the framework",
        "Versions/Current": "A",
        name: f"Versions/Current/{name}",
        "Resources": "Versions/Current/Resources",
    }


def application(name: str = "App", *, universal: bool = False) -> dict[str, bytes | str]:
    """Return an application with a framework, a helper, a plug-in, links and resources."""
    slices = (("x86_64", program()), ("arm64", program("arm64")))
    files: dict[str, bytes | str] = {
        "Contents/Info.plist": info(name),
        "Contents/PkgInfo": b"APPL????",
        f"Contents/MacOS/{name}": fat(slices) if universal else program(),
        "Contents/MacOS/helper": program(),
        "Contents/MacOS/notes.txt": b"a text where code lies",
        "Contents/Resources/a.txt": b"a resource",
        "Contents/Resources/en.lproj/b.strings": b"text that may be taken out",
        "Contents/Resources/Base.lproj/c.nib": b"text that may not",
        "Contents/Resources/.DS_Store": b"what Finder left",
        "Contents/Resources/link.txt": "a.txt",
        "Contents/PlugIns/Plug.bundle/Contents/Info.plist": info("Plug"),
        "Contents/PlugIns/Plug.bundle/Contents/MacOS/Plug": program(kind=DYLIB),
        "Contents/Library/LaunchServices/agent": program(),
    }
    inner = framework()
    files |= {f"Contents/Frameworks/Kit.framework/{path}": data for path, data in inner.items()}
    return files


def flat() -> dict[str, bytes | str]:
    """Return a bundle without folders, as iOS has them."""
    return {"Info.plist": info("Flat"), "Flat": program("arm64"), "a.png": b"picture",
            "en.lproj/b.strings": b"text"}  # fmt: skip


def lay_out(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files and links below a folder; return it."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
    return folder


def told(folder: Path) -> dict[str, bytes | str]:
    """Return what stands below a folder, as `lay_out` takes it."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found
