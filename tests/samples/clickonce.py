"""ClickOnce manifests to sign: an application's, and a deployment's over one."""

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
