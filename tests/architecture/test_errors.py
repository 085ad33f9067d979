"""The exception tree is the one its docstring draws, and everything hangs on it."""

import ast
import inspect
import re

import signward.errors
from tests.architecture.code import Module, modules, parse_module

_BRANCH = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>\w+Error)\b")


def drawn(docstring: str) -> dict[str, str]:
    """Return each class of a drawn tree with its parent; the root has none."""
    parents: dict[str, str] = {}
    open_branches: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        match = _BRANCH.match(line)
        if match:
            depth = len(match["indent"])
            open_branches = [b for b in open_branches if b[0] < depth]
            parents[match["name"]] = open_branches[-1][1] if open_branches else ""
            open_branches.append((depth, match["name"]))
    return parents


def test_the_docstring_draws_the_classes() -> None:
    classes = {
        name: value.__bases__[0].__name__
        for name, value in inspect.getmembers(signward.errors, inspect.isclass)
        if issubclass(value, Exception)
    }
    tree = drawn(inspect.cleandoc(signward.errors.__doc__ or ""))
    assert tree == classes | {"SignwardError": ""}


def test_a_drawn_tree_is_read_as_drawn() -> None:
    text = "AError\n├── BError  text\n│   └── CError\n└── DError"
    assert drawn(text) == {"AError": "", "BError": "AError", "CError": "BError", "DError": "AError"}


def homeless(module: Module) -> list[str]:
    """Name the public exception classes that stand on a built-in one."""
    return [
        f"{module.name}.{node.name}({module.resolve(base)})"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for base in node.bases
        if re.fullmatch(r"(Base)?Exception|[A-Z]\w*Error", name := module.resolve(base))
        and "." not in name
        and name not in vars(signward.errors)
        and not _is_local(module, name)
    ]


def _is_local(module: Module, name: str) -> bool:
    return any(isinstance(n, ast.ClassDef) and n.name == name for n in module.tree.body)


def test_every_public_exception_is_a_signward_error() -> None:
    found = [name for module in modules() for name in homeless(module)]
    assert found == ["signward.errors.SignwardError(Exception)"]


def test_an_exception_outside_the_tree_is_found() -> None:
    assert homeless(parse_module("m", "class X(ValueError): ...\n")) == ["m.X(ValueError)"]
    text = "from signward.errors import SignwardError\nclass X(SignwardError): ...\n"
    assert homeless(parse_module("m", text)) == []
