"""Options of signing what carries Apple's code signatures: programs, bundles, disk images."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.wire.code_directory import FLAGS

OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "identifier": "what the code is called, com.example.tool; else its Info.plist or file name",
        "team": "the team identifier; a certificate of Apple's names its own",
        "runtime": "yes, or a version such as 13.0.0: the hardened runtime",
        "flags": f"further flags, comma between them: {', '.join(FLAGS.values())}",
        "requirements": "internal requirements, in Apple's language; none for an empty set",
        "entitlements": "a file: a property list in XML",
        "keep": "what of the replaced signature stays, comma between: identifier, flags, "
        "entitlements, requirements",
        "digests": "sha256 (the default), or sha1+sha256 for systems before macOS 10.11",
    }
)
"""Options of every format signed so."""

FILE_OPTIONS = frozenset({"entitlements"})
"""Options whose values name files; a request carries their content."""
