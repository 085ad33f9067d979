"""What lies beside a file and speaks for it, found where nobody names it.

That is a signature under the file's own name, or a catalog or manifest in its folder that lists it.
"""

from __future__ import annotations

import os

from signward.errors import EvidenceError, UnreadableError
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.attested import ENDINGS as ATTESTED
from signward.verbs.context import Context
from signward.verbs.verify import assess_path

ENDINGS = (".p7s", ".asc", ".sig", ".minisig", *ATTESTED)
"""What is put behind a file's name: detached CMS (RFC 8551 3.2.1), OpenPGP, what several tools call
a signature, minisign, and attestations."""

_LISTS = (".cat", ".manifest")
"""How catalogs of Windows end (a driver's lies beside it), and manifests of ours."""

MAX_LISTS = 16
"""Lists of one folder that are read, those first that are named like the file."""

_BARE = frozenset({Code.UNSIGNED, Code.UNSUPPORTED_KIND})
"""What a file is found to be that carries no signature that could be judged."""


def assess_with_companions(path: str, context: Context) -> Verdict:
    """Return the verdict on a file; one without a signature of its own is judged by those beside.

    Of several, by one that is accepted, or else the first that can be read.  Rules speak of what
    files carry in themselves, and of attestations: in a run with any, nothing else is looked for.
    """
    verdict = assess_path(path, context)
    if verdict.cause not in _BARE or context.asked or context.rules is not None:
        return verdict
    judged = [_judged(path, path + ending, context) for ending in ENDINGS]
    found = [one for one in (*judged, _listed(path, context)) if one is not None]
    accepted = [one for one in found if one.outcome is Outcome.ACCEPTED]
    return next(iter((*accepted, *found)), verdict)


def _judged(path: str, signature: str, context: Context) -> Verdict | None:
    """Return the verdict by a file beside; None where there is none, or it is no signature."""
    if not os.path.isfile(signature):  # noqa: PTH113 - paths stay strings
        return None
    from signward.verbs.detached import assess_detached, read_beside  # for few files only

    try:
        read_beside(signature)
    except EvidenceError:
        return None  # what cannot be read says nothing; what the caller gave is at fault aloud
    verdict = assess_detached(path, signature, context)
    return verdict if verdict.signatures else None


def _listed(path: str, context: Context) -> Verdict | None:
    """Return the verdict by the lists in the folder; None where none lists the file."""
    lists = () if context.options.catalogs else _lists_beside(path)
    if not lists:
        return None
    try:
        verdict = assess_path(path, context.with_catalogs(lists))
    except (EvidenceError, UnreadableError):
        return None  # one that is no file, or a manifest that is older than one that counted here
    return verdict if verdict.signatures else None


def _lists_beside(path: str) -> tuple[str, ...]:
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 - names suffice
    except OSError:
        return ()
    stem = name.partition(".")[0].lower()
    found = sorted(
        (one for one in names if one.lower().endswith(_LISTS) and one != name),
        key=lambda one: (one.partition(".")[0].lower() != stem, one),
    )
    return tuple(os.path.join(folder, one) for one in found[:MAX_LISTS])  # noqa: PTH118
