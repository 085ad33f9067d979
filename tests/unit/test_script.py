"""Signed scripts: one block, last in the file, over exactly this text (THREATS 28)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek, _script_text, recognise
from signward.formats import script as script_module
from signward.formats._script_text import STYLES
from signward.formats.script import FORMAT, MEASURED_TEXT, TEXT, WHOLE_FILE
from signward.integrity import check_regions, check_signature, wanted_slots
from signward.state import BrokenSignature, IntactSignature, SignedArtifact
from signward.wire.source import BytesSource
from tests.builders import images

TEXT_LINES = "Write-Host 'one'\r\n$x = 'two'\n"
ACCENTED = "Write-Host 'h\u00e9llo \u20ac'\r\n"
BEGIN, END = "# SIG # Begin signature block", "# SIG # End signature block"

MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
COMMENTS = {
    ".ps1": ("# ", ""), ".psm1": ("# ", ""), ".psd1": ("# ", ""),
    ".ps1xml": ("<!-- ", " -->"), ".psc1": ("<!-- ", " -->"), ".cdxml": ("<!-- ", " -->"),
    ".mof": ("/* ", " */"),
}  # fmt: skip


def parse(data: bytes, name: str = "a.ps1") -> SignedArtifact:
    return FORMAT.parse(BytesSource(name, data), ParseOptions())


def judge(data: bytes, name: str = "a.ps1") -> tuple[bool, list[Finding]]:
    """Whether there is a signature and every one is intact, and every finding."""
    artifact = parse(data, name)
    computed = FORMAT.digests(artifact, wanted_slots(artifact))
    states = [check_signature(artifact, s, computed) for s in artifact.signatures]
    findings = [*artifact.findings, *check_regions(artifact)]
    findings += [f for s in states if isinstance(s, BrokenSignature) for f in s.findings]
    return bool(states) and all(isinstance(s, IntactSignature) for s in states), findings


def rejected(data: bytes, name: str = "a.ps1") -> set[Code]:
    """The codes that reject or leave open these bytes, raised or found."""
    try:
        return {f.code for f in judge(data, name)[1] if f.effect in (Effect.REJECT, Effect.UNKNOWN)}
    except BadInputError as error:
        return {error.finding.code}


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [TEXT_LINES, ACCENTED, "x", "", "a\r\n\r\n", "\U0001f600"])
def test_marked_text_is_intact(codec: str, text: str) -> None:
    assert judge(images.powershell(text, codec=codec, mark=MARKS[codec])) == (True, [])


@pytest.mark.parametrize("text", [TEXT_LINES, ACCENTED])
def test_text_without_mark_is_read_as_utf_8(text: str) -> None:
    assert judge(images.powershell(text)) == (True, [])


def test_text_without_mark_signed_in_the_ansi_code_page() -> None:
    """A signer on Windows read the file's UTF-8 bytes as Windows-1252."""
    raw = "# \u00fcber \u0153 \u0081".encode()
    seen = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in raw)
    signed = images.powershell(seen)
    block = signed[len(seen.encode()) :]
    assert judge(raw + block) == (True, [])


@pytest.mark.parametrize("text", ["# f\u00fcr\r\n", "# \u00e9\u00e8"])
def test_text_that_is_not_utf_8_is_ambiguous_in_powershell(text: str) -> None:
    data = images.powershell(text)
    recoded = data.replace(text.encode(), text.encode("cp1252"))
    assert recoded != data
    assert rejected(recoded) == {Code.AMBIGUOUS}


@pytest.mark.parametrize("extension", COMMENTS)
def test_each_family_has_its_comments(extension: str) -> None:
    opening, closing = COMMENTS[extension]
    content = images.sip_content(hashlib.sha256("text".encode("utf-16-le")).digest())
    block = images.script_block(
        content, opening, closing,
        begin=f"{opening}SIG # Begin signature block{closing}",
        end=f"{opening}SIG # End signature block{closing}",
    )  # fmt: skip
    assert judge(f"text{block}".encode(), f"a{extension}") == (True, [])
    assert rejected(f"Text{block}".encode(), f"a{extension}") == {Code.DIGEST_MISMATCH}


WSH_SIPS = {".js": images.JSCRIPT_SIP, ".vbs": images.VBSCRIPT_SIP, ".wsf": images.WSF_SIP}


