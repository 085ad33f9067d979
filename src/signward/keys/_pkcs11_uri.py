"""PKCS#11 URIs (RFC 7512): which module, which token, which key, and whence the PIN."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from signward.errors import KeyProviderError
from signward.frozen import Frozen

TOKEN_ATTRIBUTES = ("token", "serial", "manufacturer", "model", "slot-id")
OBJECT_ATTRIBUTES = ("object", "id", "type")
QUERY_ATTRIBUTES = ("pin-source", "module-path", "module-name")

MODULE_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
    "/usr/local/lib",
)  # fmt: skip
"""Where modules named without a path are looked for, and in ``pkcs11`` and ``softhsm`` below."""

DEFAULT_MODULE = "p11-kit-proxy"
"""Stands for every module the machine has registered."""

_ESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Pkcs11Uri(Frozen, frozen=True, kw_only=True):
    """A parsed URI: attributes that were given, percent-decoded; ``id`` as octets."""

    path: Mapping[str, str]
    id: bytes
    pin_file: str
    module_path: str
    module_name: str

    def __str__(self) -> str:
        """Return the path attributes, for messages; they hold no secret."""
        given = [f"{name}={value}" for name, value in self.path.items()]
        return "pkcs11:" + ";".join([*given, *([f"id={self.id.hex()}"] if self.id else [])])


def parse(rest: str) -> Pkcs11Uri:
    """Read what follows ``pkcs11:``.  Raises ``KeyProviderError``.

    ``pin-value`` is refused: a command line is read by every process on the machine.
    """
    path_text, _, query_text = rest.partition("?")
    path = _attributes(path_text.split(";"), (*TOKEN_ATTRIBUTES, *OBJECT_ATTRIBUTES))
    query = _attributes(query_text.split("&"), QUERY_ATTRIBUTES)
    kind = path.pop("type", b"private")
    if kind != b"private":
        raise _refused(f"type={_text(kind)}", "type=private, or no type")
    identifier = path.pop("id", b"")
    texts = {name: _text(value) for name, value in path.items()}
    if not texts.get("slot-id", "0").isdecimal():
        raise _refused(f"slot-id={texts['slot-id']}", "a decimal number")
    return Pkcs11Uri(
        path=texts,
        id=identifier,
        pin_file=_pin_file(_text(query.get("pin-source", b""))),
        module_path=_text(query.get("module-path", b"")),
        module_name=_text(query.get("module-name", b"")),
    )


def _attributes(parts: Iterable[str], known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, parts):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            hint = "pin-source=file:PATH, --pass-file, SIGNWARD_PASSWORD, or a prompt"
            raise _refused("pin-value", "no secret on a command line", hint)
        if not equals or name not in known:
            raise _refused(f"attribute {name[:40]!r}", f"one of {', '.join(known)}")
        if name in found or _ESCAPED.search(value):
            raise _refused(f"{name} twice or badly escaped", "each once (RFC 7512 2.3)")
        found[name] = unquote_to_bytes(value)
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(f"octets {value[:16].hex()}", "UTF-8 (RFC 7512 2.3)") from None


def _pin_file(source: str) -> str:
    if not source:
        return ""
    scheme, colon, path = source.partition(":")
    if not colon or scheme != "file" or not path:
        raise _refused("a pin-source that is no file", "pin-source=file:PATH")
    return path[2:] if path.startswith("///") else path


def _refused(found: str, required: str, hint: str = "") -> KeyProviderError:
    return KeyProviderError("pkcs11 URI", found, required, hint)


def module_file(uri: Pkcs11Uri) -> str:
    """Return the file of the module that the URI names.  Raises ``KeyProviderError``."""
    name = uri.module_name or DEFAULT_MODULE
    if "/" in name:
        raise _refused(f"module-name={name}", "a name without a path; module-path takes one")
    if uri.module_path and not Path(uri.module_path).is_dir():
        candidates = [Path(uri.module_path)]
    else:
        folders = [uri.module_path] if uri.module_path else MODULE_FOLDERS
        candidates = [
            Path(folder, below, f"{prefix}{name}.so")
            for folder in folders
            for below in ("", "pkcs11", "softhsm")
            for prefix in ("", "lib")
        ]
    for candidate in candidates:
        if candidate.is_file():
            return os.fspath(candidate)
    hint = "name the vendor's library: pkcs11:...?module-path=/usr/lib/.../libsofthsm2.so"
    raise KeyProviderError("PKCS#11 module", f"no {uri.module_path or name}", "a library", hint)
