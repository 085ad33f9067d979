"""DER as trees to cut up: a reader and writer of the fuzzer's own, and mutations of trees.

Nothing here uses Signward's reader, so that an oracle built on these trees is independent
of what it judges.  Lengths may be definite or indefinite (X.690 8.1.3.6); what is written
is always definite.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EOC = b"\0\0"


class NotDerError(ValueError):
    """The octets are no element this reader knows."""


@dataclass(eq=False, slots=True)
class Tree:
    """One element: ``children`` of a constructed one (or of a wrapped one), else ``content``.

    ``wrapper`` marks a primitive (OCTET STRING) whose contents are themselves elements.
    """

    tag: int
    content: bytes = b""
    children: list[Tree] | None = None

    def inside(self) -> bytes:
        """Return the contents octets."""
        if self.children is None:
            return self.content
        return b"".join(child.encode() for child in self.children)

    def encode(self) -> bytes:
        """Return the element in DER."""
        content = self.inside()
        size = len(content)
        if size < 0x80:
            return bytes((self.tag, size)) + content
        length = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes((self.tag, 0x80 | len(length))) + length + content

    def walk(self) -> Iterator[Tree]:
        """Yield the element and everything below it."""
        yield self
        for child in self.children or ():
            yield from child.walk()

    def copy(self) -> Tree:
        """Return a tree that shares nothing with this one."""
        children = None if self.children is None else [child.copy() for child in self.children]
        return Tree(self.tag, self.content, children)

    def at(self, *path: int) -> Tree:
        """Return a descendant by child numbers.  Raises ``NotDerError``."""
        node = self
        for number in path:
            if node.children is None or not -len(node.children) <= number < len(node.children):
                raise NotDerError(f"no child {number} in {node.tag:#x}")
            node = node.children[number]
        return node


def leaf(tag: int, content: bytes = b"") -> Tree:
    """Return a primitive element."""
    return Tree(tag, content)


def node(tag: int, *children: Tree) -> Tree:
    """Return a constructed element."""
    return Tree(tag, b"", list(children))


def read(data: bytes, *, wrapped: bool = False) -> Tree:
    """Return the one element in ``data``; ``wrapped`` opens OCTET STRINGs that hold DER."""
    tree, end = _element(data, 0, len(data), 0, wrapped)
    if end != len(data):
        raise NotDerError(f"{len(data) - end} octets behind the element")
    return tree


def read_first(data: bytes) -> tuple[Tree, int]:
    """Return the first element in ``data`` and where it ends."""
    return _element(data, 0, len(data), 0, False)


def _element(data: bytes, at: int, limit: int, depth: int, wrapped: bool) -> tuple[Tree, int]:
    if at + 2 > limit or depth > 60 or data[at] & 0x1F == 0x1F:
        raise NotDerError(f"no element at {at}")
    tag, size, start = data[at], data[at + 1], at + 2
    if size == 0x80:
        return _indefinite(data, tag, start, limit, depth, wrapped)
    if size > 0x80:
        width = size & 0x7F
        size, start = int.from_bytes(data[start : start + width], "big"), start + width
    end = start + size
    if end > limit:
        raise NotDerError(f"contents at {start} overrun")
    if tag & 0x20:
        return Tree(tag, b"", _elements(data, start, end, depth, wrapped)), end
    content = data[start:end]
    if wrapped and tag == 0x04 and content[:1] in (b"\x30", b"\x04", b"\x02", b"\x03", b"\x0c"):
        try:
            children = _elements(data, start, end, depth, wrapped)
        except NotDerError:
            return Tree(tag, content), end
        return Tree(tag, b"", children), end
    return Tree(tag, content), end


def _elements(data: bytes, at: int, end: int, depth: int, wrapped: bool) -> list[Tree]:
    children = []
    while at < end:
        child, at = _element(data, at, end, depth + 1, wrapped)
        children.append(child)
    return children


def _indefinite(
    data: bytes, tag: int, at: int, limit: int, depth: int, wrapped: bool
) -> tuple[Tree, int]:
    children = []
    while data[at : at + 2] != EOC:
        child, at = _element(data, at, limit, depth + 1, wrapped)
        children.append(child)
    return Tree(tag, b"", children), at + 2


# --- mutations -------------------------------------------------------------------

_OIDS = tuple(
    bytes.fromhex(text)
    for text in [
        "551d0f",
        "551d13",
        "551d25",
        "551d1e",
        "551d20",
        "551d24",
        "551d36",
        "551d1f",
        "551d1c",
        "551d1b",
        "551d15",
        "551d18",
        "551d23",
        "551d0e",
        "551d63",
        "2b06010505070303",
        "2b06010505070308",
        "2b06010505070301",
        "2b06010505070309",
        "551d2500",
        "2b060104018237020104",
        "2b060104018237020115",
        "2b0601040182370a030d",
        "2b0e03021a",
        "2a864886f70d0205",
        "608648016503040201",
        "608648016503040202",
        "608648016503040203",
        "2a864886f70d010101",
        "2a864886f70d01010b",
        "2a864886f70d01010a",
        "2a8648ce3d040302",
        "2a864886f70d010701",
        "2a864886f70d010702",
        "2a864886f70d010903",
        "2a864886f70d010904",
        "2a864886f70d010905",
        "2a864886f70d010906",
        "2a864886f70d0109100104",
        "2a864886f70d010910022f",
        "2a864886f70d010910020c",
        "2b0601050507300105",
        "2b0601050507300106",
        "2b0601050507300101",
        "2a03",
        "80",
    ]
)
_TIMES = (b"240101000000Z", b"20240101000000Z", b"500101000000Z", b"99991231235959Z", b"Z",
          b"000000000000Z", b"20301231235960Z", b"2024010100Z", b"491231235959Z", b"",
          b"20240101000000.5Z", b"240101000000+0100", b"\xff\xfe", b"-10101000000Z")  # fmt: skip
_NUMBERS = (b"", b"\0", b"\1", b"\2", b"\3", b"\x7f", b"\xff", b"\x80", b"\0\x80", b"\x7f" * 20,
            b"\x80" + bytes(20), b"\x7f" * 2000, b"\0\1", bytes(8) + b"\1")  # fmt: skip
_TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x31,
         0x80, 0x81, 0x82, 0x86, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4)  # fmt: skip

Edit = Callable[[random.Random, Tree, int, Tree], None]
"""Changes child number ``int`` of a tree; the last argument is another tree to take from."""


def _drop(_rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    assert parent.children is not None
    del parent.children[number]


def _duplicate(rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    assert parent.children is not None
    copy = parent.children[number].copy()
    parent.children[number:number] = [copy] * rng.choice((1, 1, 1, 2, 300))


def _shuffle(rng: random.Random, parent: Tree, _number: int, _other: Tree) -> None:
    rng.shuffle(parent.children or [])


def _replace(rng: random.Random, parent: Tree, number: int, other: Tree) -> None:
    assert parent.children is not None
    parent.children[number] = rng.choice(list(other.walk())).copy()


def _insert(rng: random.Random, parent: Tree, number: int, other: Tree) -> None:
    assert parent.children is not None
    parent.children.insert(number, rng.choice(list(other.walk())).copy())


def _retag(rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    parent.at(number).tag = rng.choice(_TAGS)


def _nest(rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    assert parent.children is not None
    for _ in range(rng.choice((1, 1, 2, 45))):
        parent.children[number] = node(rng.choice((0x30, 0x31, 0xA0)), parent.children[number])


def _rewrite(rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    """Give a primitive a value at the edge of its type; empty anything else."""
    target = parent.at(number)
    pools = {0x06: _OIDS, 0x17: _TIMES, 0x18: _TIMES, 0x02: _NUMBERS, 0x0A: _NUMBERS,
             0x01: (b"\0", b"\xff", b"\1", b"")}  # fmt: skip
    if target.children is None and target.tag in pools:
        target.content = rng.choice(pools[target.tag])
    elif target.children is None:
        target.content = rng.choice((b"", bytes(len(target.content)), target.content * 2,
                                     target.content[:-1], rng.randbytes(300)))  # fmt: skip
    else:
        target.children = []


def _flip(rng: random.Random, parent: Tree, number: int, _other: Tree) -> None:
    target = parent.at(number)
    data = bytearray(target.inside())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        target.content, target.children = bytes(data), None


EDITS: tuple[Edit, ...] = (
    _drop, _drop, _duplicate, _shuffle, _replace, _insert, _retag, _nest,
    _rewrite, _rewrite, _rewrite, _flip, _flip,
)  # fmt: skip


def mutate(rng: random.Random, tree: Tree, other: Tree | None = None) -> None:
    """Change one to three places of ``tree`` itself; ``other`` lends elements."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        parents = [one for one in tree.walk() if one.children]
        if not parents:
            return
        parent = rng.choice(parents)
        rng.choice(EDITS)(rng, parent, rng.randrange(len(parent.children or ())), other or tree)
