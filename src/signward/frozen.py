"""The base of small values: frozen, slotted, cheap to define and to make.

A ``dataclass`` compiles six functions per class at import; with some fifty of them that
is a fifth of what a start of the command may take (decision 17).
"""

from __future__ import annotations

import msgspec

replace = msgspec.structs.replace
"""Return a copy of a value with some fields changed."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A value.

    Subclasses repeat the first two words: type checkers ask for the one, and the other
    speaks of a class's own fields only.  ``gc=False`` they inherit: all that a value holds
    was there before it, so no cycle goes through it, and the garbage collector need not look.
    """
