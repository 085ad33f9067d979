"""ClickOnce manifests to sign: an application's, and a deployment's over one."""

import re

from tests.builders.clickonce import application, deployment

_PROGRAM, _DATA = b"MZ program", b"settings"
_APPLICATION = application(_PROGRAM, {"data\\settings.txt": _DATA})
_FOLDER = "Application Files/App_1"

SAMPLES = {
    "App.exe.manifest": lambda: _APPLICATION,
    "App.application": lambda: deployment(
        "Application Files\\App_1\\App.exe.manifest", _APPLICATION, mapped=True
    ),
}
COMPANIONS = {
    "App.exe.manifest": {"App.exe": _PROGRAM, "data/settings.txt": _DATA},
    "App.application": {
        f"{_FOLDER}/App.exe.manifest": _APPLICATION,
        f"{_FOLDER}/App.exe.deploy": _PROGRAM,
        f"{_FOLDER}/data/settings.txt.deploy": _DATA,
    },
}
BYTE_EXACT = True

_UNUSED = re.compile(rb'<as:assemblyIdentity [^>]*?( xmlns="[^"]*")')


def exempt(data: bytes) -> frozenset[int]:
    """Return offsets that canonical form leaves out: a namespace that nothing is in."""
    return frozenset(at for m in _UNUSED.finditer(data) for at in range(m.start(1), m.end(1)))