def wsh(text: str, *, behind: str = "", mark: bytes = b"", extension: str = ".js") -> bytes:
    """A file signed by WSH's rule."""
    sip = WSH_SIPS[extension]
    hashed = (text + behind).encode("utf-16-le")
    length = len(hashed) // 2
    digest = hashlib.sha256(hashed + length.to_bytes(4, "little")).digest()
    opening = {".js": "// SIG // ", ".vbs": "'' SIG '' ", ".wsf": "** SIG ** "}[extension]
    begin, end = f"{opening}Begin signature block", f"{opening}End signature block"
    if extension == ".wsf":
        begin, end = "<signature>", "</signature>"
    block = images.script_block(images.sip_content(digest, sip), opening, begin=begin, end=end)
    codec = "utf-16-le" if mark == b"\xff\xfe" else "utf-8"
    return mark + (text + block + behind).encode(codec)


@pytest.mark.parametrize("extension", [".js", ".vbs"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_wsh_leaves_the_mark_out_and_adds_the_length(extension: str, mark: bytes) -> None:
    data = wsh("var a = 1;\r\n", mark=mark, extension=extension)
    assert judge(data, f"a{extension}") == (True, [])
    slots = parse(data, f"a{extension}").signatures[0].slots
    assert [s.name for s in slots] == [MEASURED_TEXT]


def test_wsf_hashes_what_follows_the_block() -> None:
    data = wsh("<job>\r\n<script>1</script>", behind="</job>\r\n", extension=".wsf")
    assert judge(data, "a.wsf") == (True, [])
    assert rejected(data + b"<job/>", "a.wsf") == {Code.DIGEST_MISMATCH}


def test_wsf_with_the_blocks_position_for_the_length() -> None:
    """Later versions of jsign add the position."""
    text = "<job>1</job>\r\n".encode("utf-16-le")
    digest = hashlib.sha256(text + len("<job>1").to_bytes(4, "little")).digest()
    block = images.script_block(images.sip_content(digest, images.WSF_SIP), "** SIG ** ",
                                begin="<signature>", end="</signature>")  # fmt: skip
    assert judge(f"<job>1{block}</job>\r\n".encode(), "a.wsf") == (True, [])
    assert rejected(f"<job>2{block}</job>\r\n".encode(), "a.wsf") == {Code.DIGEST_MISMATCH}


def test_wsf_block_has_one_place() -> None:
    """Its digest does not bind where the block stands: in front of the last </job>, or nowhere."""
    data = wsh("<job>\r\n<script>1</script>", behind="</job>\r\n", extension=".wsf")
    moved = data.replace(b"<script>1</script>", b"").replace(b"</job>", b"<script>1</script></job>")
    assert rejected(moved, "a.wsf") == {Code.MALFORMED}


@pytest.mark.parametrize(
    ("package", "code"),
    [(images.POWERSHELL_SIP, Code.MALFORMED), (images.WSF_SIP, Code.DIGEST_MISMATCH)],
)
def test_wsf_cannot_ask_for_the_rule_that_leaves_its_end_out(package: bytes, code: Code) -> None:
    digest = hashlib.sha256("<job>".encode("utf-16-le")).digest()
    block = images.script_block(images.sip_content(digest, package), "** SIG ** ",
                                begin="<signature>", end="</signature>")  # fmt: skip
    assert rejected(f"<job>{block}</job><evil/>".encode(), "a.wsf") == {code}


def test_a_signature_of_another_language_is_none() -> None:
    """THREATS 28: one text may be a script of two languages; it was signed as one."""
    text = "x = 1\r\n"
    signed = wsh(text, extension=".vbs").decode()
    block = signed[len(text) :].replace("'' SIG ''", "// SIG //")
    assert rejected(f"{text}{block}".encode(), "a.js") == {Code.MALFORMED}


def test_js_by_powershells_rule_as_osslsigncode_signs_it() -> None:
    digest = hashlib.sha256("1;".encode("utf-16-le")).digest()
    block = images.script_block(
        images.sip_content(digest), "// SIG // ",
        begin="// SIG // Begin signature block", end="// SIG // End signature block",
    )  # fmt: skip
    assert judge(f"1;{block}".encode(), "a.js") == (True, [])
    assert [s.name for s in parse(f"1;{block}".encode(), "a.js").signatures[0].slots] == [TEXT]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r", b"\r\n"])
def test_at_most_one_line_ending_behind_the_end_marker(ending: bytes) -> None:
    data = images.powershell(TEXT_LINES).removesuffix(b"\r\n") + ending
    assert judge(data) == (True, [])


@pytest.mark.parametrize(
    "behind", [b"Remove-Item x\r\n", b"\r\n", b"\n", b" ", b"\t\n", b"# comment", b"\0"]
)
def test_text_behind_the_end_marker_is_uncovered(behind: bytes) -> None:
    assert rejected(images.powershell(TEXT_LINES) + behind) == {Code.UNCOVERED_CONTENT}


def test_text_on_the_end_markers_line_is_uncovered() -> None:
    data = images.powershell(TEXT_LINES).removesuffix(b"\r\n")
    assert rejected(data + b"; Remove-Item x") == {Code.UNCOVERED_CONTENT}


def test_text_in_front_is_hashed() -> None:
    assert rejected(b"evil\r\n" + images.powershell(TEXT_LINES)) == {Code.DIGEST_MISMATCH}


def test_two_blocks_are_ambiguous() -> None:
    one = images.powershell(TEXT_LINES)
    block = one[one.index(b"\r\n# SIG #") :]
    assert rejected(one + block) == {Code.AMBIGUOUS}
    assert rejected(one + b"evil" + block) == {Code.AMBIGUOUS}


def test_fake_marker_in_a_here_string_is_ambiguous() -> None:
    text = f"$x = @'\r\n{BEGIN}\r\n'@\r\nRemove-Item x\r\n"
    assert rejected(images.powershell(text)) == {Code.AMBIGUOUS}
    assert rejected(images.powershell(f"$x = @'\r\n{END}\r\n'@\r\n")) == {Code.AMBIGUOUS}


def test_marker_inside_a_line_is_text() -> None:
    assert judge(images.powershell(f"$x = '{BEGIN}'\r\n")) == (True, [])


def test_begin_marker_alone_is_malformed() -> None:
    assert rejected(f"1\r\n{BEGIN}\r\n# QUJD\r\n".encode()) == {Code.MALFORMED}


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.replace("\r\n# M", "\r\nevil\r\n# M", 1),
        lambda b: b.replace("\r\n# M", "\r\n\r\n# M", 1),
        lambda b: b.replace("\r\n# M", "\r\n# *", 1),
        lambda b: b.replace("\r\n# M", "\r\n#M", 1),
        lambda b: b.replace("\r\n# M", "\r\n# M=", 1),
        lambda b: b.replace("\n# M", "\n# M;", 1),
        lambda b: b.replace(BEGIN, BEGIN + " "),
        lambda b: b.replace("\r\n# M", "\n# M", 1),
        lambda b: b.replace("# M", "# "),
    ],
    ids=["code", "empty", "alphabet", "no-space", "early-padding", "semicolon", "marker-space",
         "lf-some", "not-base64"],
)  # fmt: skip
def test_lines_that_are_no_signature_lines(change: Callable[[str], str]) -> None:
    data = images.powershell("x", block=change)
    assert rejected(data) == {Code.MALFORMED}


