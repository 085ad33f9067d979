"""A stand-in judge for tests of the scan itself: it counts, and misbehaves on request."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path

from signward.errors import EvidenceError, MalformedError
from signward.frozen import Frozen
from signward.policy.record import CertificateRecord, PathRecord, Record, SignatureRecord, safe_text
from signward.state import Outcome, Source, Stage
from signward.verbs.tasks import Judge


class Options(Frozen, frozen=True, kw_only=True):
    """What the stand-in takes: a log of what it judged, files named as anchors."""

    log: str
    anchors: tuple[str, ...] = ()
    at: datetime | None = None
    not_after: datetime | None = None


def make_judge(options: Options) -> Judge:
    """Return a judge that accepts what holds ``good`` and obeys other words."""
    if "broken" in options.anchors:
        raise EvidenceError("broken: not a certificate")

    def judge(source: Source, kind: str, container: str) -> Record:
        with Path(options.log).open("ab") as log:
            log.write(os.fsencode(source.name) + b"\n")
        data = source.read(0, source.length)
        _obey(data, source.name)
        assert options.at is not None
        return Record(
            subject=safe_text(source.name),
            container=container,
            kind=kind,
            stage=Stage.ACCEPTED,
            outcome=Outcome.ACCEPTED if b"good" in data else Outcome.REJECTED,
            cause=None if b"good" in data else "unsigned",
            rule="test",
            at=options.at,
            signatures=_signatures(options),
        )

    return judge


def _obey(data: bytes, name: str) -> None:
    if b"die" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"raise" in data:
        raise KeyError("the judge broke")
    if b"malformed" in data:
        raise MalformedError("file", "nonsense", "sense")
    if b"slow" in data:
        time.sleep(0.2)
    if b"grow" in data:
        with Path(name).open("ab") as file:
            file.write(b"more")
    if b"vanish" in data:
        Path(name).unlink()


def _signatures(options: Options) -> tuple[SignatureRecord, ...]:
    if options.not_after is None:
        return ()
    certificate = CertificateRecord(
        subject="CN=x", issuer="CN=x", serial="1", sha256="00", not_after=options.not_after
    )
    path = PathRecord(certificates=(certificate,), anchor="x", store="x")
    return (
        SignatureRecord(
            label="1", envelope="cms", state="trusted", digest="sha256", algorithm="rsa",
            quantum_safe=False, page_hashes=False, path=path,
        ),
    )  # fmt: skip
