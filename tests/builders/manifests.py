"""Trees with signed manifests, made to order."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import NOW, pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.state import Verdict
from signward.verbs import manifests
from signward.verbs.context import Context
from signward.verbs.manifests import Made, ManifestOptions, check_manifest, make_manifest
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from tests.signing import authority, identity


def populated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a tree with a signer's files beside it; what is just written has an identity."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(manifests, "YOUNG_NS", -(10**18))
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "bin" / "start.sh").write_bytes(b"#!/bin/sh\nexec true\n")
    (tree / "etc" / "conf").write_bytes(b"x = 1\n")
    (tree / "etc" / "empty").write_bytes(b"")
    (tree / "etc" / "link").symlink_to("conf")
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    keyfile(tmp_path, "rsa2048")
    return tmp_path


def keyfile(place: Path, kind: str) -> None:
    """Write a test signer's key with its certificate, and the certificate alone."""
    who = identity(kind)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bare = who.key.private.private_bytes(*form)
    (place / "bare.pem").write_bytes(bare)
    (place / "key.pem").write_bytes(bare + pem(who.certificate))
    (place / "leaf.pem").write_bytes(pem(who.certificate))


def make(place: Path, output: str = "1.manifest", **fields: Any) -> Made:
    """Make a manifest of the tree."""
    told: dict[str, Any] = {"key": f"file:{place / 'key.pem'}", "at": NOW, **fields}
    return make_manifest(
        ManifestOptions(tree=str(place / "tree"), output=str(place / output), **told)
    )


def update(place: Path, output: str = "2.manifest", old: str = "1.manifest", **more: Any) -> Made:
    """Bring a manifest up to date."""
    return make(place, output, old=str(place / old), **more)


def told(place: Path, manifest: str = "1.manifest") -> list[tuple[str, str]]:
    """Return kind and path of what ``check`` finds."""
    found = check_manifest(str(place / "tree"), str(place / manifest), [str(place / "leaf.pem")])
    return [(one.kind, one.path) for one in found.differences]


def judge(place: Path, name: str, manifest: str = "1.manifest", **options: Any) -> Verdict:
    """Return the verdict on a file by a manifest."""
    trust = {"anchors": (str(place / "root.pem"),), "at": NOW, **options}
    reach = Options(catalogs=(str(place / manifest),), **trust)
    return assess_path(place / "tree" / name, Context(reach))


def statement(data: bytes) -> dict[str, Any]:
    """Return the statement in an envelope."""
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(data)["payload"]))
    return found