def test_base64_with_bytes_behind_the_pkcs7_is_malformed() -> None:
    def stuffed(block: str) -> str:
        return block.replace(f"\r\n{END}", f"\r\n# QUJDREVG\r\n{END}")

    assert rejected(images.powershell("x", block=stuffed)) == {Code.MALFORMED}


@pytest.mark.parametrize("mark", MARKS.values())
def test_adding_a_mark_changes_the_digest(mark: bytes) -> None:
    data = images.powershell(ACCENTED)
    codec = next(c for c, m in MARKS.items() if m == mark)
    assert rejected(mark + data.decode().encode(codec)) == {Code.DIGEST_MISMATCH}


def test_taking_the_mark_away_changes_the_digest() -> None:
    data = images.powershell(ACCENTED, mark=MARKS["utf-8"])
    assert rejected(data[3:]) == {Code.DIGEST_MISMATCH}


def test_changing_line_ends_is_never_intact() -> None:
    data = images.powershell(TEXT_LINES)
    assert rejected(data.replace(b"\r\n", b"\n"))
    assert rejected(data.replace(b"two'\n", b"two'\r\n")) == {Code.DIGEST_MISMATCH}


def test_converted_block_around_text_without_line_breaks() -> None:
    """The digest still fits, but Windows would not see the block."""
    assert rejected(images.powershell("x").replace(b"\r\n", b"\n")) == {Code.DIGEST_MISMATCH}


