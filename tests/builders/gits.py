"""Objects, packs and repositories of git, written octet by octet."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path

from tests.builders import openpgp as pgp
from tests.builders import ssh

KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


def armoured_pgp(*bodies: bytes) -> bytes:
    """Return an armoured block of signature packets."""
    text = base64.b64encode(b"".join(pgp.packet(2, body) for body in bodies))
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    head, foot = b"-----BEGIN PGP SIGNATURE-----\n", b"-----END PGP SIGNATURE-----"
    return b"\n".join((head, *lines, foot, b""))


def header(signature: bytes, name: bytes = b"gpgsig") -> bytes:
    """Return a header that holds an armoured signature."""
    return name + b" " + signature.removesuffix(b"\n").replace(b"\n", b"\n ") + b"\n"


def put(raw: bytes, *headers: bytes) -> bytes:
    """Return a commit with further headers behind its own."""
    own, blank, message = raw.partition(b"\n\n")
    return own + b"\n" + b"".join(headers) + blank[1:] + message


def by_ssh(raw: bytes, key: ssh.Key, namespace: bytes = b"git") -> bytes:
    """Return a commit that is signed with an SSH key."""
    return put(raw, header(ssh.signed(raw, key, namespace)))


def by_pgp(raw: bytes, key: pgp.Key) -> bytes:
    """Return a commit that is signed with an OpenPGP key."""
    return put(raw, header(armoured_pgp(key.sign(raw))))


def name_of(kind: str, raw: bytes, algorithm: str = "sha1") -> str:
    """Return an object's name."""
    return hashlib.new(algorithm, f"{kind} {len(raw)}\0".encode() + raw).hexdigest()


def loose(kind: str, raw: bytes) -> bytes:
    """Return a loose object."""
    return zlib.compress(f"{kind} {len(raw)}\0".encode() + raw)


def length(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([*(one | 0x80 for one in groups[:-1]), groups[-1]])


def entry(kind: int, data: bytes, before: bytes = b"", size: int | None = None) -> bytes:
    """Return an object in a pack; ``before`` is what stands between its head and its stream."""
    size = len(data) if size is None else size
    first, rest = size & 15, size >> 4
    head = bytes([kind << 4 | first | (0x80 if rest else 0)]) + (length(rest) if rest else b"")
    return head + before + zlib.compress(data)


def back(distance: int) -> bytes:
    """Return a distance, as deltas name the object they are by."""
    groups = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        groups.append(distance & 0x7F | 0x80)
    return bytes(reversed(groups))


def delta(base: bytes, made: bytes, *commands: bytes) -> bytes:
    """Return a delta with these commands."""
    return length(len(base)) + length(len(made)) + b"".join(commands)


def copy(place: int, count: int) -> bytes:
    """Return the command that copies from the base."""
    return b"\xff" + place.to_bytes(4, "little") + count.to_bytes(3, "little")


def pack(*entries: bytes) -> tuple[bytes, list[int]]:
    """Return a pack, and where its entries are."""
    data, places = b"PACK\0\0\0\x02" + len(entries).to_bytes(4, "big"), []
    for one in entries:
        places.append(len(data))
        data += one
    return data + hashlib.sha1(data).digest(), places


def index(places: dict[str, int]) -> bytes:
    """Return the index of a pack."""
    names = sorted(bytes.fromhex(name) for name in places)
    fan = b"".join(sum(n[0] <= i for n in names).to_bytes(4, "big") for i in range(256))
    offsets = b"".join(places[name.hex()].to_bytes(4, "big") for name in names)
    checks = bytes(4 * len(names))
    return b"\xfftOc\0\0\0\x02" + fan + b"".join(names) + checks + offsets + bytes(40)


def repository(folder: Path, **refs: str) -> Path:
    """Return a new repository; ``refs`` are branches, ``HEAD`` is what that file says."""
    own = folder / ".git"
    for name in ("objects/pack", "refs/heads", "refs/tags"):
        (own / name).mkdir(parents=True)
    (own / "HEAD").write_text(refs.pop("HEAD", "ref: refs/heads/main\n"))
    for name, value in refs.items():
        (own / "refs/heads" / name).write_text(value + "\n")
    return folder


def store(folder: Path, kind: str, raw: bytes, name: str = "") -> str:
    """Put a loose object into a repository; return its name."""
    name = name or name_of(kind, raw)
    place = folder / ".git/objects" / name[:2]
    place.mkdir(exist_ok=True)
    (place / name[2:]).write_bytes(loose(kind, raw))
    return name
