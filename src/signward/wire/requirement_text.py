"""The Code Signing Requirement Language as text: read and printed.

Sources: Apple's ``requirements.grammar`` and ``reqdumper.cpp`` (libsecurity_codesigning), Code
Signing Guide, "Code Signing Requirement Language".  What is printed is what ``codesign -d -r-``
prints, but for what that could not read again itself: an empty string has quotes, instants stand
as ``timestamp "YYYYMMDDhhmmssZ"``, and octets that are no printable ASCII stand as ``0x...``,
which is read here wherever a string is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from signward.errors import LimitError, MalformedError
from signward.wire import der
from signward.wire.requirement import (
    DESIGNATED,
    EPOCH,
    GUEST,
    HOST,
    INSTANTS,
    LEAF,
    LIBRARY,
    MAX_DEPTH,
    OPERANDS,
    PLUGIN,
    ROOT,
    Comparison,
    Expression,
    Match,
    Op,
    Requirement,
)

MAX_TEXT = 64 * 1024
"""Longest text read, in characters; real ones have some 300."""

TYPES: Mapping[str, int] = {
    "host": HOST, "guest": GUEST, "designated": DESIGNATED, "library": LIBRARY, "plugin": PLUGIN,
}  # fmt: skip
"""Names of the requirements in a set."""

_WHAT = "code requirement"
_CLAUSE = "Code Signing Requirement Language"
_INSTANT = "%Y%m%d%H%M%SZ"

_KEYWORDS = frozenset((
    *TYPES, "or", "and", "always", "true", "never", "false", "identifier", "cdhash", "platform",
    "notarized", "legacy", "anchor", "apple", "generic", "certificate", "cert", "trusted", "info",
    "entitlement", "exists", "absent", "leaf", "root", "timestamp",
))  # fmt: skip

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
      | (?P<hash>H"[0-9A-Fa-f]*")
      | (?P<word>[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+)*)
      | (?P<hex>0x[0-9A-Fa-f]*)
      | (?P<number>[0-9]+)
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<sign>=>|<=|>=|==|[=~<>!*()\[\];-])""",
    re.VERBOSE | re.DOTALL,
)

_BARE_WORDS: Mapping[str, Op] = {
    "always": Op.ALWAYS, "true": Op.ALWAYS, "never": Op.NEVER, "false": Op.NEVER,
    "notarized": Op.NOTARIZED, "legacy": Op.LEGACY,
}  # fmt: skip

_FIELDS: Mapping[str, Op] = {
    "field": Op.EXTENSION, "extension": Op.EXTENSION, "policy": Op.POLICY,
    "timestamp": Op.EXTENSION_TIME,
}  # fmt: skip
"""Keys of a certificate that go on with an OID."""

_SIGNS: Mapping[str, tuple[Comparison, Comparison]] = {
    "=": (Comparison.EQUAL, Comparison.ON), "==": (Comparison.EQUAL, Comparison.ON),
    "<": (Comparison.LESS, Comparison.BEFORE), ">": (Comparison.GREATER, Comparison.AFTER),
    "<=": (Comparison.LESS_EQUAL, Comparison.ON_OR_BEFORE),
    ">=": (Comparison.GREATER_EQUAL, Comparison.ON_OR_AFTER),
}  # fmt: skip
"""Signs with what they ask of a string, and of an instant."""

_PRINTED: Mapping[int, str] = {
    Comparison.EXISTS: " /* exists */", Comparison.ABSENT: " absent", Comparison.EQUAL: " = {}",
    Comparison.CONTAINS: " ~ {}", Comparison.BEGINS: " = {}*", Comparison.ENDS: " = *{}",
    Comparison.LESS: " < {}", Comparison.GREATER: " > {}", Comparison.LESS_EQUAL: " <= {}",
    Comparison.GREATER_EQUAL: " >= {}", Comparison.ON: " = {}", Comparison.BEFORE: " < {}",
    Comparison.AFTER: " > {}", Comparison.ON_OR_BEFORE: " <= {}", Comparison.ON_OR_AFTER: " >= {}",
}  # fmt: skip


_NAMED: Mapping[int, str] = {
    Op.IDENTIFIER: "identifier {string}", Op.CDHASH: "cdhash {digest}",
    Op.PLATFORM: "platform = {number}", Op.CERTIFICATE: "certificate {slot} = {digest}",
    Op.TRUSTED: "certificate {slot} trusted", Op.ALL_TRUSTED: "anchor trusted",
    Op.NAMED_ANCHOR: "anchor apple {string}", Op.NAMED_CODE: "({string})",
    Op.INFO: "info[{string}]", Op.INFO_VALUE: "info[{string}]",
    Op.ENTITLEMENT: "entitlement[{string}]", Op.FIELD: "certificate {slot}[{string}]",
    Op.EXTENSION: "certificate {slot}[field.{oid}]",
    Op.POLICY: "certificate {slot}[policy.{oid}]",
    Op.EXTENSION_TIME: "certificate {slot}[timestamp.{oid}]",
}  # fmt: skip
"""How each operation names what it asks about; the others are their own words."""

