"""What a Mach-O says of itself: who it claims to be, what it loads, what it asks to be allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress

from signward.errors import BadInputError
from signward.formats._apple_signature import MAX_PLIST, AppleSignature
from signward.formats._macho_code import CodeSlice
from signward.wire.macho import FILE_TYPES
from signward.wire.plist import read_plist
from signward.wire.requirement import read_requirements
from signward.wire.requirement_text import requirements_text

MAX_LISTED = 500
"""Libraries and entitlements shown of one slice; the largest real programs have some 150."""

MAX_TOLD = 2000
"""Characters shown of one entitlement; real lists of groups and domains have some hundreds."""

_HIDDEN = "(cannot be shown)"


def facts_of(code: Sequence[CodeSlice]) -> dict[str, str | int]:
    """Return what policy and people go by: the first slice's words, all slices' cdhashes."""
    signatures = [one.signature for one in code if one.signature is not None]
    facts: dict[str, str | int] = dict(signatures[0].facts) if signatures else {}
    first = code[0].image
    facts["type"] = FILE_TYPES.get(first.file_type, str(first.file_type))
    facts["architecture"] = ",".join(one.image.architecture for one in code)
    if signatures:
        facts["cdhash"] = ",".join(str(s.facts["cdhash"]) for s in signatures)
    return facts


def described(code: Sequence[CodeSlice]) -> dict[str, str | int]:
    """Return the libraries, entitlements and requirements of each slice, told apart by name."""
    found: dict[str, str | int] = {}
    for one in code:
        prefix = f"{one.image.architecture.replace('_', '-')} " if len(code) > 1 else ""
        for number, library in enumerate(one.image.libraries[:MAX_LISTED], 1):
            found[f"{prefix}library {number}"] = f"{library.name} ({library.kind})"
        if one.signature is not None:
            found.update((prefix + name, value) for name, value in _inside(one.signature))
    return found


def _inside(signature: AppleSignature) -> Iterator[tuple[str, str]]:
    with suppress(BadInputError):
        if signature.requirements:
            yield "requirements", requirements_text(read_requirements(signature.requirements))
    try:
        text = signature.entitlements
        listed = read_plist(text, "entitlements", most=MAX_PLIST) if text else {}
    except BadInputError:
        yield "entitlements", _HIDDEN
        return
    for name in list(listed)[:MAX_LISTED]:
        yield f"entitlement {name}", _told(listed[name])


def _told(value: object) -> str:
    """Return a value of a property list as JSON, cut short where it is long."""
    try:
        return json.dumps(value, default=str)[:MAX_TOLD]
    except TypeError:  # odd keys
        return _HIDDEN
