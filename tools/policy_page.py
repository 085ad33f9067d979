"""``docs/policy.md``: the introduction, one realistic policy, and every native output of it.

The introduction is ``docs/policy/introduction.txt``, the policy ``docs/policy/example.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from signward import compilers
from signward.compilers import Compiled, Compiler, File, arbiters, importers
from signward.policy.rules.model import RuleSet
from signward.verbs.policies.compiling import compile_for, every_loss
from signward.verbs.policies.load import load_rules

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "policy"

AT = datetime(2026, 11, 23, tzinfo=UTC)
"""The exceptions of this day are in force in what is shown."""

SHOWN_LINES = 150
SHOWN_OCTETS = 256
"""Lines of a text and octets of a binary file that are shown; the rest is counted."""

_CHECKED = {
    "executed": "executed here",
    "parsed": "parsed by its own tool",
    "schema": "schema only",
}


def policy_page() -> str:
    """Return ``docs/policy.md``."""
    rules = load_rules([FOLDER / "example.toml"])
    known = [compilers.load(name) for name in compilers.names()]
    made = {c.target: compile_for(rules, c.target, AT, frozenset(every_loss())) for c in known}
    parts = [
        (FOLDER / "introduction.txt").read_text("utf-8"),
        _example(),
        *_table(known, made),
        *(line for c in known for line in _section(c, made[c.target], rules)),
    ]
    return "\n".join(parts) + "\n"


def _example() -> str:
    text = (FOLDER / "example.toml").read_text("utf-8").rstrip()
    return (
        "## One policy\n\n"
        "It stands in [`docs/policy/example.toml`](policy/example.toml), its keys beside it.\n\n"
        f"```toml\n{text}\n```\n"
    )


def _table(known: list[Compiler], made: dict[str, Compiled]) -> Iterator[str]:
    yield "## What every enforcer is given\n"
    yield "Written by `signward policy compile docs/policy/example.toml --target all`; losses"
    yield "allowed with `--allow-loss any` are listed with each target. **Checked** says how far"
    yield "the real target confirmed such files in our tests.\n"
    yield "| target | files | losses | rules left aside | import | arbiter | checked |"
    yield "|---|---|---|---|---|---|---|"
    readers, judges = _modules(importers), _modules(arbiters)
    for compiler in known:
        compiled = made[compiler.target]
        module = compiler.target.replace("-", "_")
        how, by = compiler.checked
        yield (
            f"| [{compiler.title}](#{_anchor(compiler.title)}) `{compiler.target}` "
            f"| {len(compiled.files)} | {len(compiled.losses)} | {len(compiled.skipped)} "
            f"| {'yes' if module in readers else ''} | {'yes' if module in judges else ''} "
            f"| {_CHECKED[how]}: {by} |"
        )
    yield ""


def _modules(folder: object) -> frozenset[str]:
    import pkgutil

    return frozenset(m.name for m in pkgutil.iter_modules(folder.__path__))  # type: ignore[attr-defined]


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(compiler: Compiler, compiled: Compiled, rules: RuleSet) -> Iterator[str]:
    yield f"### {compiler.title}\n"
    yield f"{compiler.spec}\n"
    total = len(rules.rules) + len(rules.waivers)
    yield f"{len(compiled.skipped)} of {total} rules speak of nothing that it governs.\n"
    if compiled.losses:
        yield "Lost:\n"
        for loss in compiled.losses:
            yield f"- `{loss.name}` ({loss.towards}) {loss.rule or 'the policy'}: {loss.text}"
        yield ""
    for file in compiled.files:
        yield from _file(compiler.target, file)


def _file(target: str, file: File) -> Iterator[str]:
    yield f"<details><summary><code>{target}/{file.name}</code>, {len(file.content):,} octets"
    yield "</summary>\n"
    yield from (f"{line}  " for line in file.deploy.splitlines())
    yield ""
    text = _text(file.content)
    yield f"````text\n{text if text is not None else _dump(file.content)}\n````"
    yield "\n</details>\n"


def _text(content: bytes) -> str | None:
    try:
        lines = content.decode("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        return None
    if any(not c.isprintable() and c != "\t" for line in lines for c in line.rstrip("\r")):
        return None
    shown = [line.rstrip("\r") for line in lines[:SHOWN_LINES]]
    more = len(lines) - len(shown)
    return "\n".join(shown) + (f"\n({more} more lines)" if more else "")


def _dump(content: bytes) -> str:
    """Return the first octets as ``hexdump -C`` writes them."""
    rows = []
    for start in range(0, min(len(content), SHOWN_OCTETS), 16):
        octets = content[start : start + 16]
        letters = "".join(chr(o) if 32 <= o < 127 else "." for o in octets)
        rows.append(f"{start:08x}  {octets.hex(' '):<47}  |{letters}|")
    more = len(content) - SHOWN_OCTETS
    return "\n".join(rows) + (f"\n({more:,} more octets)" if more > 0 else "")
