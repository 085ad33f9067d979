"""An authority with everything set up, founded as ``ca init`` founds it."""

from __future__ import annotations

import shutil
from pathlib import Path

from signward.verbs.authority.init import Founding, found

SIGNING = """
[keys.release]
uri = "file:keys/release.pem"
certificates = "certificates/tsa.pem"

[sign.release]
key = "release"
timestamp = false
signers = ["builder"]
approvers = ["approver"]

[access.identities.builder]
kind = "oidc"
issuer = "https://tests.example"
subject = "**signer**"

[access.identities.approver]
kind = "oidc"
issuer = "https://tests.example"
subject = "**approver**"
"""
"""A key that signs for whoever has the role: a copy, for its certificate does not matter here."""


def founded(folder: Path) -> Path:
    """Found an authority in ``folder``, which must not exist; return it."""
    found(folder, Founding(name="Service Tests", url="http://127.0.0.1:1"), lambda _: None)
    shutil.copy(folder / "keys/tsa.pem", folder / "keys/release.pem")
    with (folder / "signward.toml").open("a", encoding="utf-8") as file:
        file.write(SIGNING)
    return folder
