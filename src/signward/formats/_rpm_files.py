"""The files an RPM's header lists, and the payload (a cpio archive) held against that list.

rpm takes names, modes, links and owners from the header alone; of the payload it takes content,
found by name, or in the stripped form by number.  So a member that the header does not list, a
listed file that is not there, or one of another size is a payload that its header does not
speak for.  Of files that are one file (hard links) only the last has content.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from signward.errors import AmbiguousError, LimitError, MalformedError, UncoveredError
from signward.frozen import Frozen
from signward.state import Slot
from signward.wire.cpio import CpioMember, CpioReader
from signward.wire.rpm import Header

MAX_FILES = 1_000_000
"""Files of one package; the largest of distributions' have some 200,000."""

FILE = "file:"
"""How slots of files are named: this and the path."""

_OLD_NAMES, _SIZES, _MODES, _DIGESTS, _LINKS, _FLAGS = 1027, 1028, 1030, 1035, 1036, 1037
_DEVICES, _INODES, _FOLDER_OF, _NAMES, _FOLDERS = 1095, 1096, 1116, 1117, 1118
_LONG_SIZES, _ALGORITHM = 5008, 5011
"""Tags of the header's lists, one item a file."""

_CONFIG, _GHOST = 0x01, 0x40
"""Flags of a file: it is configuration; it belongs to a package and is not in it."""

DIGESTS: Mapping[int, str] = {
    1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224", 12: "sha3_256",
    14: "sha3_512",
}  # fmt: skip
"""Digest algorithms by OpenPGP's numbers, which RPM's headers use."""

_MD5 = 1
_CLAUSE = "RPM package format, file metadata"
_WHAT = "RPM header"
_PAYLOAD = "RPM payload"
_T = TypeVar("_T")


class File(Frozen, frozen=True, kw_only=True):
    """A listed file: its path as it stands, and what the payload must hold of it.

    ``size`` is that of its content in the payload, ``length`` what the list says; ``shared`` are
    the numbers of the files that have this one's content too.
    """

    path: bytes
    mode: int
    size: int
    digest: str
    link: bytes
    flags: int
    length: int
    shared: tuple[int, ...] = ()

    @property
    def ghost(self) -> bool:
        """Whether it belongs to the package and is not in it (a log, a cache)."""
        return bool(self.flags & _GHOST)

    @property
    def config(self) -> bool:
        """Whether administrators are expected to change it."""
        return bool(self.flags & _CONFIG)

    @property
    def shown(self) -> str:
        """The path for messages and slots; what is no UTF-8 is escaped."""
        return self.path.decode("utf-8", "backslashreplace")


class Files(Frozen, frozen=True, kw_only=True):
    """All listed files, in the header's order, and what their digests are by."""

    files: tuple[File, ...]
    algorithm: str

    def slots(self) -> Iterator[Slot]:
        """Yield the digests of regular files that the payload must hold."""
        for file in self.files:
            if stat.S_ISREG(file.mode) and file.digest and not file.ghost:
                digest = digest_of(file, self.algorithm)
                yield Slot(name=FILE + file.shown, algorithm=self.algorithm, digest=digest)


def read_files(header: Header) -> Files:
    """Return the list of files.

    Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    paths = _paths(header)
    if len(paths) > MAX_FILES:
        raise LimitError(_WHAT, f"{len(paths)} files", f"at most {MAX_FILES}")
    told = header.numbers(_LONG_SIZES) or header.numbers(_SIZES)
    count = len(paths)
    sizes, modes, flags = (
        _column(values, count, name)
        for values, name in (
            (told, "sizes"), (header.numbers(_MODES), "modes"), (header.numbers(_FLAGS), "flags"),
        )
    )  # fmt: skip
    digests = _column(header.strings(_DIGESTS), count, "digests")
    links = _column(header.strings(_LINKS), count, "links")
    shared = _shared(header, modes, flags)
    files = tuple(
        File(
            path=path, mode=mode, digest=digest.decode("ascii", "backslashreplace"), link=link,
            flags=flag, length=size, shared=shared.get(number, ()),
            size=_held(mode, size, link, is_last=shared.get(number, (number,))[-1:] == (number,)),
        )
        for number, (path, mode, size, digest, link, flag) in enumerate(
            zip(paths, modes, sizes, digests, links, flags, strict=True)
        )
    )  # fmt: skip
    return Files(files=files, algorithm=_algorithm(header))


def _algorithm(header: Header) -> str:
    number = header.number(_ALGORITHM) or _MD5
    return DIGESTS.get(number, f"unknown:{number}")


def _paths(header: Header) -> list[bytes]:
    """Return the paths, put together of folders and names; old packages have them whole."""
    names = header.strings(_NAMES)
    if not names:
        return header.strings(_OLD_NAMES)
    folders, of = header.strings(_FOLDERS), header.numbers(_FOLDER_OF)
    if len(of) != len(names) or max(of) >= len(folders):
        raise MalformedError(_WHAT, f"{len(of)} folders of {len(names)} names", "one a name, "
                             "all of them listed", _CLAUSE)  # fmt: skip
    return [folders[folder] + name for folder, name in zip(of, names, strict=True)]


def _column(values: Sequence[_T], count: int, name: str) -> Sequence[_T]:
    if len(values) != count:
        raise MalformedError(_WHAT, f"{len(values)} {name} of {count} files", "one a file", _CLAUSE)
    return values


def _shared(
    header: Header, modes: Sequence[int], flags: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """Return, for each file that has several names, the numbers of all of them in order."""
    inodes, devices = header.numbers(_INODES), header.numbers(_DEVICES)
    same: dict[tuple[int, int], list[int]] = {}
    for number, place in enumerate(zip(devices, inodes, strict=False)):
        if number >= len(modes) or flags[number] & _GHOST:
            continue
        if stat.S_ISREG(modes[number]):
            same.setdefault(place, []).append(number)
    return {one: tuple(group) for group in same.values() if len(group) > 1 for one in group}


def _held(mode: int, size: int, link: bytes, *, is_last: bool) -> int:
    """Return how many octets the payload holds of a file: a link's are where it leads."""
    if stat.S_ISLNK(mode):
        return len(link)
    return size if stat.S_ISREG(mode) and is_last else 0


