"""``signward show FILE...``: the signatures as a tree, and their parts as files."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signward.cli.arguments import add_judgement, options_from
from signward.errors import EvidenceError

if TYPE_CHECKING:
    from signward.state import ClaimedSignature, SignedArtifact

DESCRIPTION = """\
Draw what is in a file's signatures: signers, certification paths, timestamps,
digests, attributes.  What nobody has vouched for is shown as a claim."""

EPILOG = """examples:
  signward show setup.exe
  signward show --json setup.exe
  signward show --extract parts setup.exe

exit codes: 0 shown, 2 command line, 3 a file could not be read as its kind
"""

EXIT_NOT_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``show``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to show")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object per file")
    output.add_argument("--ascii", action="store_true", help="draw the tree with ASCII alone")
    output.add_argument(
        "--extract", metavar="DIR", help="write certificates and signatures (.p7s, .xml) to DIR"
    )
    add_judgement(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show every file; return 3 if one of them had nothing that could be parsed."""
    from signward.report.tree import tree
    from signward.verbs.context import Context
    from signward.verbs.show import show

    context = Context(options_from(arguments))
    whole = True
    for path in arguments.files:
        artifact, verdict = show(path, context)
        _print(tree(artifact, verdict), arguments)
        whole = whole and artifact is not None
        if arguments.extract and artifact is not None:
            extract(artifact, Path(path).name, Path(arguments.extract))
    return 0 if whole else EXIT_NOT_SHOWN


def _print(branch: dict[str, Any], arguments: argparse.Namespace) -> None:
    from signward.policy.record import printable_json
    from signward.report.tree import text

    if arguments.json:
        sys.stdout.write(printable_json(branch).decode() + "\n")
        return
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    sys.stdout.write(text(branch, unicode=encoding == "utf8" and not arguments.ascii) + "\n")


def extract(artifact: SignedArtifact, name: str, folder: Path) -> list[Path]:
    """Write every signature and every certificate (PEM) to ``folder``; return the paths.

    A signature is a CMS in DER or BER (``.p7s``), or an XML element as it stands (``.xml``).

    Names are made from the file's name and digests alone, never from what the
    signature says.  Raises ``EvidenceError`` where the folder cannot be written.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "file"
    parts = {}
    for signature in artifact.signatures:
        label = re.sub(r"[^0-9A-Za-z.]", "_", signature.label)
        if signature.raw:
            kind = "xml" if signature.raw.startswith(b"<") else "p7s"
            parts[f"{stem}-{label}.{kind}"] = signature.raw
        for certificate in _certificates(signature):
            digest = hashlib.sha256(certificate).hexdigest()[:16]
            parts[f"{stem}-{digest}.pem"] = _pem(certificate)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / part, data) for part, data in parts.items()]
    except OSError as error:
        raise EvidenceError(f"--extract {folder}: {error.strerror or error}") from None


def _certificates(signature: ClaimedSignature) -> list[bytes]:
    """Return the certificates of a signature and of its timestamps."""
    found = list(signature.claimed_certificates)
    for stamp in signature.timestamps:
        if stamp.signature:
            found += stamp.signature.claimed_certificates
    return found


def _pem(certificate: bytes) -> bytes:
    """Return a certificate in PEM (RFC 7468)."""
    import base64

    encoded = base64.b64encode(certificate)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    body = b"\n".join(lines)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"


def _write(path: Path, data: bytes) -> Path:
    """Write a new file; the same bytes may already stand there, other bytes may not."""
    try:
        with path.open("xb") as out:
            out.write(data)
    except FileExistsError:
        if path.is_symlink() or path.read_bytes() != data:
            raise EvidenceError(f"--extract {path}: another file of that name is there") from None
    return path
