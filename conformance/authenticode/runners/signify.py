"""signify: its default verification with the case's anchors as the only trusted certificates.

signify's dependency oscrypto cannot read the version of OpenSSL 3.0.10 and newer (a pattern
with one digit per part); the pattern is widened while it is imported, nothing else.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import signal
from typing import Any

from conformance.authenticode.cases.base import Answer
from conformance.authenticode.runners import Reply, main
from conformance.authenticode.suite import Request

PATIENCE = 10
"""Seconds that signify may take for one file."""

_NARROW, _WIDE = r"\b(\d\.\d\.\d[a-z]*)\b", r"\b(\d+\.\d+\.\d+[a-z]*)\b"


def version() -> str:
    """Return signify's version, empty when it is absent or cannot be imported."""
    try:
        _load()
        return importlib.metadata.version("signify")
    except (ImportError, OSError, importlib.metadata.PackageNotFoundError):
        return ""


def _load() -> Any:
    genuine = re.search

    def widened(pattern: Any, *arguments: Any, **named: Any) -> Any:
        return genuine(_WIDE if pattern == _NARROW else pattern, *arguments, **named)

    re.search = widened
    try:
        importlib.import_module("oscrypto.asymmetric")
    except Exception as error:
        raise ImportError(str(error)) from error
    finally:
        re.search = genuine
    import signify.authenticode

    return signify.authenticode


def _evidence(request: Request) -> dict[str, Any]:
    """Return the case's lists and answers as signify's context takes them."""
    from asn1crypto import crl, ocsp

    lists = [crl.CertificateList.load(path.read_bytes()) for path in request.crls]
    answers = [ocsp.OCSPResponse.load(path.read_bytes()) for path in request.ocsp]
    return {"crls": lists or None, "ocsps": answers or None}


def _stop(_number: int, _frame: object) -> None:
    raise TimeoutError(f"no answer in {PATIENCE} s")


def answer(request: Request) -> Reply:
    """Verify as signify's documentation shows, at the case's instant; give up in time.

    Its path building is exponential in twins of one authority: unbounded, it takes the
    machine's memory.
    """
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(PATIENCE)
    try:
        return _ask(request)
    finally:
        signal.alarm(0)


def _ask(request: Request) -> Reply:
    library = _load()
    from signify.x509 import FileSystemCertificateStore

    anchors = FileSystemCertificateStore(location=request.anchors[0], trusted=True)
    context = {"timestamp": request.at, **_evidence(request)}
    with request.file.open("rb") as stream:
        try:
            signed = library.AuthenticodeFile.from_stream(stream)
            status, error = signed.explain_verify(
                trusted_certificate_store=anchors, verification_context_kwargs=context
            )
        except Exception as raised:  # noqa: BLE001 - whatever a peer raises is its answer
            return Reply(answer=Answer.CANNOT_TELL, why=f"{type(raised).__name__}: {raised}"[:100])
    if status.name == "OK":
        return Reply(answer=Answer.ACCEPTED)
    if status.name == "NOT_SIGNED":
        return Reply(answer=Answer.UNSIGNED)
    unknown = status.name == "UNKNOWN_ERROR"
    return Reply(
        answer=Answer.CANNOT_TELL if unknown else Answer.REJECTED,
        why=f"{status.name}: {error}"[:100],
    )


if __name__ == "__main__":
    raise SystemExit(main(answer))