def digest_of(file: File, algorithm: str) -> bytes:
    """Return a listed file's digest; empty where there is none.  Raises ``MalformedError``."""
    try:
        return bytes.fromhex(file.digest)
    except ValueError:
        raise MalformedError(_WHAT, f"digest {file.digest[:80]!r}", f"{algorithm} in hexadecimal",
                             _CLAUSE) from None  # fmt: skip


class Unpacking:
    """Reads a payload against the list; tells digests of the files that are wanted."""

    def __init__(self, listed: Files, wanted: Mapping[str, Sequence[str]]) -> None:
        self._files, self._wanted = listed.files, wanted
        self._by_name = _by_name(listed.files)
        self._seen = set[int]()
        self.digests: dict[tuple[str, str], bytes] = {}

    def read(self, pieces: Iterator[bytes]) -> None:
        """Read a whole payload.

        Raises ``MalformedError``, ``AmbiguousError``, ``UncoveredError`` and ``LimitError``.
        """
        reader = CpioReader(pieces, _PAYLOAD, self._size)
        for member in reader.members():
            number = self._number(member)
            file = self._files[number]
            if number in self._seen:
                raise AmbiguousError(_PAYLOAD, f"{file.shown} twice", "each file once", _CLAUSE)
            self._seen.add(number)
            self._take(number, file, member, reader)
        absent = [file.shown for number, file in enumerate(self._files)
                  if number not in self._seen and not file.ghost]  # fmt: skip
        if absent:
            raise MalformedError(_PAYLOAD, f"no {absent[0]}", "every file the header lists",
                                 _CLAUSE)  # fmt: skip

    def _size(self, number: int) -> int:
        return self._files[number].size if number < len(self._files) else 0

    def _number(self, member: CpioMember) -> int:
        number = member.number if not member.name else self._by_name.get(_key(member.name), -1)
        if not 0 <= number < len(self._files):
            shown = member.name.decode("utf-8", "backslashreplace") or f"file {number}"
            raise UncoveredError(_PAYLOAD, shown, "files that the header lists", _CLAUSE)
        return number

    def _take(self, number: int, file: File, member: CpioMember, reader: CpioReader) -> None:
        # Old writers put files in that are not to be installed; rpm reads over them.
        if member.size != file.size and not file.ghost:
            raise MalformedError(f"{_PAYLOAD}, {file.shown}", f"{member.size} octets",
                                 f"{file.size}, as the header says", _CLAUSE)  # fmt: skip
        if stat.S_ISLNK(file.mode) and not file.ghost:
            where = b"".join(reader.content())
            if where != file.link:
                raise MalformedError(f"{_PAYLOAD}, {file.shown}", f"a link to {where[:200]!r}",
                                     f"{file.link[:200]!r}, as the header says",
                                     _CLAUSE)  # fmt: skip
        names = [FILE + self._files[one].shown for one in file.shared or (number,)]
        if not (file.shared and number != file.shared[-1]):
            self._hash(names, reader)

    def _hash(self, names: Sequence[str], reader: CpioReader) -> None:
        """Compute what is wanted of the content at hand, which bears all of these names."""
        algorithms = {algorithm for name in names for algorithm in self._wanted.get(name, ())}
        hashers = {one: hashlib.new(one, usedforsecurity=False) for one in algorithms}
        for piece in reader.content() if hashers else ():
            for hasher in hashers.values():
                hasher.update(piece)
        self.digests |= {(name, one): hasher.digest() for name in names
                         for one, hasher in hashers.items()}  # fmt: skip


def _key(path: bytes) -> bytes:
    """Return a path as members are found by: writers put ``./`` or nothing before it."""
    return path.removeprefix(b".").lstrip(b"/") if path.startswith(b"./") else path.lstrip(b"/")


def _by_name(files: Sequence[File]) -> dict[bytes, int]:
    found = {_key(file.path): number for number, file in enumerate(files)}
    if len(found) < len(files) or len({file.shown for file in files}) < len(files):
        raise AmbiguousError(_WHAT, "a path twice", "each once", _CLAUSE)
    return found
