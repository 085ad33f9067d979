"""The corpus fetcher: what it refuses to unpack, and that it checks what it pinned."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from demo import fetch
from demo.fetch import CorpusMissingError
from demo.samples import SAMPLES, Sample


def _wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path


def _tarball(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as bundle:
        for info, data in members:
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return path


def _sample(archive: Path, **changes: str) -> Sample:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    fields = {"name": "made", "group": "demo", "client": "wheel", "package": "made"}
    fields |= {"version": "1", "archive": archive.name, "sha256": digest} | changes
    return Sample(**fields)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGNWARD_CORPUS", str(tmp_path / "corpus"))
    monkeypatch.setenv("SIGNWARD_OFFLINE", "1")
    (tmp_path / "corpus" / "archives").mkdir(parents=True)
    return tmp_path / "corpus"


def _register(monkeypatch: pytest.MonkeyPatch, sample: Sample) -> None:
    monkeypatch.setitem(fetch._BY_NAME, sample.name, sample)


def test_a_cached_archive_is_unpacked_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _wheel(root / "archives" / "made.whl", {"a/b.dll": b"MZ", "c.txt": b""})
    _register(monkeypatch, _sample(archive))
    tree = fetch.require("made")
    assert (tree / "a/b.dll").read_bytes() == b"MZ"
    assert (tree / "c.txt").read_bytes() == b""
    archive.unlink()
    assert fetch.require("made") == tree


def test_an_archive_with_another_digest_is_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _wheel(root / "archives" / "made.whl", {"a": b"1"})
    _register(monkeypatch, _sample(archive, sha256="0" * 64))
    with pytest.raises(CorpusMissingError, match="SIGNWARD_OFFLINE is set"):
        fetch.require("made")
    assert not (root / "trees").exists()


def test_a_download_with_another_digest_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNWARD_OFFLINE", "0")
    archive = _wheel(root / "made.whl", {"a": b"1"})
    _register(monkeypatch, _sample(archive, sha256="0" * 64))

    def download(sample: Sample, folder: Path) -> None:
        (folder / sample.archive).write_bytes(archive.read_bytes())

    monkeypatch.setattr(fetch, "_download", download)
    with pytest.raises(CorpusMissingError, match="required 0000"):
        fetch.require("made")
    assert list((root / "archives").iterdir()) == []


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../b", "a\\..\\b"])
def test_a_member_that_leaves_the_tree_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    archive = _wheel(root / "archives" / "made.whl", {name: b"x"})
    _register(monkeypatch, _sample(archive))
    with pytest.raises(CorpusMissingError, match="an archive member is named"):
        fetch.require("made")
    assert list((root / "trees").iterdir()) == []
    assert not (root / "out").exists()


def test_links_in_a_tar_are_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("package/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = _tarball(
        root / "archives" / "made.tgz", (link, b""), (tarfile.TarInfo("package/a"), b"real")
    )
    _register(monkeypatch, _sample(archive, client="npm"))
    tree = fetch.require("made")
    assert [p.name for p in tree.rglob("*") if not p.is_dir()] == ["a"]


def test_limits_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _wheel(root / "archives" / "made.whl", {f"f{i}": b"xx" for i in range(3)})
    _register(monkeypatch, _sample(archive))
    monkeypatch.setattr(fetch, "MAX_UNPACKED", 5)
    with pytest.raises(CorpusMissingError, match="more than the limits allow"):
        fetch.require("made")


def test_a_member_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    members = [("a", 3, io.BytesIO(b"four"))]
    with pytest.raises(CorpusMissingError, match="its size is not"):
        fetch._write_all(tmp_path, members)


def test_a_missing_tool_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(CorpusMissingError, match="needs npm, which is not installed"):
        fetch._npm_pack(fetch._BY_NAME["node-notifier"], root)


def test_every_sample_is_pinned() -> None:
    for sample in SAMPLES:
        if sample.origin:
            assert sample.origin in fetch._BY_NAME
            assert sample.inside
        else:
            assert sample.package
            assert sample.version
            assert len(bytes.fromhex(sample.sha256)) == 32
