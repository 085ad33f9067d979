"""Debian's control data (deb822(5)): one paragraph of fields, read strictly.

Readers differ about comments, about lines of nothing but spaces and about a field that stands
twice, so all of these are refused: the text is signed, but what it says must be one thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from signward.errors import AmbiguousError, MalformedError

_FIELD = re.compile(r"([!-\",.-9;-~][!-9;-~]*):[ \t]*(.*)\Z")
_WHAT = "Debian control data"
_CLAUSE = "deb822(5)"


def read_paragraph(text: bytes) -> Mapping[str, str]:
    """Return the fields of the one paragraph, by lower-case name; lines of a value end with LF.

    Empty lines may stand around it.  Raises ``MalformedError`` and ``AmbiguousError``.
    """
    try:
        lines = text.decode("utf-8").strip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError(_WHAT, f"no UTF-8 ({error.reason})", "UTF-8", _CLAUSE) from None
    fields, name = dict[str, list[str]](), ""
    for line in lines:
        if name and line.startswith((" ", "\t")):
            fields[name].append(line[1:])
            continue
        field = _FIELD.match(line)
        if field is None:
            found = "several paragraphs" if not line else f"a line {line[:60]!r}"
            raise MalformedError(_WHAT, found, "one paragraph of fields", _CLAUSE)
        name = field[1].lower()
        if name in fields:
            raise AmbiguousError(_WHAT, f"{field[1]} twice", "each field once", _CLAUSE)
        fields[name] = [field[2]]
    return {name: "\n".join(value) for name, value in fields.items()}
