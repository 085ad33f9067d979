"""Signing Mach-O: where the signature goes, what moves for it, and what is refused."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, issue

from signward.errors import BadInputError, NotSignableError
from signward.formats import Existing, Request
from signward.formats._apple_sign import draft_code, read_settings
from signward.formats._apple_signature import AppleSignature, digests_of, open_superblob
from signward.formats._macho_sign import content_of, place, read_rooms, read_sites, sign_sites
from signward.frozen import replace
from signward.wire import superblob as sb
from signward.wire.code_directory import AD_HOC, LINKER_SIGNED, write_code_directory
from signward.wire.macho import read_image, read_slices
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.samples.macho import BUNDLE, INFO, OPTIONS, SAMPLES, fat, page_of, program
from tests.signing import authority, identity, signer_of

UNIVERSAL = (("x86_64", program()), ("arm64", program("arm64")), ("i386", program("i386")))


def _sign(data: bytes, name: str = "tool", stamp: Any = None, **asked: Any) -> bytes:
    source, who = BytesSource(name, data), identity()
    parts = asked.pop("parts", None)
    rounds = sign_sites(source, Request(signer=signer_of(who), at=NOW, **asked), parts=parts)
    try:
        draft = next(rounds)
        while True:
            value = who.key.sign(draft.to_be_signed, "sha256")
            draft = rounds.send(draft.seal(value, (stamp(value),) if stamp else ()))
    except StopIteration as stop:
        return b"".join(pieces(Patched(source, stop.value)))


def _placed(data: bytes, rooms: tuple[bytes, ...]) -> bytes:
    source = BytesSource("tool", data)
    return b"".join(pieces(Patched(source, place(source, read_sites(source), rooms))))


def _opened(data: bytes) -> list[AppleSignature]:
    return [open_superblob(room) for room in read_rooms(BytesSource("tool", data))]


def _all_fit(data: bytes) -> bool:
    """Say whether every digest of every slice's signature is that of its content."""
    source = BytesSource("tool", data)
    for at, room in zip(read_slices(source), read_rooms(source), strict=True):
        info = read_image(source, at).info_plist
        outside = {sb.INFO_SLOT: source.read(at.start + info[0], info[1])} if info else {}
        opened = open_superblob(room, outside=outside)
        slots = opened.claimed[0].slots
        wanted = frozenset((slot.name, slot.algorithm) for slot in slots)
        computed = digests_of(opened, source, wanted, start=at.start, outside=outside)
        if computed != {(s.name, s.algorithm): s.digest for s in slots}:
            return False
    return True


@pytest.mark.parametrize("name", SAMPLES)
def test_signed_stripped_and_signed_again(name: str) -> None:
    data, asked = SAMPLES[name](), OPTIONS.get(name, {})
    signed = _sign(data, name, **asked)
    assert _all_fit(signed)
    assert _placed(signed, ()) == data
    assert _sign(signed, name, existing=Existing.REPLACE, **asked) == signed
    assert _placed(data, read_rooms(BytesSource(name, signed))) == signed


@pytest.mark.parametrize("wide", [False, True])
def test_slices_are_laid_anew(wide: bool) -> None:
    data = fat(UNIVERSAL, wide=wide)
    signed = _sign(data)
    slices = read_slices(BytesSource("tool", signed))
    assert [one.start % page_of(cpu) for one, (cpu, _) in zip(slices, UNIVERSAL, strict=True)] == (
        [0, 0, 0]
    )
    assert len(signed) == slices[-1].end
    assert _all_fit(signed)
    assert {opened.best.identifier for opened in _opened(signed)} == {"tool"}
    assert _placed(signed, ()) == data
    assert _sign(signed, existing=Existing.REPLACE) == signed
    for one, (_, thin) in zip(slices, UNIVERSAL, strict=True):
        assert signed[one.start : one.end] == _sign(thin)


def test_the_load_commands_say_where_the_signature_is() -> None:
    data = program()
    signed = _sign(data)
    (at,) = read_slices(BytesSource("tool", signed))
    image = read_image(BytesSource("tool", signed), at)
    assert image.signature == (len(data), len(signed) - len(data))
    linkedit = image.segment("__LINKEDIT")
    assert linkedit is not None
    assert linkedit.end == len(signed)
    assert linkedit.extent % 0x1000 == 0
    assert linkedit.extent >= linkedit.size
    assert image.commands_end == read_image(BytesSource("tool", data), at).commands_end + 16


