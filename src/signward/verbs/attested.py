"""Attestations beside a file, where rules decide: who signed in is what rules may ask for.

Without rules they are found as other signatures are (``verbs.beside``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from signward.errors import BadInputError
from signward.findings import Code
from signward.state import Companions, Source

if TYPE_CHECKING:
    from signward.formats import Format

ENDINGS = (".publish.attestation", ".slsa.attestation", ".attestation", ".provenance",
           ".sigstore.json", ".sigstore")  # fmt: skip
"""What is added to a file's name, in the order of asking: PEP 740's, then Sigstore's clients'."""


def attested_beside(
    source: Source, cause: Code | None, companions: Companions | None
) -> Format | None:
    """Return the format by which an attestation beside a file judges it; None where none lies.

    ``cause`` is what the file alone was found to be.  Of several attestations the first counts.
    """
    if companions is None or cause not in (Code.UNSIGNED, Code.UNSUPPORTED_KIND):
        return None
    with suppress(BadInputError):
        for ending in ENDINGS:
            beside = companions.find(source.name.rpartition("/")[2] + ending)
            if beside is not None:
                return _form(beside)
    return None


def _form(beside: Source) -> Format | None:
    from signward.envelopes.sigstore import MAX_OCTETS, is_sigstore  # for few files only
    from signward.formats._attested import AttestedFormat

    if not 0 < beside.length <= MAX_OCTETS:
        return None
    data = beside.read(0, beside.length)
    return AttestedFormat(data) if is_sigstore(data) else None
