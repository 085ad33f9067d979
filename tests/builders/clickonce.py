"""ClickOnce manifests as Visual Studio writes them, unsigned, over files given as bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

DSIG = "http://www.w3.org/2000/09/xmldsig#"
IDENTITY = "urn:schemas-microsoft-com:HashTransforms.Identity"
DIGESTS = {"sha1": f"{DSIG}sha1", "sha256": f"{DSIG}sha256"}

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<asmv1:assembly manifestVersion="1.0" xmlns="urn:schemas-microsoft-com:asm.v2"'
    ' xmlns:asmv1="urn:schemas-microsoft-com:asm.v1"'
    f' xmlns:dsig="{DSIG}">\n'
)
TOKEN = "0" * 16


def hash_element(data: bytes, algorithm: str = "sha256", transform: str = IDENTITY) -> str:
    """Return the ``hash`` element over a file's bytes."""
    value = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return (
        f'<hash><dsig:Transforms><dsig:Transform Algorithm="{transform}" /></dsig:Transforms>'
        f'<dsig:DigestMethod Algorithm="{DIGESTS[algorithm]}" />'
        f"<dsig:DigestValue>{value}</dsig:DigestValue></hash>"
    )


def application(
    program: bytes,
    files: Mapping[str, bytes],
    *,
    algorithm: str = "sha256",
    extra: str = "",
    hashed: bool = True,
) -> bytes:
    """Return an application manifest: ``App.exe``, and further files by name."""
    listed = "".join(
        f'  <file name="{name}" size="{len(data)}">{hash_element(data, algorithm)}</file>\n'
        for name, data in files.items()
    )
    return (
        f'{_HEAD}  <asmv1:assemblyIdentity name="App.exe" version="1.0.0.0"'
        f' publicKeyToken="{TOKEN}" language="neutral" processorArchitecture="msil"'
        ' type="win32" />\n'
        '  <application />\n  <entryPoint><assemblyIdentity name="App" version="1.0.0.0"'
        ' language="neutral" processorArchitecture="msil" />'
        '<commandLine file="App.exe" parameters="" /></entryPoint>\n'
        '  <dependency><dependentAssembly dependencyType="preRequisite" allowDelayedBinding="true">'
        '<assemblyIdentity name="Microsoft.Windows.CommonLanguageRuntime" version="4.0.30319.0" />'
        "</dependentAssembly></dependency>\n"
        '  <dependency><dependentAssembly dependencyType="install" allowDelayedBinding="true"'
        f' codebase="App.exe" size="{len(program)}"><assemblyIdentity name="App" version="1.0.0.0"'
        f' language="neutral" processorArchitecture="msil" />'
        f"{hash_element(program, algorithm) if hashed else ''}</dependentAssembly></dependency>\n"
        f"{listed}{extra}</asmv1:assembly>"
    ).encode()


def alone() -> bytes:
    """Return an application manifest that names no file to look at."""
    whole = application(b"", {})
    start = whole.index(b'  <dependency><dependentAssembly dependencyType="install"')
    return whole[:start] + b"</asmv1:assembly>"


def deployment(
    codebase: str, manifest: bytes, *, token: str = TOKEN, mapped: bool = False
) -> bytes:
    """Return a deployment manifest of the application manifest at ``codebase``."""
    extensions = ' mapFileExtensions="true"' if mapped else ""
    return (
        f'{_HEAD}  <assemblyIdentity name="App.application" version="1.0.0.0"'
        f' publicKeyToken="{TOKEN}" language="neutral" processorArchitecture="msil"'
        ' xmlns="urn:schemas-microsoft-com:asm.v1" />\n'
        '  <description asmv2:publisher="Somebody" asmv2:product="App"'
        ' xmlns:asmv2="urn:schemas-microsoft-com:asm.v2"'
        ' xmlns="urn:schemas-microsoft-com:asm.v1" />\n'
        f'  <deployment install="true"{extensions} />\n'
        '  <dependency><dependentAssembly dependencyType="install"'
        f' codebase="{codebase}" size="{len(manifest)}"><assemblyIdentity name="App.exe"'
        f' version="1.0.0.0" publicKeyToken="{token}" language="neutral"'
        ' processorArchitecture="msil" type="win32" />'
        f"{hash_element(manifest)}</dependentAssembly></dependency>\n</asmv1:assembly>"
    ).encode()
