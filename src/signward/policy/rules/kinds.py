"""Classes of files that rules speak of: wider than a kind of file, and the same on every platform.

A rule's ``kind`` names a class or one kind of ``inventory.classify``.  A class says what a file is
to whoever starts it: Windows tells programs, libraries and drivers apart, and all three are PE.
"""

from __future__ import annotations

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    "executable": "programs: PE, ELF and Mach-O that are started",
    "library": "libraries and plug-ins that programs load: DLL, .so, .dylib, Java archives",
    "driver": "Windows kernel drivers",
    "kernel-module": "Linux kernel modules, macOS kernel and system extensions",
    "script": "scripts that an interpreter reads",
    "installer": "installer packages: MSI, CAB, .pkg, VIB, images of network devices",
    "app-package": "application packages: MSIX, APPX, APK, ClickOnce, VSIX",
    "package": "packages of a package manager: deb, rpm, wheel, npm, NuGet",
    "image": "container images",
    "firmware": "EFI programs and what else runs before the operating system",
    "source": "commits and tags of source code",
    "sql-assembly": "assemblies and modules in a database server",
}

SCRIPTS = frozenset({
    "powershell", "javascript", "vbscript", "wsf", "mof", "python", "shell", "perl", "ruby",
    "php", "lua", "tcl", "awk", "batch", "script", "applescript",
})  # fmt: skip

_DEVICES = ("swi", "cisco-image", "junos")
"""Images and packages of network devices."""

_BY_KIND: Mapping[str, str] = {
    **dict.fromkeys(SCRIPTS, "script"),
    **dict.fromkeys(("msi", "cab", "pkg", "dmg", "vib", *_DEVICES), "installer"),
    **dict.fromkeys(("msix", "apk", "clickonce", "vsix"), "app-package"),
    **dict.fromkeys(("deb", "rpm", "wheel", "nupkg", "npm", "sdist"), "package"),
    **dict.fromkeys(("macho", "macho-fat", "elf"), "executable"),
    **dict.fromkeys(("oci-image",), "image"),
    **dict.fromkeys(("git-commit", "git-tag"), "source"),
    "jar": "library",
    "kernel-module": "kernel-module",
    "bundle": "library",
}


_OF_BUNDLES: Mapping[str, str] = {
    ".app": "executable",
    **dict.fromkeys((".kext", ".dext", ".systemextension"), "kernel-module"),
}
"""By a bundle's extension; others are loaded by programs."""
_OF_MACHO: Mapping[str, str] = {"execute": "executable", "kext": "kernel-module", "object": ""}
"""By the type in a Mach-O's header; others are loaded by programs."""
_ELF_ROLES: Mapping[str, str] = {"executable": "executable", "library": "library"}
"""What an ELF file is to whoever starts or loads it; nothing starts an object file or a core."""


NAMED = frozenset({"pe", *CLASSES, *_BY_KIND})
"""What rules may name here; scans know further kinds, which are of no class."""


def class_of(kind: str, facts: Mapping[str, str | int]) -> str:
    """Return the class of a file of ``kind`` with these facts; empty for what nothing starts."""
    if kind == "pe":
        return _of_pe(facts)
    if kind == "bundle":
        return _OF_BUNDLES.get(str(facts.get("bundle", "")), "library")
    if kind in ("macho", "macho-fat") and "type" in facts:
        return _OF_MACHO.get(str(facts["type"]), "library")
    if kind == "elf" and "elf-role" in facts:
        return _ELF_ROLES.get(str(facts["elf-role"]), "")
    return _BY_KIND.get(kind, "")


def _of_pe(facts: Mapping[str, str | int]) -> str:
    if facts.get("driver") == 1:
        return "driver"
    if str(facts.get("subsystem", "")).startswith("efi"):
        return "firmware"
    return "library" if facts.get("dll") == 1 else "executable"
