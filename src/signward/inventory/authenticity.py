"""What a Cisco device says of its images: the output of ``show software authenticity``.

Source: Cisco, "Digitally Signed Cisco Software".  A device checks a signature that no public
document specifies and prints what it found: lines of a name, a colon and a value, those of one
image from its ``File Name`` on.  Whoever holds the device, or the text, can make it say anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_OCTETS = 1024 * 1024
"""Octets of one output; that of a device with ten images has some 10 KB."""

MAX_LINE = 512
"""Characters of a line that may say something; longer ones say nothing."""

FIELDS = ("Image type", "Common Name", "Organization Unit", "Organization Name",
          "Certificate Serial Number", "Hash Algorithm", "Signature Algorithm",
          "Key Version")  # fmt: skip
"""What is kept, by the names that the device prints."""

_FILE = "file name"
_NAMES = {name.casefold(): name for name in FIELDS}
_LINE = re.compile(r"\s*([A-Za-z][A-Za-z ]{1,40}?)\s*:\s*(\S.{0,400}?)\s*")


class Claim(Frozen, frozen=True, kw_only=True):
    """What a device says of one image: its file's base name, and the values by `FIELDS`."""

    base: str
    told: Mapping[str, str]


def read_authenticity(name: str, data: bytes) -> tuple[Claim, ...]:
    """Return what is said, image by image; of a running image without a name nothing.

    Raises ``MalformedError`` for a text that says nothing of any image, and ``LimitError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(name, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    found: list[Claim] = []
    told: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        field = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
        if field is None:
            continue
        key = field[1].casefold()
        if key == _FILE:
            told = {}
            found.append(Claim(base=re.split(r"[:/\\]", field[2])[-1], told=told))
        elif key in _NAMES:
            told.setdefault(_NAMES[key], field[2])
    if not found:
        raise MalformedError(name, "no file name", "the output of show software authenticity file",
                             "Cisco, Digitally Signed Cisco Software")  # fmt: skip
    return tuple(found)
