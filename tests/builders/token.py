"""A SoftHSM token for tests: set up with SoftHSM's and OpenSC's own tools, gone with its folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pkcs11
import pytest
from conformance.authenticode.keys import Key

PIN = "87 secret 65"
SO_PIN = "12345678"

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)  # fmt: skip


def missing_tool() -> str:
    """Name what is not installed, or return an empty string."""
    for tool in ("softhsm2-util", "pkcs11-tool", "openssl"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return "" if module() else "libsofthsm2.so is not installed"


def module() -> str:
    """Return SoftHSM's module, or an empty string."""
    return next((path for path in _MODULES if Path(path).is_file()), "")


class SoftHsm:
    """Tokens in one folder, which SOFTHSM2_CONF names for as long as ``patch`` lasts."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))

    def ready(self) -> None:
        """Let the module in this process read its configuration, which it does once."""
        pkcs11.lib(module()).reinitialize()

    def run(self, *arguments: str | Path) -> bytes:
        """Run a tool and return what it printed."""
        done = subprocess.run([str(a) for a in arguments], capture_output=True)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def make_token(self, label: str) -> None:
        """Initialise a token."""
        self.run("softhsm2-util", "--init-token", "--free", "--label", label,
                 "--pin", PIN, "--so-pin", SO_PIN)  # fmt: skip

    def tool(self, token: str, *arguments: str | Path) -> bytes:
        """Run pkcs11-tool on a token, logged in."""
        return self.run("pkcs11-tool", "--module", module(), "--token-label", token,
                        "--login", "--pin", PIN, *arguments)  # fmt: skip

    def generate(self, token: str, kind: str, label: str, identifier: str) -> None:
        """Make a key pair that never leaves the token."""
        self.tool(token, "--keypairgen", "--key-type", kind, "--label", label, "--id", identifier)

    def put_key(self, token: str, key: Key, label: str, identifier: str) -> None:
        """Import a key pair."""
        path = self.folder / "import.pem"
        path.write_bytes(key.pem)
        self.run("softhsm2-util", "--import", path, "--token", token, "--label", label,
                 "--id", identifier, "--pin", PIN)  # fmt: skip

    def put_certificate(self, token: str, certificate: bytes, label: str, identifier: str) -> None:
        """Write a certificate beside a key (the same CKA_ID)."""
        path = self.folder / "import.der"
        path.write_bytes(certificate)
        self.tool(token, "--write-object", path, "--type", "cert", "--label", label,
                  "--id", identifier)  # fmt: skip

    def public_key(self, token: str, identifier: str) -> bytes:
        """Return a public key as pkcs11-tool tells it (DER SPKI)."""
        path = self.folder / "public.der"
        self.tool(token, "--read-object", "--type", "pubkey", "--id", identifier, "-o", path)
        return path.read_bytes()
