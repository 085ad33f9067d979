"""``docs/formats.md``: what each format can do, and which independent tool has confirmed it.

A cell is confirmed by the tests in ``tests/interop`` that carry the marker
``confirms(format, cell, tool)``: each of them fails when the tool disagrees.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from signward.formats import Format, Signable, SignableTree, all_formats
from signward.formats._apk_v4_sign import ApkV4Format
from signward.formats._attested import AttestedFormat
from signward.formats._beside import MinisignFormat, OpenPgpFormat
from signward.formats._detached import DetachedFormat
from signward.formats._fsverity import FsVerityFormat
from signward.formats._ima import ImaFormat
from signward.formats._raw import RawFormat
from signward.formats._sshsig import SshFormat

INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"

_HEAD = """# Formats

Written by `make docs`: do not edit.

**V** says that `signward verify` judges the format, **S** that `signward sign` signs it. Beside
each stands the independent tool that confirmed the cell: under **V** the tool whose signatures
Signward accepts (and refuses once a byte of content is changed), under **S** the tool that
accepts Signward's signatures (and refuses them likewise). The tests in `tests/interop` that carry
the marker `confirms` hold every one; `make interop` runs them.

| format | files | V | S | rules |
|---|---|---|---|---|
"""


BESIDE: tuple[Format, ...] = (
    DetachedFormat(), OpenPgpFormat(), MinisignFormat(), SshFormat(), RawFormat(), ImaFormat(),
    FsVerityFormat(), ApkV4Format(), AttestedFormat(),
)  # fmt: skip
"""Formats that no file is recognised as: their signatures lie beside files of any kind."""

BY_VERB = {"manifest": "`signward manifest make`"}
"""Formats that a command of their own signs."""

SHOWN_ONLY = frozenset({"sql"})
"""Formats whose signatures are shown but judged by no published rule."""


INSIDE = """## What has no row of its own

- **Notarization tickets** are judged with what they are stapled to: `bundle`, `dmg`, `pkg`. Nobody
  but Apple makes them; the one in mitmproxy's app confirms **V**.
- **AppleScript**: no native signature exists. Applets are bundles; `.scpt` and `.applescript` files
  are unsigned, and `sign --detached` puts a signature beside them.
- **EFI signature lists** (`.esl`) are read by `efi-variable`, made by `signward siglist` and signed
  as a write of a variable; dbx, dbt and SBAT levels reject PE images under `--dbx`, `--dbt` and
  `--sbat-level`.
- **EVM** (`security.evm`) is shown; its key stays in the kernel.

"""


def formats_page() -> str:
    """Return ``docs/formats.md``."""
    confirmed = confirmations()
    rows = "".join(_row(form, confirmed) for form in (*all_formats(), *BESIDE))
    return _HEAD + rows + "\n" + INSIDE + "\n".join(_sections(confirmed))


def confirmations(folder: Path = INTEROP) -> Mapping[tuple[str, str], Sequence[str]]:
    """Return the tools that confirm each ``(format, "verify" | "sign")``, in alphabetical order."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.confirms":
                form, cell, tool = (ast.literal_eval(argument) for argument in node.args)
                found[form, cell].add(tool)
    return {key: sorted(tools, key=str.lower) for key, tools in found.items()}


def _row(form: Format, confirmed: Mapping[tuple[str, str], Sequence[str]]) -> str:
    files = " ".join(f"`{extension}`" for extension in form.extensions)
    can_sign = isinstance(form, Signable | SignableTree) or form.name in BY_VERB
    signs = _cell("S", confirmed.get((form.name, "sign"), ())) if can_sign else "no"
    signs += f" (by {BY_VERB[form.name]})" if form.name in BY_VERB else ""
    verifies = _cell("V", confirmed.get((form.name, "verify"), ()))
    if form.name in SHOWN_ONLY:
        verifies = "shown, INDETERMINATE"
    return f"| {form.name} | {files} | {verifies} | {signs} | {form.spec} |\n"


def _cell(letter: str, tools: Sequence[str]) -> str:
    return f"**{letter}** {', '.join(tools) or 'no second opinion'}"


def _sections(confirmed: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    stamps = ", ".join(confirmed.get(("timestamp", "sign"), ())) or "none"
    yield f"Timestamps that Signward asks for and embeds are confirmed by: {stamps}.\n"
    yield "## Options of a format\n"
    yield "Given as `signward sign --option NAME=VALUE`.\n"
    yield "| format | option | meaning |\n|---|---|---|"
    for form in all_formats():
        if isinstance(form, Signable):
            for name, told in form.options.items():
                yield f"| {form.name} | `{name}` | {told} |"
        elif isinstance(form, SignableTree):
            for name, told in form.tree_options.items():
                yield f"| {form.name} | `{name}` | {told} |"
    yield ""
