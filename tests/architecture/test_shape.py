"""The budget of DESIGN (Style): small files, small functions, a docstring on every public name."""

import ast
import statistics
from collections.abc import Iterator

from tests.architecture.code import Function, Module, functions, length, modules, parse_module

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MEDIAN_FUNCTION_LINES = 12
NINETIETH_FUNCTION_LINES = 40


def test_no_file_is_too_long() -> None:
    assert {m.name: m.lines for m in modules() if m.lines > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lengths = {f"{m.name}.{f.name}": length(f) for m in modules() for f in functions(m)}
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_functions_are_short_on_the_whole() -> None:
    lengths = [length(f) for m in modules() for f in functions(m)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION_LINES
    assert statistics.quantiles(lengths, n=10)[8] <= NINETIETH_FUNCTION_LINES


def test_every_public_name_has_a_docstring() -> None:
    assert [name for module in modules() for name in undocumented(module)] == []


def undocumented(module: Module) -> Iterator[str]:
    """Name the module, class or function that is public and says nothing about itself."""
    if not ast.get_docstring(module.tree):
        yield module.name
    yield from _undocumented_below(module.tree, module.name)


def _undocumented_below(parent: ast.Module | ast.ClassDef, name: str) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _is_overload(node):
            yield f"{name}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_below(node, f"{name}.{node.name}")


def _is_overload(node: ast.ClassDef | Function) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def test_a_missing_docstring_is_found() -> None:
    text = '"""Module."""\nclass A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\n'
    assert list(undocumented(parse_module("m", text))) == ["m.A.f"]
    assert list(undocumented(parse_module("m", "def f(): ...\n"))) == ["m", "m.f"]


def test_a_function_is_measured_from_def_to_its_last_line() -> None:
    (function,) = functions(parse_module("m", "@cache\ndef f():\n    x = 1\n\n    return x\n"))
    assert length(function) == 4
