"""A registry of container images on this machine, with images in it and their signatures.

Images are made here (one layer, one file); signatures are cosign's (a "simple signing" payload in
an image of its own, tagged after the digest) by keys of ours.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

START = 30.0
"""Seconds for the registry to answer on a machine that has much else to do."""

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


Layer: TypeAlias = tuple[str, bytes, dict[str, str]]
"""Media type, content, annotations."""


def digest_of(data: bytes) -> str:
    """Return ``sha256:HEX``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """A running docker-registry."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def push_image(self, repository: str, tag: str, content: str) -> str:
        """Push an image with one file; return the manifest's digest."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            entry = tarfile.TarInfo("hello")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
        tar = raw.getvalue()
        layer = gzip.compress(tar, mtime=0)
        config = {"architecture": "amd64", "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}  # fmt: skip
        made = self._manifest(repository, config, [(LAYER, layer, {})])
        return self._push(repository, tag, made)

    def sign(self, repository: str, digest: str, key: ec.EllipticCurvePrivateKey) -> None:
        """Attach cosign's signature by ``key``; those already there stay."""
        payload = json.dumps({
            "critical": {
                "identity": {"docker-reference": f"{self.host}/{repository}"},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }).encode()  # fmt: skip
        value = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
        layers = [(SIMPLE_SIGNING, payload, {"dev.cosignproject.cosign/signature": value})]
        config = {"architecture": "", "os": "", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(payload)]}}  # fmt: skip
        made = self._manifest(repository, config, layers)
        self._push(repository, f"{digest.replace(':', '-')}.sig", made)

    def _manifest(self, repository: str, config: dict[str, Any], layers: list[Layer]) -> bytes:
        content = json.dumps(config).encode()
        self._blob(repository, content)
        for _, layer, _ in layers:
            self._blob(repository, layer)
        return json.dumps({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(CONFIG, content),
            "layers": [{**_described(kind, data), **({"annotations": notes} if notes else {})}
                       for kind, data, notes in layers],
        }).encode()  # fmt: skip

    def _blob(self, repository: str, data: bytes) -> None:
        status, headers = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        place = headers["Location"].partition(self.host)[2]
        joint = "&" if "?" in place else "?"
        status, _ = self._ask("PUT", f"{place}{joint}digest={digest_of(data)}", data)
        assert status == 201, status

    def _push(self, repository: str, tag: str, manifest: bytes) -> str:
        path = f"/v2/{repository}/manifests/{tag}"
        status, _ = self._ask("PUT", path, manifest, MANIFEST)
        assert status == 201, status
        return digest_of(manifest)

    def manifest(self, repository: str, reference: str) -> bytes:
        """Return a manifest's bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        try:
            connection.request("GET", f"/v2/{repository}/manifests/{reference}",
                               headers={"Accept": MANIFEST})  # fmt: skip
            return connection.getresponse().read()
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": kind})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers
        finally:
            connection.close()


def _described(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


@contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """Run Debian's docker-registry on the loopback interface, or skip."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not here")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: "
        f"{{rootdirectory: {folder / 'registry'}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        [program, "serve", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(START)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("docker-registry did not start")
