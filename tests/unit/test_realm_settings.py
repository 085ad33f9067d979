"""signward.toml: strict, and written so that it reads back."""

from pathlib import Path

import pytest

from signward.errors import RealmError
from signward.verbs.authority.settings import (
    CaSettings,
    KeySettings,
    LogSettings,
    Settings,
    SignSettings,
    TsaSettings,
    dump,
    load,
)

FULL = Settings(
    name='Example "Ltd"\\',
    url="http://127.0.0.1:8650",
    keys={"root": KeySettings(uri="file:keys/root.pem", certificates="certificates/root.pem")},
    ca={"root": CaSettings(key="root", offline=True, profiles=("sub-ca",))},
    tsa=TsaSettings(key="tsa", policy="2.25.1"),
    log=LogSettings(key="log", origin="example/log"),
    sign={"release": SignSettings(key="release")},
)


def written(folder: Path, text: str) -> Path:
    path = folder / "signward.toml"
    path.write_text(text)
    return path


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    assert load(written(tmp_path, dump(FULL))) == FULL


def test_defaults_are_not_written() -> None:
    assert "crl_days" not in dump(FULL)
    assert "feed" not in dump(FULL)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('name = "a"\nurl = "b"\nlimts = 3\n', "limts"),
        ('name = "a"\n', "url"),
        ('name = 1\nurl = "b"\n', "str"),
        ("name = \n", "value"),
        ('name = "a"\nurl = "b"\n[ca.x]\n', "key"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(RealmError, match=found):
        load(written(tmp_path, text))


def test_a_folder_without_settings_is_told_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RealmError, match="ca init"):
        load(tmp_path / "signward.toml")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("ca.x", 'key = "k"\ncrl_days = 0'),
        ("ca.x", 'key = "k"\ncrl_days = 1000000000'),
        ("ca.x", 'key = "k"\ncrl_ahead_hours = -1'),
        ("ca.x", 'key = "k"\ncrl_days = 1\ncrl_ahead_hours = 24'),
        ("ca.x", 'key = "k"\npolicies = "mine"'),
        ("tsa", 'key = "k"\npolicy = "1.2.3"\naccuracy_ms = -1'),
        ("tsa", 'key = "k"\npolicy = "1.2.3"\naccuracy_ms = 1000000000000'),
        ("tsa", 'key = "k"\npolicy = "ours"'),
        ("feed", 'key = "k"\nhours = 0'),
        ("feed", 'key = "k"\nhours = 100000'),
    ],
)
def test_a_number_beyond_all_sense_is_refused_when_it_is_read(
    tmp_path: Path, table: str, line: str
) -> None:
    with pytest.raises(RealmError):
        load(written(tmp_path, f'name = "a"\nurl = "b"\n[{table}]\n{line}\n'))


@pytest.mark.parametrize(
    "table",
    [
        '[ca.root]\nkey = "shared"\n',
        '[ca.issuing]\nkey = "own"\nocsp_key = "shared"\n',
        '[tsa]\nkey = "shared"\npolicy = "2.25.1"\n',
        '[log]\nkey = "shared"\norigin = "example/log"\n',
        '[feed]\nkey = "shared"\n',
        '[log]\nkey = "renamed"\norigin = "example/log"\n',
    ],
)
def test_a_key_of_the_authority_signs_for_nobody_else(tmp_path: Path, table: str) -> None:
    """Whoever may have octets signed could have certificates or checkpoints signed."""
    text = 'name = "a"\nurl = "b"\n' + table + '[sign.release]\nkey = "shared"\n'
    keys = "".join(
        f'[keys.{name}]\nuri = "file:keys/{file}.pem"\n'
        for name, file in {"shared": "one", "renamed": "one", "own": "two"}.items()
    )
    with pytest.raises(RealmError, match=r"the key of \[.*\] in \[sign.release\]"):
        load(written(tmp_path, text + keys))