def test_an_odd_end_is_filled_up() -> None:
    data = program(symbols=60)
    signed = _sign(data)
    assert signed[len(data) : len(data) + 4] == bytes(4)
    assert _all_fit(signed)
    stripped = _placed(signed, ())
    assert stripped[-64:] == data[-60:] + bytes(4)
    assert _sign(stripped) == signed


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("/opt/tools/run.bin", "run"), ("C:\\run", "run"), (".hidden", ".hidden"), ("a.b.c", "a.b")],
)
def test_code_without_a_name_is_called_as_its_file(name: str, identifier: str) -> None:
    assert _opened(_sign(program(), name))[0].best.identifier == identifier


def test_an_embedded_information_list_names_the_code_and_is_signed() -> None:
    opened = _opened(_sign(program(info=INFO)))[0]
    assert opened.best.identifier == "org.example.informed"
    assert sb.INFO_SLOT in opened.best.special
    other = _opened(_sign(program(info=INFO), options={"identifier": "other"}))[0]
    assert other.best.identifier == "other"
    broken = _opened(_sign(program(info=b"<plist>"), "named"))[0]
    assert broken.best.identifier == "named"


def test_a_bundles_parts_are_signed_too() -> None:
    parts = {sb.INFO_SLOT: INFO, sb.RESOURCES_SLOT: b"resources"}
    opened = _opened(_sign(program(), parts=parts))[0]
    assert opened.best.identifier == "org.example.informed"
    assert {sb.INFO_SLOT, sb.RESOURCES_SLOT} <= opened.best.special.keys()


def test_programs_and_libraries_are_told_apart() -> None:
    program_flags = _opened(_sign(program()))[0].best.exec_segment
    library_flags = _opened(_sign(program(kind=BUNDLE)))[0].best.exec_segment
    assert (program_flags.base, program_flags.limit, program_flags.flags) == (0, 0x1000, 1)
    assert library_flags.flags == 0


def test_pages_are_those_of_the_processor() -> None:
    sizes = [opened.best.page_size for opened in _opened(_sign(fat(UNIVERSAL)))]
    assert sizes == [0x1000, 0x4000, 0x1000]


def test_the_hardened_runtime_has_the_version_of_the_sdk() -> None:
    assert _opened(_sign(program(), options={"runtime": "yes"}))[0].best.runtime == 0x0D0300
    with pytest.raises(NotSignableError, match="SDK"):
        _sign(program(sdk=0), options={"runtime": "yes"})
    named = _sign(program(sdk=0), options={"runtime": "12.0"})
    assert _opened(named)[0].best.runtime == 0x0C0000


