"""The source tree as the architecture tests see it: parsed, with names resolved."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "signward"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One module: its dotted name, its tree, and what its imported names stand for."""

    name: str
    tree: ast.Module
    lines: int
    aliases: dict[str, str] = field(default_factory=dict)

    def is_in(self, *rooms: str) -> bool:
        """Say whether the module is one of ``rooms`` (below ``signward``) or inside one."""
        return any(f"{self.name}.".startswith(f"signward.{room}.") for room in rooms)

    def imports(self) -> set[str]:
        """Return every dotted name the module imports, wherever in it."""
        return set(_imported(self.tree).values())

    def resolve(self, node: ast.expr) -> str:
        """Return the dotted name an expression stands for, or an empty string."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Yield every call and the dotted name of what it calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, self.resolve(node.func)


def parse_module(name: str, text: str) -> Module:
    """Return the module that ``text`` would be if it stood at ``name``."""
    tree = ast.parse(text)
    return Module(name, tree, text.count("\n"), _imported(tree))


def _imported(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                names[bound] = alias.name if alias.asname else bound
                names.setdefault(f"import {alias.name}", alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


@lru_cache(maxsize=1)
def modules() -> tuple[Module, ...]:
    """Return every module of the package."""
    return tuple(
        parse_module(_dotted(path), path.read_text("utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    )


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(module: Module) -> Iterator[Function]:
    """Yield every function and method of the module, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Return a function's lines, from ``def`` to its last, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1
