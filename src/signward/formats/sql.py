"""Transact-SQL scripts: the signatures they add to modules, shown but not judged.

Source: Microsoft Learn, "ADD SIGNATURE (Transact-SQL)".  A stored procedure, function, trigger
or assembly is shipped with its signature in a statement of the script::

    ADD [COUNTER] SIGNATURE TO [class::]module
        BY CERTIFICATE name WITH SIGNATURE = 0x...

**Which octets are signed is published nowhere.**  Said is only that every character of the
module counts, line breaks too, and the security identifier of a principal it executes as.
The encoding, what of CREATE counts, the digest, and the layout of the value (which differs
between versions of the server) are not.  So such a signature is neither accepted nor refused:
INDETERMINATE, with what the statement says.  A script that ships no signature is unsigned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signward.errors import LimitError
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek
from signward.frozen import Frozen
from signward.state import Manifest, SignedArtifact, Source, Wanted

MAX_SCRIPT = 8 * 1024 * 1024
"""Largest script read for its statements."""

MAX_STATEMENTS = 4096
"""Signatures read; SQL Server's own largest database ships some hundreds."""

MAX_TOKENS = 1 << 20
"""Tokens read of a script that speaks of signatures, some 100 bytes of memory each; one of
8 MiB that installs modules has about as many."""

_MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8"))

# Possessive throughout: nothing is scanned back over, which eight million brackets would make
# quadratic, and no state is kept for it.
_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | --[^\r\n]* )
  | (?P<comment> /\* )
  | (?P<string> N?'[^']*+(?:''[^']*+)*+' )
  | (?P<name> \[[^\]]{0,128}+(?:\]\][^\]]{0,128}+){0,16}+\]
            | "[^"]*+(?:""[^"]*+)*+" | [^\W\d][\w@#$]* )
  | (?P<binary> 0[xX][0-9a-fA-F]* )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")
_CLAUSE = "ADD SIGNATURE (Transact-SQL)"


class Statement(Frozen, frozen=True, kw_only=True):
    """An ADD SIGNATURE statement's signer: the module, by what, and the value it ships.

    ``value`` is empty where the server is told to sign when the script runs.
    """

    module: str
    by: str
    counter: bool
    value: bytes


class SqlFormat:
    """Scripts that may add signatures to modules of SQL Server."""

    name = "sql"
    spec = "ADD SIGNATURE (Transact-SQL), Microsoft Learn"
    extensions: tuple[str, ...] = (".sql",)

    def recognise(self, peek: Peek) -> Match:
        """Recognise the extension: scripts have no magic."""
        return Match.EXTENSION if peek.extension in self.extensions else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the statements that add signatures."""
        if source.length > MAX_SCRIPT:
            raise LimitError("script", f"{source.length} bytes", f"at most {MAX_SCRIPT}", _CLAUSE)
        statements = list(read_statements(_text(source.read(0, source.length))))
        shipped = [one for one in statements if one.value]
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=(),
            facts=_facts(statements),
            findings=tuple(map(_not_judged, shipped)),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:  # noqa: ARG002
        """Return nothing: what is digested is not known."""
        return {}


def _text(data: bytes) -> str:
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(codec, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read_statements(text: str) -> Iterator[Statement]:
    """Yield each signer of each ADD SIGNATURE statement; comments and strings hold none.

    Raises ``LimitError`` beyond ``MAX_STATEMENTS`` or ``MAX_TOKENS``.
    """
    if "signature" not in text.casefold():
        return
    words = list(_words(text))
    found = 0
    for index, (_, word) in enumerate(words):
        counter = word.upper() == "COUNTER"
        if word.upper() != "ADD" and not counter:
            continue
        if [w.upper() for _, w in words[index + 1 : index + 3]] != ["SIGNATURE", "TO"]:
            continue
        for one in _signers(words, index + 3, counter=counter):
            found += 1
            if found > MAX_STATEMENTS:
                raise LimitError("script", "more signatures", f"at most {MAX_STATEMENTS}", _CLAUSE)
            yield one


_Words = list[tuple[str, str]]


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens with their kinds, without space and comments (which nest)."""
    position, found = 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # every character matches `other`
            return
        kind = match.lastgroup or ""
        position = match.end()
        if kind == "comment":
            position = _comment_end(text, position)
        elif kind != "space":
            found += 1
            if found > MAX_TOKENS:
                raise LimitError("script", "more tokens", f"at most {MAX_TOKENS}", _CLAUSE)
            yield kind, match[0]


def _comment_end(text: str, position: int) -> int:
    depth = 1
    for match in _COMMENT.finditer(text, position):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _signers(words: _Words, index: int, *, counter: bool) -> Iterator[Statement]:
    """Yield the signers of one statement, from the module's name on."""
    module, index = _until_by(words, index)
    while index < len(words):
        kind = " ".join(w.upper() for _, w in words[index : index + 2])
        width = 1 if kind.startswith("CERTIFICATE") else 2
        if width == 2 and kind != "ASYMMETRIC KEY":
            return
        name = "".join(w for _, w in words[index + width : index + width + 1])
        value, index = _value(words, index + width + 1)
        by = f"{'certificate' if width == 1 else 'asymmetric key'} {_bare(name)}"
        yield Statement(module=module, by=by, counter=counter, value=value)
        if words[index : index + 1] != [("other", ",")]:
            return
        index += 1


def _until_by(words: _Words, index: int) -> tuple[str, int]:
    """Return the module's name as written, and where what follows BY starts."""
    for end in range(index, min(index + 16, len(words))):
        if words[end][1].upper() == "BY":
            return "".join(word for _, word in words[index:end]), end + 1
    return "", len(words)


def _value(words: _Words, index: int) -> tuple[bytes, int]:
    """Return the value behind WITH SIGNATURE =, empty for WITH PASSWORD or nothing."""
    said = [word.upper() for _, word in words[index : index + 3]]
    if said[:1] != ["WITH"] or said[2:] != ["="]:
        return b"", index
    kind, word = words[index + 3] if index + 3 < len(words) else ("", "")
    if said[1] != "SIGNATURE" or kind != "binary":
        return b"", index + 4
    digits = word[2:]
    return bytes.fromhex("0" * (len(digits) % 2) + digits), index + 4


def _bare(name: str) -> str:
    return name[1:-1].replace("]]", "]") if name.startswith("[") else name.strip('"')


def _facts(statements: list[Statement]) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"module-signatures": len(statements)}
    for number, one in enumerate(statements, 1):
        value = f"{len(one.value)} bytes" if one.value else "made when the script runs"
        kind = "countersigned" if one.counter else "signed"
        facts[f"module-{number}"] = f"{one.module} {kind} by {one.by}, {value}"
    return facts


def _not_judged(one: Statement) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_KIND,
        effect=Effect.UNKNOWN,
        subject=f"module {one.module}",
        found=f"a signature of {len(one.value)} bytes by {one.by}",
        required="a published rule of which octets are signed",
        clause=_CLAUSE,
        hint="ask the server: sys.fn_check_object_signatures says whether it holds",
    )


FORMAT = SqlFormat()
