"""osslsigncode: ``osslsigncode verify`` with the anchors for signer and TSA alike.

It reads no OCSP response and knows neither stages nor policies: what a case gives of those is
not passed on.  CRLs are given for both paths where the case has any, and ignored otherwise.
"""

from __future__ import annotations

import shutil
import subprocess

from conformance.authenticode.cases.base import Answer
from conformance.authenticode.runners import TIMEOUT, Reply, main
from conformance.authenticode.suite import Request

_TOOL = "osslsigncode"
_TELLING = ("MISMATCH", "verification: failed", "Verify error", "error:", "rror string", "Failed")


def version() -> str:
    """Return osslsigncode's version, empty when it is absent."""
    if not shutil.which(_TOOL):
        return ""
    done = subprocess.run([_TOOL, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[1].rstrip(",") if len(words) > 1 else ""


def answer(request: Request) -> Reply:
    """Run ``osslsigncode verify`` and translate its exit code and words."""
    anchors = str(request.anchors[0])
    words = [_TOOL, "verify", "-in", str(request.file), "-CAfile", anchors]
    words += ["-TSA-CAfile", anchors, "-ignore-cdp", "-time", str(int(request.at.timestamp()))]
    lists = request.file.parent / "lists.pem"
    if request.crls and lists.exists():
        words += ["-CRLfile", str(lists), "-TSA-CRLfile", str(lists)]
    if request.catalogs:
        words += ["-catalog", str(next(request.catalogs.glob("*.cat")))]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Reply(answer=Answer.CANNOT_TELL, why=f"no answer in {TIMEOUT} s")
    said = done.stdout + done.stderr
    if done.returncode == 0:
        return Reply(answer=Answer.ACCEPTED)
    if "unsupported input file type" in said:
        return Reply(answer=Answer.CANNOT_TELL, why="unsupported input file type")
    if "No signature found" in said:
        return Reply(answer=Answer.UNSIGNED)
    telling = (line.strip() for line in said.splitlines() if any(t in line for t in _TELLING))
    return Reply(answer=Answer.REJECTED, why=next(telling, f"exit code {done.returncode}")[:100])


if __name__ == "__main__":
    raise SystemExit(main(answer))
