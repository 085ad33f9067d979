"""Cases whose files osslsigncode made, with its own offline TSA: a peer's real output.

They are left out where osslsigncode is not installed, or lacks ``-TSA-certs``.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from conformance.authenticode import pe, script
from conformance.authenticode.cases.base import ACCEPTED, REJECTED, Case, case
from conformance.authenticode.pki import Pki, instant, make_pki
from conformance.authenticode.revocation import Revoked, crl

_MAKER = "osslsigncode"
_TABLE = "DESIGN.md, authenticode profile"


def available() -> bool:
    """Say whether osslsigncode is here and has its offline TSA (2.9 or newer)."""
    if not shutil.which(_MAKER):
        return False
    helped = subprocess.run([_MAKER, "sign", "--help"], capture_output=True, text=True, check=False)
    return "-TSA-certs" in helped.stdout + helped.stderr


def sign(pki: Pki, data: bytes, file: str, *options: str, stamped: datetime | None = None) -> bytes:
    """Have osslsigncode sign a file; ``stamped`` is the genTime of its own TSA."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "key.pem").write_bytes(pki.leaf.key.pem)
        (here / "certs.pem").write_bytes(pki.leaf.pem + pki.intermediate.pem)
        (here / "tsa.key").write_bytes(pki.tsa.key.pem)
        (here / "tsa.pem").write_bytes(pki.tsa.pem)
        source, target = here / f"in-{file}", here / f"out-{file}"
        source.write_bytes(data)
        command: list[str | Path] = [
            _MAKER,
            "sign",
            "-certs",
            here / "certs.pem",
            "-key",
            here / "key.pem",
            "-h",
            "sha256",
            "-in",
            source,
            "-out",
            target,
            *options,
        ]
        if stamped:
            seconds = str(int(stamped.timestamp()))
            command += [
                "-TSA-certs",
                here / "tsa.pem",
                "-TSA-key",
                here / "tsa.key",
                "-TSA-time",
                seconds,
                "-time",
                seconds,
            ]
        subprocess.run(command, check=True, capture_output=True)
        return target.read_bytes()


def cases() -> Iterator[Case]:
    """Yield the cases made by osslsigncode, or none."""
    if not available():
        return
    yield from _by_time()
    yield from _layouts()
    yield from _scripts()


def _by_time() -> Iterator[Case]:
    pki, image = make_pki(), pe.image()
    data = sign(pki, image, "image.exe", stamped=instant(2025))
    yield case(
        "peer-timestamped",
        15,
        "signed and stamped by osslsigncode",
        data,
        ACCEPTED,
        pki=pki,
        clause=_TABLE,
        maker=_MAKER,
    )
    for id_, row, at, answer, cause, findings in (
        (
            "peer-signed-before-revocation",
            18,
            instant(2025, 6),
            ACCEPTED,
            "",
            ("signed-before-revocation",),
        ),
        ("peer-revoked-then-timestamped", 17, instant(2024, 6), REJECTED, "revoked", ()),
    ):
        lists = (crl(pki.intermediate, [Revoked(serial=pki.leaf.serial, at=at)]), crl(pki.root))
        yield case(
            id_,
            row,
            id_.replace("-", " "),
            data,
            answer,
            cause,
            findings=findings,
            pki=pki,
            crls=lists,
            clause=_TABLE,
            maker=_MAKER,
        )
    past = make_pki(leaf={"not_before": instant(2022), "not_after": instant(2025)})
    for id_, stamp, answer, cause in (
        ("peer-expired-timestamp-inside", instant(2024), ACCEPTED, ""),
        ("peer-timestamp-after-expiry", instant(2025, 6), REJECTED, "expired"),
    ):
        data = sign(past, image, "image.exe", stamped=stamp)
        yield case(
            id_,
            16,
            id_.replace("-", " "),
            data,
            answer,
            cause,
            pki=past,
            clause=_TABLE,
            maker=_MAKER,
        )


def _layouts() -> Iterator[Case]:
    pki, image = make_pki(), pe.image()
    data = sign(pki, image, "image.exe")
    yield case(
        "peer-signed", "design", "signed by osslsigncode", data, ACCEPTED, pki=pki, maker=_MAKER
    )
    pages = sign(pki, image, "image.exe", "-ph")
    yield case(
        "peer-page-hashes",
        "design",
        "page hashes by osslsigncode",
        pages,
        ACCEPTED,
        pki=pki,
        maker=_MAKER,
    )
    twice = sign(pki, data, "image.exe", "-nest", "-h", "sha384")
    yield case("peer-nested", 9, "nested by osslsigncode", twice, ACCEPTED, pki=pki, maker=_MAKER)
    blob = sign(pki, image, "image.exe", "-addUnauthenticatedBlob")
    yield case(
        "peer-unauthenticated-blob",
        3,
        "a blob by osslsigncode",
        blob,
        ACCEPTED,
        pki=pki,
        findings=("unauthenticated-data",),
        maker=_MAKER,
    )
    start, size = pe.security_directory(data)
    stuffed = pe.with_security_directory(data + b"stuffed!" * 4, start, size + 32)
    length = (size + 32).to_bytes(4, "little")
    stuffed = pe.with_checksum(stuffed[:start] + length + stuffed[start + 4 :])
    yield case(
        "peer-cve-2013-3900-stuffing",
        1,
        "32 octets stuffed into a peer's signature",
        stuffed,
        REJECTED,
        "uncovered-content",
        pki=pki,
        clause="CVE-2013-3900",
        maker=_MAKER,
    )


def _scripts() -> Iterator[Case]:
    pki = make_pki()
    for extension in ("ps1", "psc1", "ps1xml", "mof"):
        plain = script.encode(script.FAMILIES[extension].sample)
        data = sign(pki, plain, f"script.{extension}")
        yield case(
            f"peer-script-{extension}",
            28,
            "signed by osslsigncode",
            data,
            ACCEPTED,
            pki=pki,
            file=f"script.{extension}",
            maker=_MAKER,
        )
