"""A repository of git as it lies on a disk: names of revisions, and commits and tags by name.

Formats: git's "gitrepository-layout", "gitformat-pack", packed-refs as ``git pack-refs`` writes it.
Read are loose objects, packs (index version 2) and alternates; refs in files and in packed-refs,
not reftables.  No setting of the repository is read and none of its programs is run.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from signward.errors import EvidenceError, LimitError, MalformedError, UnreadableError
from signward.state import Source
from signward.wire.git_pack import MAX_OBJECT, Allowance, Index, read_packed
from signward.wire.source import open_source

MAX_LIST = 64 * 1024 * 1024
"""Octets of packed-refs and of lists of alternates."""

MAX_BY_NAME = 64
"""Objects told by another's name, one by another; git writes chains of 50."""

MAX_LINKS = 5
"""Names of refs that name another ref, and stores that name another store: as git has them."""

MAX_PACKS = 10_000
"""Packs of one store."""

MAX_TAGS = 16
"""Tags of tags that ``^{}`` looks through."""

_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"(?!.*(?:\.\.|//|/\.|@\{))[\w@+][\w.@+/=,%#-]*")
_HEAD = re.compile(rb"(commit|tag|tree|blob) (0|[1-9][0-9]{0,9})\0")
_WHERE = ("", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/")
"""Where a short name is looked for, in git's order (gitrevisions(7))."""

_TAGS = "refs/tags/"
_WHAT = "git object"


class Found(NamedTuple):
    """An object: its name (hex), its kind and octets, and what a ref below refs/tags calls it."""

    name: str
    kind: str
    data: bytes
    tag: str = ""


class Repository:
    """A repository, or a work tree with one.  Raises ``EvidenceError`` where there is none."""

    def __init__(self, path: str) -> None:
        self.name, self._stack = path, ExitStack()
        self._own = _git_folder(Path(path))
        common = self._own / "commondir"
        shared = _line(common) if common.is_file() else ""
        self._common = self._own / shared
        self._stores = tuple(_stores(self._common / "objects"))
        self._packs: dict[int, list[tuple[Index, Source]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, revision: str) -> Found:
        """Return the object that a revision is.

        That is a whole name, HEAD, a tag or a branch; with ``^{}`` behind it what a tag tags.
        Raises ``EvidenceError`` where there is none, ``BadInputError`` for what cannot be read.
        """
        short = revision.removesuffix("^{}").removesuffix("^{commit}")
        name, ref = (short, "") if _HEX.fullmatch(short) else self._resolved(short)
        kind, data = self.read(name)
        if short == revision:
            called = ref.removeprefix(_TAGS) if ref.startswith(_TAGS) else ""
            return Found(name, kind, data, called)
        for _ in range(MAX_TAGS):
            if kind != "tag":
                break
            name = _target(name, data)
            kind, data = self.read(name)
        return Found(name, kind, data)

    def read(self, name: str) -> tuple[str, bytes]:
        """Return an object's kind and octets.  Raises as `find`."""
        return self._read(bytes.fromhex(name), 0, Allowance())

    def _read(self, name: bytes, links: int, allowance: Allowance) -> tuple[str, bytes]:
        text = name.hex()
        if links > MAX_BY_NAME:
            raise LimitError(_WHAT, f"more than {MAX_BY_NAME} deltas by name", "fewer")
        for store in self._stores:
            loose = store / text[:2] / text[2:]
            if loose.is_file():
                kind, data = _loose(_whole(loose, MAX_OBJECT))
                allowance.spend(len(data))
                return kind, data
        for index, pack in self._indexes(len(name)):
            offset = index.find(name)
            if offset is not None:
                return read_packed(
                    pack, offset, len(name), lambda n: self._read(n, links + 1, allowance),
                    allowance,
                )  # fmt: skip
        raise EvidenceError(f"{self.name}: found no object {text}, required it in the repository")

    def _indexes(self, size: int) -> list[tuple[Index, Source]]:
        if size not in self._packs:
            found = [one for store in self._stores for one in sorted(store.glob("pack/*.idx"))]
            if len(found) > MAX_PACKS:
                raise LimitError("git repository", f"{len(found)} packs", f"at most {MAX_PACKS}")
            self._packs[size] = [
                (Index(self._opened(one), size), self._opened(one.with_suffix(".pack")))
                for one in found
            ]
        return self._packs[size]

    def _opened(self, path: Path) -> Source:
        try:
            return self._stack.enter_context(open_source(path))
        except UnreadableError as error:
            raise EvidenceError(str(error)) from None

    def _resolved(self, short: str) -> tuple[str, str]:
        """Return the object that a ref names, or one of a ref that it names; and that ref."""
        name = short
        for _ in range(MAX_LINKS):
            refs = [where + name for where in _WHERE] if _REF.fullmatch(name) else []
            texts = ((ref, self._ref(ref)) for ref in refs)
            ref, text = next((one for one in texts if one[1]), ("", ""))
            if not text.startswith("ref: "):
                break
            name = text.removeprefix("ref: ")
        if not _HEX.fullmatch(text):
            raise EvidenceError(f"{self.name}: found no revision {short!r}, required a whole name, "
                                "HEAD, a tag or a branch")  # fmt: skip
        return text, ref

    def _ref(self, name: str) -> str:
        for folder in (self._own, self._common):
            path = folder / name
            if path.is_file() and path.stat().st_size < 4096:
                return _line(path)
        return self._packed_refs.get(name, "")

    @cached_property
    def _packed_refs(self) -> dict[str, str]:
        path = self._common / "packed-refs"
        text = _whole(path, MAX_LIST).decode("utf-8", "surrogateescape") if path.is_file() else ""
        lines = (line.partition(" ") for line in text.split("\n") if _HEX.match(line))
        return {name: value for value, _, name in lines}


def _target(name: str, tag: bytes) -> str:
    """Return the name of what a tag tags.

    Raises ``MalformedError`` for a tag in another's place, and for one of nothing that has a name.
    """
    digest = hashlib.new("sha1" if len(name) == 40 else "sha256", usedforsecurity=False)
    digest.update(b"tag %d\0" % len(tag) + tag)
    if digest.hexdigest() != name:
        raise MalformedError("tag", digest.hexdigest(), f"{name}, its name", "git fsck")
    line = tag.partition(b"\n")[0].decode("latin-1")
    target = line.removeprefix("object ")
    if target == line or len(target) != len(name) or not _HEX.fullmatch(target):
        raise MalformedError("tag", "no name of an object", f"{len(name)} digits", "git fsck")
    return target


def _git_folder(path: Path) -> Path:
    """Return where the repository of a path is: itself, ``.git`` in it, or what that file names."""
    own = path / ".git"
    if own.is_file():
        own = path / _line(own).removeprefix("gitdir:").strip()
    for folder in (own, path):
        if (folder / "HEAD").is_file() and (
            (folder / "objects").is_dir() or (folder / "commondir").is_file()
        ):
            return folder
    raise EvidenceError(f"{path}: found no repository of git, required one, or a work tree")


def _stores(objects: Path) -> Iterator[Path]:
    """Yield the folders of objects: a repository's own, and those it names as alternates."""
    seen, waiting = list[Path](), [(objects, 0)]
    while waiting:
        folder, links = waiting.pop(0)
        if folder in seen or links > MAX_LINKS or not folder.is_dir():
            continue
        seen.append(folder)
        yield folder
        listed = folder / "info" / "alternates"
        if listed.is_file():
            lines = _whole(listed, MAX_LIST).decode("utf-8", "surrogateescape").split("\n")
            waiting += [(folder / line, links + 1) for line in lines if line and line[0] != "#"]


def _line(path: Path) -> str:
    """Return the line in a small file."""
    return _whole(path, 4096).decode("utf-8", "surrogateescape").strip()


def _whole(path: Path, most: int) -> bytes:
    """Return a file's octets.  Raises ``EvidenceError``, and ``LimitError`` for a longer one."""
    try:
        with open_source(path) as source:
            if source.length > most:
                raise LimitError(str(path), f"{source.length} octets", f"at most {most}")
            return source.read(0, source.length)
    except UnreadableError as error:
        raise EvidenceError(str(error)) from None


def _loose(data: bytes) -> tuple[str, bytes]:
    """Return a loose object's kind and octets.  Raises ``MalformedError`` and ``LimitError``."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, MAX_OBJECT + 32)
    except zlib.error as error:
        raise MalformedError(_WHAT, f"data that does not unpack ({error})", "zlib") from None
    head = _HEAD.match(plain)
    if head is None:
        raise MalformedError(_WHAT, "no kind and length", "both", "gitformat-pack")
    raw = plain[head.end() :]
    if int(head[2]) > MAX_OBJECT:
        raise LimitError(_WHAT, f"{int(head[2])} octets", f"at most {MAX_OBJECT}")
    if not unpacker.eof or unpacker.unused_data or len(raw) != int(head[2]):
        raise MalformedError(_WHAT, f"{len(raw)} octets", f"{int(head[2])} and nothing behind")
    return head[1].decode(), raw