def test_a_token_fits_into_the_room() -> None:
    stamper = issue(
        "Signing Test TSA", issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    signed = _sign(program())
    stamped = _sign(program(), stamp=lambda value: tsa.token_der(value, stamper, at=NOW))
    assert len(stamped) == len(signed)
    assert _opened(stamped)[0].claimed[0].timestamps


def test_no_second_signature_stands_beside_the_first() -> None:
    signed = _sign(program())
    with pytest.raises(NotSignableError, match="--replace"):
        _sign(signed)
    with pytest.raises(NotSignableError, match="one signature"):
        _sign(signed, existing=Existing.NESTED)


def _ad_hoc(flags: int) -> bytes:
    """Return a program whose signature nobody made, with flags in its code directory."""
    limit = len(program())
    directory = write_code_directory(
        kind=2, identifier="tool", code=(bytes(32), bytes(32)), code_limit=limit, page_size=4096,
        special={}, flags=flags,
    )  # fmt: skip
    room = sb.write_superblob({sb.DIRECTORY_SLOT: directory})
    return _placed(program(), (room + bytes(-len(room) % 16),))


def test_what_a_linker_signed_by_itself_gives_way() -> None:
    assert _sign(_ad_hoc(AD_HOC | LINKER_SIGNED)) == _sign(program())
    with pytest.raises(NotSignableError, match="--replace"):
        _sign(_ad_hoc(AD_HOC))


def test_of_the_replaced_signature_stays_what_is_asked_for() -> None:
    first = _sign(program(), options={**OPTIONS["hardened"]["options"],
                                      "requirements": "library => always"})  # fmt: skip
    keep = {"keep": "identifier,flags,entitlements,requirements"}
    again = _opened(_sign(first, "other", existing=Existing.REPLACE, options=keep))[0]
    before = _opened(first)[0]
    assert (again.best.identifier, again.best.flags) == ("org.example.hardened", before.best.flags)
    assert again.best.runtime == before.best.runtime
    assert again.entitlements == before.entitlements
    assert again.requirements == before.requirements
    named = {**keep, "identifier": "named", "runtime": "no"}
    other = _opened(_sign(first, existing=Existing.REPLACE, options=named))[0]
    assert other.best.identifier == "named"
    assert other.best.flag_names == ("library-validation",)
    plain = _opened(_sign(first, existing=Existing.REPLACE))[0]
    assert (plain.best.identifier, plain.best.flags, plain.entitlements) == ("tool", 0, b"")


def test_nothing_is_kept_of_nothing() -> None:
    with pytest.raises(NotSignableError, match="no signature"):
        _sign(program(), options={"keep": "flags"})
    with pytest.raises(NotSignableError, match="keep=team"):
        _sign(program(), options={"keep": "team"})


def test_code_directories_are_octet_for_octet_what_codesign_wrote(
    corpus: Callable[[str], Path],
) -> None:
    """Both directories of both slices, entitlements and requirements: all but the CMS."""
    path = next(p for p in sorted(corpus("cmake-macos").rglob("ccmake")) if p.stat().st_size > 9999)
    sites = read_sites(BytesSource("ccmake", path.read_bytes()))
    assert len(sites) == 2
    for site in sites:
        room = site.source.read(*(site.image.signature or (0, 0)))
        theirs = open_superblob(room[: sb.blob_length(room, "room")])
        request = Request(
            signer=signer_of(identity()), at=NOW,
            options={
                "identifier": theirs.best.identifier, "team": theirs.best.team,
                "digests": "sha1+sha256", "runtime": "yes",
                "entitlements": theirs.entitlements.decode(),
            },
        )  # fmt: skip
        settings = replace(read_settings(request, "x"), requirements=theirs.requirements)
        content = content_of(site, {})
        ours = draft_code(content, settings, request).blobs
        assert {number: theirs.blobs[number] for number in ours} == dict(ours)
        assert theirs.blobs.keys() - ours.keys() == {sb.CMS_SLOT}


def _without_room() -> bytes:
    end = len(program()[32:].split(bytes(64))[0]) + 32
    return program(code_at=end + -end % 8)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (program() + b"\0", "all three ends in one place"),
        (program() + b"payload", "all three ends in one place"),
        (program().replace(b"__LINKEDIT\0", b"__LINKED\0\0\0"), "__LINKEDIT"),
        (fat((("x86_64", program()), ("i386", program("i386") + bytes(8)))), "i386"),
        (_without_room(), "headerpad"),
    ],
)
def test_what_has_no_place_for_a_signature_is_refused(data: bytes, named: str) -> None:
    with pytest.raises(NotSignableError, match=named):
        _sign(data)


def test_space_behind_the_commands_must_be_empty() -> None:
    data = bytearray(program())
    end = 32 + struct.unpack_from("<I", data, 20)[0]
    data[end + 3] = 1
    with pytest.raises(NotSignableError, match="headerpad"):
        _sign(bytes(data))


def test_a_file_signed_in_part_is_signed_whole() -> None:
    data = fat((("x86_64", _sign(program())), ("i386", program("i386"))))
    with pytest.raises(NotSignableError, match="signature in each"):
        read_rooms(BytesSource("tool", data))
    with pytest.raises(NotSignableError, match="--replace"):
        _sign(data)
    assert len(_opened(_sign(data, existing=Existing.REPLACE))) == 2


def test_a_signature_is_given_to_every_slice() -> None:
    with pytest.raises(NotSignableError, match="one a slice"):
        _placed(fat(UNIVERSAL), read_rooms(BytesSource("tool", _sign(program()))))


@pytest.mark.parametrize("name", ["tool", "tool-i386", "universal"])
def test_whatever_is_wrong_with_a_file_is_said(name: str) -> None:
    """Signing, stripping and taking out signatures raise what is meant to be raised, or work."""
    chance = random.Random(f"signing {name}")
    whole = {"plain": SAMPLES[name](), "signed": _sign(SAMPLES[name]())}
    outcomes = Counter[str]()
    for _ in range(400):
        kind = chance.choice(sorted(whole))
        data = bytearray(whole[kind])
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(0x280 if chance.random() < 0.8 else len(data))] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
            )
        changed = bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
        for what, act in (
            ("sign", lambda data=changed: _sign(data, existing=Existing.REPLACE)),
            ("strip", lambda data=changed: _placed(data, ())),
            ("take", lambda data=changed: read_rooms(BytesSource("tool", data))),
        ):
            try:
                act()
                outcomes[what] += 1
            except (BadInputError, NotSignableError):
                outcomes[f"no {what}"] += 1
    assert all(outcomes[f"{no}{what}"] for no in ("", "no ") for what in ("sign", "strip", "take"))
