"""CEL as Santa evaluates it: by Google's C++ runtime, which santad has too, with v1's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest

RETURN_VALUES = {"ALLOWLIST": 1, "ALLOWLIST_COMPILER": 2, "BLOCKLIST": 3, "SILENT_BLOCKLIST": 4,
                 "SILENT_GUI_BLOCKLIST": 9, "SILENT_TTY_BLOCKLIST": 10}  # fmt: skip
"""``santa.cel.v1.ReturnValue``, which programs name as if they were keywords."""


@cache
def _environment() -> Any:
    cel = pytest.importorskip("cel_expr_python.cel", reason="cel-expr-python is not installed")
    variables = {"target": cel.Type.DYN, "args": cel.Type.List(cel.Type.STRING)}
    return cel.NewEnv(variables=variables | dict.fromkeys(RETURN_VALUES, cel.Type.INT))


def runs(expression: str, *, signing_id: str = "", args: Sequence[str] = ()) -> bool:
    """Return whether Santa lets run what meets a rule with this expression."""
    target: Mapping[str, str] = {"signing_id": signing_id}
    data = {"target": target, "args": list(args), **RETURN_VALUES}
    value = _environment().compile(expression).eval(data=data).value()
    if isinstance(value, bool):
        return value
    assert value in RETURN_VALUES.values()
    return value in (1, 2)