_KEYED = frozenset((Op.INFO, Op.INFO_VALUE, Op.ENTITLEMENT, Op.FIELD))
"""Operations whose data is a key: dots need no quotes there."""


class _Token(NamedTuple):
    """A word of the text: its kind (a group of `_TOKEN`, or ``end``), its text, its place."""

    kind: str
    text: str
    at: int


# ---- printing ----


def requirement_text(requirement: Requirement) -> str:
    """Return a requirement as text; one of another form is only named."""
    if requirement.expression is None:
        return f"/* form {requirement.form} */"
    return expression_text(requirement.expression)


def requirements_text(requirements: Mapping[int, Requirement]) -> str:
    """Return a set as text, ``type => requirement``, one a line."""
    names = {number: name for name, number in TYPES.items()}
    return "\n".join(
        f"{names.get(kind, f'/*unknown type*/ {kind}')} => {requirement_text(requirement)}"
        for kind, requirement in sorted(requirements.items())
    )


def expression_text(expression: Expression, inside: int = Op.OR) -> str:
    """Return an expression as text; ``inside`` says what it stands in, for the parentheses."""
    op = expression.op
    if op in (Op.AND, Op.OR):
        joined = f" {Op(op).name.lower()} ".join(expression_text(p, op) for p in expression.parts)
        bare = inside in (Op.OR, op)  # ``or`` binds less than ``and``, and ``!`` more than both
        return joined if bare else f"({joined})"
    if op == Op.NOT:
        return f"! {expression_text(expression.parts[0], Op.NOT)}"
    if op not in OPERANDS:
        below = [expression_text(part, Op.NOT) for part in expression.parts] or ["false"]
        return f"{below[0]} /* opcode {op & 0xFFFFFF} */"
    return _named(expression) + (_match_text(expression.match) if expression.match else "")


def _named(expression: Expression) -> str:
    """Return what an expression speaks of, without its comparison."""
    pattern = _NAMED.get(expression.op)
    if pattern is None:
        return Op(expression.op).name.lower().replace("_", " ")
    data = expression.data
    return pattern.format(
        number=expression.number,
        slot={LEAF: "leaf", ROOT: "root"}.get(expression.number, str(expression.number)),
        string=_string(data, dots=expression.op in _KEYED),
        digest=f'H"{data.hex()}"',
        oid=_dotted(data),
    )


def _match_text(match: Match) -> str:
    pattern = _PRINTED.get(match.kind, f" /* comparison {match.kind} */ {{}}")
    if match.kind in INSTANTS:
        return pattern.format(_instant_text(match.instant))
    return pattern.format(_string(match.value))


def _instant_text(instant: int) -> str:
    try:
        return f'timestamp "{(EPOCH + timedelta(seconds=instant)).strftime(_INSTANT)}"'
    except OverflowError:
        return f"timestamp /* {instant} */"


def _string(data: bytes, *, dots: bool = False) -> str:
    """Return octets bare where they are a plain word, quoted if printable, else hexadecimal."""
    if any(not 0x20 <= octet < 0x7F for octet in data):
        return f"0x{data.hex()}"
    text = data.decode("ascii")
    pattern = r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z0-9]+)*" if dots else r"[A-Za-z][A-Za-z0-9]*"
    if re.fullmatch(pattern, text) and text not in _KEYWORDS:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dotted(data: bytes) -> str:
    """Return an OID in dotted form; what is none stands in hexadecimal."""
    try:
        return der.parse(der.encode(der.OID, data), _WHAT).oid()
    except MalformedError:
        return f"0x{data.hex()}"


# ---- reading ----


def parse_requirement(text: str) -> Expression:
    """Return the expression a text says.

    Raises ``MalformedError`` with the place (in characters) of what does not fit, and
    ``LimitError`` for a text too long or nested too deeply.
    """
    reader = _Reader(text)
    expression = reader.expression(MAX_DEPTH)
    reader.finish()
    return expression


