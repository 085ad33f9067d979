"""An authority with everything set up, founded as ``ca init`` founds it."""

from __future__ import annotations

from pathlib import Path

from signward.verbs.authority.init import Founding, found

SIGNING = """
[sign.release]
key = "tsa"
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
"""A key that signs for whoever has the role: its certificate does not matter here."""


def founded(folder: Path) -> Path:
    """Found an authority in ``folder``, which must not exist; return it."""
    found(folder, Founding(name="Service Tests", url="http://127.0.0.1:1"), lambda _: None)
    with (folder / "signward.toml").open("a", encoding="utf-8") as file:
        file.write(SIGNING)
    return folder
