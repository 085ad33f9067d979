"""Scheme v1 of an APK: its JAR signature, as Android reads it.

Sources: "JAR File Specification"; Android, "APK Signature Scheme v2", protection against
stripping; AOSP ``V1SchemeVerifier``.  ``_jar_signature`` reads the chain; here stands what is
Android's own: the newer schemes that a signature file names, and that nothing may be loose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from signward.envelopes.apk_jar import as_android
from signward.findings import Code, Effect, Finding
from signward.formats._jar_manifest import read_sections
from signward.formats._jar_signature import FOLDER, Archive, open_archive
from signward.state import ClaimedSignature
from signward.wire.unzip import read_member

NAMED = {"2": "v2", "3": "v3"}
"""What ``X-Android-APK-Signed`` lists; readers pass over what they do not know."""

MAX_TEXT = 32 * 1024 * 1024
"""Octets of a signature file, as of JARs."""

_ATTRIBUTE = "X-Android-APK-Signed"


def open_v1(archive: Archive) -> tuple[ClaimedSignature, ...]:
    """Return the JAR signatures under labels that name the scheme.  Raises ``BadInputError``."""
    return tuple(map(as_android, open_archive(archive)))


def required(archive: Archive) -> frozenset[str]:
    """Return what each signature must cover: all but what lies in ``META-INF`` unread by code.

    Android leaves out every entry of that folder; only what signatures are made of is left out
    here, since applications can open the rest.
    """
    return frozenset(archive.required)


def stripped(
    archive: Archive, present: Collection[str], expected: Collection[str]
) -> list[Finding]:
    """Report schemes that a signature file names, that platforms know and that are not there."""
    return list(_stripped(archive, present, expected))


def _stripped(
    archive: Archive, present: Collection[str], expected: Collection[str]
) -> Iterator[Finding]:
    for pair in archive.pairs:
        text = read_sections(read_member(archive.source, pair.text, MAX_TEXT), pair.text.name)
        listed = (text.main.value(_ATTRIBUTE) or "").split(",")
        named = {NAMED[one.strip()] for one in listed if one.strip() in NAMED}
        for scheme in sorted((named & set(expected)) - set(present)):
            yield Finding(
                code=Code.SLOT_MISSING,
                effect=Effect.REJECT,
                subject=pair.text.name.removeprefix(FOLDER),
                found=f"no signature by scheme {scheme}",
                required="one: the signature file names it",
                clause="APK Signature Scheme v2, stripping protection",
                hint="a newer signature was stripped",
            )
