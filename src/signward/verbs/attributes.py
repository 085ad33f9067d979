"""Signatures that Linux keeps beside a file's bytes: IMA's attribute, fs-verity's built-in one.

Asked only where a file's own format found none: what a file carries in itself goes before.
"""

from __future__ import annotations

from signward.findings import Code
from signward.formats import Signable
from signward.state import Source
from signward.wire.ima import ATTRIBUTE, EVM_ATTRIBUTE, is_signature
from signward.wire.source import FileSource, attribute_of
from signward.wire.verity import kept_by_kernel, signature_of


def kept_beside(source: FileSource) -> dict[str, bytes]:
    """Return all that a verdict may rest on beside a file's bytes (`FileSource.recall`)."""
    kept = {name: source.attribute(name) for name in (ATTRIBUTE, EVM_ATTRIBUTE)}
    kept |= kept_by_kernel(source)
    return {name: value for name, value in kept.items() if value}


def form_beside(source: Source, cause: Code | None) -> Signable | None:
    """Return the format by which the system's own signature of a file is judged, or None.

    ``cause`` is what its bytes alone were found to be.  A digest that nobody signed says more of
    an unsigned file, and nothing of one whose kind cannot be judged.
    """
    if cause not in (Code.UNSIGNED, Code.UNSUPPORTED_KIND):
        return None
    value = attribute_of(source, ATTRIBUTE)
    if not is_signature(value) and (built_in := signature_of(source)):
        from signward.formats._fsverity import FsVerityFormat  # for few files only

        return FsVerityFormat(built_in)
    if value and (is_signature(value) or cause is Code.UNSIGNED):
        from signward.formats._ima import ImaFormat

        return ImaFormat(value, evm=attribute_of(source, EVM_ATTRIBUTE))
    return None