def parse_requirements(text: str) -> Mapping[int, Expression]:
    """Return the expressions of a set by type; a single one is the designated requirement."""
    reader = _Reader(text)
    found: dict[int, Expression] = {}
    while not found or reader.here.kind != "end":
        kind = reader.type()
        if kind in found:
            raise MalformedError(_WHAT, f"type {kind} twice", "once", _CLAUSE,
                                 offset=reader.here.at)  # fmt: skip
        found[kind] = reader.expression(MAX_DEPTH)
        while reader.accept(";"):
            pass
    return found


class _Reader:
    """A text's tokens, read from the left by the rules of the grammar."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise LimitError(_WHAT, f"{len(text)} characters", f"at most {MAX_TEXT}", _CLAUSE)
        self._tokens = list(_tokens(text))
        self._next = 0

    @property
    def here(self) -> _Token:
        """The token that comes next."""
        return self._tokens[self._next]

    def type(self) -> int:
        """Read ``type =>``; where there is none the designated requirement is meant."""
        arrow = self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        if arrow.text != "=>":
            if self._next:
                raise self._unexpected("type =>")
            return DESIGNATED
        token = self._take()
        self._take()
        if token.kind == "number":
            return _number(token)
        if token.text not in TYPES:
            raise self._unexpected("a type of requirement", token)
        return TYPES[token.text]

    def finish(self) -> None:
        """Read what may stand behind a requirement: semicolons."""
        while self.accept(";"):
            pass
        if self.here.kind != "end":
            raise self._unexpected("the end")

    def expression(self, depth: int) -> Expression:
        """Read terms joined by ``or``."""
        return self._joined(Op.OR, depth)

    def accept(self, *texts: str) -> str:
        """Take the next token if it is one of these words or signs; return it, or nothing."""
        if self.here.kind in ("word", "sign") and self.here.text in texts:
            return self._take().text
        return ""

    def _joined(self, op: Op, depth: int) -> Expression:
        """Read a chain of ``or``, or of ``and``; each further member nests it deeper."""
        word = op.name.lower()
        below = self._primary if op is Op.AND else self._and
        joined = below(depth - 1)
        while self.accept(word):
            depth -= 1
            joined = Expression(op=op, parts=(joined, below(depth - 1)))
        return joined

    def _and(self, depth: int) -> Expression:
        return self._joined(Op.AND, depth)

    def _primary(self, depth: int) -> Expression:
        if depth <= 0:
            raise LimitError(_WHAT, f"nesting beyond {MAX_DEPTH}", "less", _CLAUSE,
                             offset=self.here.at)  # fmt: skip
        if self.accept("!"):
            return Expression(op=Op.NOT, parts=(self._primary(depth - 1),))
        if self.accept("("):
            return self._group(depth)
        if word := self.accept(*_BARE_WORDS):
            return Expression(op=_BARE_WORDS[word])
        if self.accept("identifier"):
            self.accept("=", "==")
            return Expression(op=Op.IDENTIFIER, data=self._value())
        if self.accept("cdhash"):
            self.accept("=", "==")
            return Expression(op=Op.CDHASH, data=self._hash())
        if self.accept("platform"):
            self.accept("=", "==")
            return Expression(op=Op.PLATFORM, number=self._integer())
        if word := self.accept("info", "entitlement"):
            op = Op.INFO if word == "info" else Op.ENTITLEMENT
            return Expression(op=op, data=self._key(), match=self._match())
        return self._certificates()

    def _group(self, depth: int) -> Expression:
        """Read what a parenthesis opens: an expression, or the name of a requirement on file."""
        closing = self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        if _is_string(self.here) and closing.text == ")" and closing.kind == "sign":
            inner = Expression(op=Op.NAMED_CODE, data=self._value())
        else:
            inner = self.expression(depth - 1)
        if not self.accept(")"):
            raise self._unexpected(")")
        return inner

    def _certificates(self) -> Expression:
        word = self.accept("anchor", "certificate", "cert")
        if not word:
            raise self._unexpected("a requirement")
        if self.accept("trusted"):
            return Expression(op=Op.ALL_TRUSTED)
        if word == "anchor":
            if self.accept("apple"):
                return self._apple()
            if self.accept("generic"):
                if not self.accept("apple"):
                    raise self._unexpected("apple")
                return Expression(op=Op.ANCHOR_APPLE_GENERIC)
            return self._certificate(ROOT)
        slot = self._slot()
        if self.accept("trusted"):
            return Expression(op=Op.TRUSTED, number=slot)
        return self._certificate(slot)

    def _apple(self) -> Expression:
        if self.accept("generic"):
            return Expression(op=Op.ANCHOR_APPLE_GENERIC)
        if _is_string(self.here):
            return Expression(op=Op.NAMED_ANCHOR, data=self._value())
        return Expression(op=Op.ANCHOR_APPLE)

    def _slot(self) -> int:
        if word := self.accept("leaf", "root"):
            return LEAF if word == "leaf" else ROOT
        return self._integer()

    def _certificate(self, slot: int) -> Expression:
        """Read what is asked of the certificate in a slot."""
        if not (self.here.kind == "sign" and self.here.text == "["):
            self.accept("=", "==")
            return Expression(op=Op.CERTIFICATE, number=slot, data=self._hash())
        token = self._tokens[self._next + 1]
        key = self._key()
        prefix, _, rest = key.decode("utf-8", "replace").partition(".")
        if prefix == "subject" and rest:
            return Expression(op=Op.FIELD, number=slot, data=key, match=self._match())
        if prefix not in _FIELDS:
            raise self._unexpected("subject.X, field.OID, policy.OID or timestamp.OID", token)
        try:
            oid = der.parse(der.oid(rest), _WHAT).content
        except ValueError:
            raise self._unexpected(f"{prefix}.OID", token) from None
        return Expression(op=_FIELDS[prefix], number=slot, data=oid, match=self._match())

    def _key(self) -> bytes:
        if not self.accept("["):
            raise self._unexpected("[")
        key = self._value()
        if not self.accept("]"):
            raise self._unexpected("]")
        return key

    def _match(self) -> Match:
        if self.accept("absent"):
            return Match(kind=Comparison.ABSENT)
        if self.accept("~"):
            return Match(kind=Comparison.CONTAINS, value=self._value())
        sign = self.accept(*_SIGNS)
        if not sign:
            self.accept("exists")
            return Match(kind=Comparison.EXISTS)
        plain, instant = _SIGNS[sign]
        if self.accept("timestamp"):
            return Match(kind=instant, instant=self._instant())
        if plain is not Comparison.EQUAL:
            return Match(kind=plain, value=self._value())
        return self._wildcards()

    def _wildcards(self) -> Match:
        """Read a value with ``*`` before or behind it."""
        before = bool(self.accept("*"))
        value = self._value()
        behind = bool(self.accept("*"))
        kind = {
            (False, False): Comparison.EQUAL, (True, False): Comparison.ENDS,
            (False, True): Comparison.BEGINS, (True, True): Comparison.CONTAINS,
        }[before, behind]  # fmt: skip
        return Match(kind=kind, value=value)

    def _instant(self) -> int:
        token = self.here
        try:
            text = self._value().decode("ascii")
            instant = datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
        except ValueError:
            raise self._unexpected('a time like "20190408000000Z"', token) from None
        return int((instant - EPOCH).total_seconds())

    def _value(self) -> bytes:
        """Read a word that is no keyword, a quoted string or hexadecimal octets."""
        token = self._take()
        if token.kind == "hex" and not len(token.text) % 2:
            return bytes.fromhex(token.text[2:])
        if token.kind == "hex" or not _is_string(token):
            raise self._unexpected("a string", token)
        if token.kind == "string":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL).encode()
        return token.text.encode()

    def _hash(self) -> bytes:
        token = self._take()
        if token.kind != "hash" or len(token.text) != 43:
            raise self._unexpected('a digest of 20 octets, H"..."', token)
        return bytes.fromhex(token.text[2:-1])

    def _integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        token = self._take()
        if token.kind != "number":
            raise self._unexpected("a number", token)
        return sign * _number(token)

    def _take(self) -> _Token:
        token = self.here
        if token.kind != "end":
            self._next += 1
        return token

    def _unexpected(self, required: str, token: _Token | None = None) -> MalformedError:
        token = token or self.here
        return MalformedError(_WHAT, token.text[:60] or "the end", required, _CLAUSE,
                              offset=token.at)  # fmt: skip


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while position < len(text):
        hit = _TOKEN.match(text, position)
        if not hit or hit.lastgroup is None:
            raise MalformedError(_WHAT, repr(text[position : position + 20]),
                                 "a word, string, number or sign", _CLAUSE,
                                 offset=position)  # fmt: skip
        if hit.lastgroup != "skip":
            found.append(_Token(hit.lastgroup, hit.group(), position))
        position = hit.end()
    return [*found, _Token("end", "", len(text))]


def _is_string(token: _Token) -> bool:
    word = token.kind == "word" and token.text not in _KEYWORDS
    return word or token.kind in ("string", "hex")


def _number(token: _Token) -> int:
    """Return a number that fits into a word with a sign."""
    if len(token.text) > 10 or int(token.text) > 0x7FFFFFFF:
        raise MalformedError(_WHAT, token.text[:60], "a number below 2147483648", _CLAUSE,
                             offset=token.at)  # fmt: skip
    return int(token.text)
