r"""Writing Transact-SQL: identifiers and strings that stay what they are.

Inside ``[...]`` only ``]`` means something, inside ``N'...'`` only ``'``; both are doubled.  What
a client does to a script comes on top: ``sqlcmd`` replaces ``$(name)`` anywhere, comments included,
and ends a batch at a line that says ``GO``.  So nothing written here has a line end or ``$(``.
"""

from __future__ import annotations

import re

from signward.errors import PolicyError

MAX_IDENTIFIER = 128
"""Characters of a sysname."""
MAX_STRING = 2000
"""Characters of a description; nvarchar(4000) holds twice as many, should all be doubled."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_WORDS = re.compile(r"[0-9a-f]*")


def identifier(what: str, name: str) -> str:
    """Return ``name`` in brackets.  ``what`` says in messages where it stands.

    Raises ``PolicyError`` for one that no database has, or that a client would change.
    """
    if not 0 < len(name) <= MAX_IDENTIFIER or _UNSEEN.search(name) or "$(" in name:
        raise PolicyError(what, repr(name[:MAX_IDENTIFIER]), "the name of something in a database")
    return "[" + name.replace("]", "]]") + "]"


def string(text: str) -> str:
    """Return ``text`` as an nvarchar literal: on one line, shortened, without ``$(``."""
    plain = _UNSEEN.sub(" ", text).replace("$(", "$ (")[:MAX_STRING]
    return "N'" + plain.replace("'", "''") + "'"


def octets(digits: str) -> str:
    """Return lower-case hex as a varbinary literal.  Raises ``ValueError`` for anything else."""
    if not _WORDS.fullmatch(digits) or len(digits) % 2:
        raise ValueError("no hexadecimal octets")
    return f"0x{digits.upper()}"


def comment(text: str) -> str:
    """Return ``text`` as a comment to the line's end."""
    return "-- " + _UNSEEN.sub(" ", text).replace("$(", "$ (")
