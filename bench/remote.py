"""Signing for others measured over HTTP: under a bearer token, logged before it is answered.

Load comes from wrk with an idempotency key of its own for every order; the service is a process
of its own, and OpenSSL signs by itself for comparison.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from conformance.authenticode.pki import issue
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.builders import signing_service
from tests.signing import authority
from tests.unit.test_octets import attributes

from bench.measure import REPOSITORY, NotMeasuredError, Row, medians, tool
from bench.signing import raw_rate
from signward.frozen import replace
from signward.verbs.authority.settings import IdentitySettings, IssuerSettings

SECONDS = 3
"""Of load in one round."""
CLIENTS = 128
"""Connections, each with one order at a time: some wait for the disk while others' are signed."""
WORKERS = 2
"""Processes of the second row."""
STOP_SECONDS = 30.0

_AUDIENCE = "bench"


def remote(rounds: int) -> list[Row]:
    """Compare signatures over HTTP with the signature alone."""
    tool("wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token = _prepared(folder / "realm")
        cases = ((1, False), (WORKERS, False), (WORKERS, True))
        return [
            _row(
                rounds,
                folder,
                _script(folder, token, timestamp=timestamp),
                workers,
                timestamp=timestamp,
            )
            for workers, timestamp in cases
        ]


def _row(
    rounds: int,
    folder: Path,
    script: Path,
    workers: int,
    *,
    timestamp: bool,
) -> Row:
    ours: list[float] = []
    raw: list[float] = []
    with _service(folder / "realm", workers) as url:
        target = f"{url}/keys/release/signatures"
        for _ in range(2 * workers):  # each process reads its issuer's keys; meanwhile it says 503
            with contextlib.suppress(NotMeasuredError):
                _load(target, script, clients=2, seconds=1)
        medians(
            rounds,
            lambda: ours.append(_load(target, script)),
            lambda: raw.append(raw_rate()),
        )
    rate, alone = statistics.median(ours[1:]), statistics.median(raw[1:])
    processes = "one process" if workers == 1 else f"{workers} processes"
    made = (
        "four log entries, a timestamp of our own (a second RSA-2048 signature) and a receipt for"
        if timestamp
        else "three log entries and a receipt, no timestamp, for"
    )
    how = (
        f"POST under an OpenID Connect token, {CLIENTS} connections, {SECONDS} s of wrk; {made}"
        f" every signature; {processes} of signward serve, SQLite; openssl on one core of"
        f" {os.cpu_count()}, RSA-2048 both"
    )
    what = ", timestamped" if timestamp else ""
    return Row(
        f"remote signing{what}, share of openssl speed rsa2048, {processes}",
        f"{rate / alone:.2f} ({rate:.0f} of {alone:.0f} a second)", ">= 0.6", how,
    )  # fmt: skip


def _prepared(folder: Path) -> str:
    """Make a realm that serves ``release`` to whoever has the token that is returned."""
    made = signing_service.settings(log=True, tsa=True)
    issuer = IssuerSettings(
        issuer=signing_service.ISSUER, audience=_AUDIENCE, jwks="keys/jwks.json",
        algorithms=("ES256",),
    )  # fmt: skip
    made = replace(made, identity=IdentitySettings(issuers={"bench": issuer}))
    signing_service.folder(folder, made, issue("Bench Publisher", issuer=authority()))
    key = ECKey.generate_key("P-256", {"kid": "bench", "use": "sig", "alg": "ES256"})
    public = {"keys": [key.as_dict(private=False)]}
    (folder / "keys/jwks.json").write_bytes(msgspec.json.encode(public))
    now = int(time.time())
    claims = {"iss": signing_service.ISSUER, "sub": signing_service.CI, "aud": _AUDIENCE,
              "iat": now, "nbf": now, "exp": now + 3600}  # fmt: skip
    return jwt.encode({"alg": "ES256", "kid": "bench"}, claims, key)


def _script(folder: Path, token: str, *, timestamp: bool) -> Path:
    """Write wrk's script: the same order each time, under an idempotency key of its own."""
    order = {
        "data": base64.b64encode(attributes()).decode(), "format": "pe", "file": "setup.exe",
        "algorithm": {"scheme": "rsa-pkcs1v15", "digest": "sha256"},
        "content": f"sha256:{'ab' * 32}", "timestamp": timestamp,
    }  # fmt: skip
    script = folder / f"order-{timestamp}.lua"
    script.write_text(f"""
        math.randomseed(os.time())
        local base, count = string.format("%08x", math.random(0, 2147483647)), 0
        local heads = {{["Content-Type"] = "application/json"}}
        heads["Authorization"] = "Bearer {token}"
        request = function()
            count = count + 1
            heads["Idempotency-Key"] = string.format("%s-%012d", base, count)
            return wrk.format("POST", nil, heads, '{json.dumps(order)}')
        end
    """)
    return script


def _load(url: str, script: Path, clients: int = CLIENTS, seconds: int = SECONDS) -> float:
    """Return how many orders a second are signed."""
    words = [tool("wrk"), "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout:
        raise NotMeasuredError(f"the service answered with errors: {done.stdout[-200:]}")
    match = re.search(r"^Requests/sec:\s+([\d.]+)", done.stdout, re.MULTILINE)
    if not match or not float(match[1]):
        raise NotMeasuredError(f"wrk counted nothing: {done.stdout[-200:]}")
    return float(match[1])


@contextmanager
def _service(folder: Path, workers: int) -> Iterator[str]:
    words = [sys.executable, "-m", "signward", "serve", "--data", str(folder), "--listen",
             "127.0.0.1:0", "--role", "sign", "--workers", str(workers)]  # fmt: skip
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    try:
        line = process.stdout.readline() if process.stdout else ""
        match = re.search(r"serving (http://\S+)", line)
        if not match:
            raise NotMeasuredError(f"signward serve did not start: {line.strip()[:200]}")
        yield match[1].rstrip("/")
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        if process.stdout:
            process.stdout.close()
