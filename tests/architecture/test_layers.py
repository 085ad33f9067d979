"""The import-linter contracts of pyproject.toml hold, in process; so does the list of rooms."""

import tomllib
from pathlib import Path

import pytest
from importlinter import cli

from tests.architecture.code import REPOSITORY, SOURCE


def test_the_layers_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True)
    assert code == cli.EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_room_stands_in_a_layer() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (contract,) = [
        c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    ]
    layered = {room.strip() for layer in contract["layers"] for room in layer.split("|")}
    rooms = {f"signward.{path.stem}" for path in SOURCE.iterdir() if _is_room(path)}
    assert layered == rooms


def _is_room(path: Path) -> bool:
    is_code = path.suffix == ".py" or (path / "__init__.py").is_file()
    return is_code and not path.stem.startswith("_")