def test_fake_block_in_an_unsigned_script() -> None:
    data = f"$x = @'\r\n{BEGIN}\r\n# AAAA\r\n{END}\r\n'@\r\nevil\r\n".encode()
    assert rejected(data) == {Code.UNCOVERED_CONTENT}


def test_wsf_with_the_length_for_a_position() -> None:
    """Signers differ on what they add for a block inside the text; its place is fixed."""
    text = "<job>1</job>\r\n".encode("utf-16-le")
    digest = hashlib.sha256(text + (len(text) // 2).to_bytes(4, "little")).digest()
    block = images.script_block(images.sip_content(digest, images.WSF_SIP), "** SIG ** ",
                                begin="<signature>", end="</signature>")  # fmt: skip
    assert judge(f"<job>1{block}</job>\r\n".encode(), "a.wsf") == (True, [])
    assert rejected(f"<job>{block}1</job>\r\n".encode(), "a.wsf") == {Code.MALFORMED}


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_block_without_a_mark_is_malformed_not_unsigned(codec: str) -> None:
    assert rejected(images.powershell(TEXT_LINES).decode().encode(codec)) == {Code.MALFORMED}


@pytest.mark.parametrize("data", [b"", b"Write-Host 1", b"\xff\xfe1\0", b"\xe9\x80", b"\0\1\2"])
def test_unsigned_script_has_no_signatures(data: bytes) -> None:
    artifact = parse(data)
    assert (artifact.signatures, artifact.findings, artifact.regions) == ((), (), ())


def test_bytes_that_break_their_marks_encoding_are_malformed() -> None:
    data = images.powershell("x", mark=MARKS["utf-8"])
    assert rejected(data.replace(b"x\r\n", b"x\xff\r\n")) == {Code.MALFORMED}
    assert rejected(b"\xff\xfe1") == {Code.MALFORMED}


def test_digest_of_all_bytes_for_catalogs() -> None:
    artifact = parse(b"1\r\n")
    computed = FORMAT.digests(artifact, frozenset({(WHOLE_FILE, "sha256"), ("none", "sha1")}))
    assert computed == {(WHOLE_FILE, "sha256"): hashlib.sha256(b"1\r\n").digest()}


def test_octet_string_content_as_dotnet_signs_it() -> None:
    digest = hashlib.sha256("x".encode("utf-16-le")).digest()
    blob = images.pkcs7(images.sip_content(digest), octets=True)
    encoded = base64.b64encode(blob).decode()
    lines = "".join(f"# {encoded[i : i + 64]}\r\n" for i in range(0, len(encoded), 64))
    assert judge(f"x\r\n{BEGIN}\r\n{lines}{END}\r\n".encode()) == (True, [])


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.powershell("x")
    monkeypatch.setattr(_script_text, "MAX_BLOCK_LINES", 3)
    with pytest.raises(LimitError):
        parse(data)
    monkeypatch.setattr(script_module, "MAX_SCRIPT", 10)
    with pytest.raises(LimitError):
        parse(data)


@pytest.mark.parametrize("extension", [*STYLES, ".PS1"])
def test_recognised_by_extension(extension: str) -> None:
    assert FORMAT.recognise(Peek(f"a{extension}", b"x", b"", 1)) == Match.EXTENSION


def test_recognised_by_shebang() -> None:
    for first in (b"#!/usr/bin/env pwsh\n", b"#! /usr/bin/pwsh -NoLogo\n"):
        peek = Peek("tool", first, b"", len(first))
        assert FORMAT.recognise(peek) == Match.MAGIC
        assert recognise(peek) is FORMAT
    assert FORMAT.recognise(Peek("tool", b"#!/bin/sh\n# pwsh\n", b"", 17)) == Match.NO


def test_ambiguity_has_its_own_error() -> None:
    assert AmbiguousError.code == Code.AMBIGUOUS
    assert MalformedError.code == Code.MALFORMED
