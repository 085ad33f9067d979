"""What devices say of their own images: told beside a verdict, and never a reason for one."""

from __future__ import annotations

from collections.abc import Iterator

from signward.errors import BadInputError, EvidenceError
from signward.findings import Code, Effect, Finding
from signward.inventory.authenticity import Claim, read_authenticity
from signward.state import Source
from signward.verbs.context import Context
from signward.verbs.options import read_option

PRODUCTION = "production"
"""The type of images that Cisco releases; special and development ones it signs too."""


def said_by_devices(source: Source, context: Context) -> Iterator[Finding]:
    """Yield what the run's outputs say of a file of this name.  Raises ``EvidenceError``."""
    base = source.name.rpartition("/")[2]
    for path in context.options.device_claims:
        try:
            claims = read_authenticity(path, read_option(path))
        except BadInputError as error:
            raise EvidenceError(str(error)) from None
        yield from (_told(source, path, one) for one in claims if one.base == base)


def _told(source: Source, path: str, claim: Claim) -> Finding:
    kind = claim.told.get("Image type", "").casefold()
    values = ", ".join(f"{name} {value}" for name, value in claim.told.items())
    return Finding(
        code=Code.CLAIMED,
        effect=Effect.NOTE if kind in ("", PRODUCTION) else Effect.WARN,
        subject=source.name,
        found=f"a device's word in {path}: {values or 'nothing'}",
        required="what can be checked here: a device's word is a claim",
        clause="Cisco, Digitally Signed Cisco Software",
    )
