"""Inputs made to exhaust: each ends as a finding, in bounded memory and processor time.

Each bomb is made and assessed in a process of its own under ``RLIMIT_AS`` and
``RLIMIT_CPU``: what needs more dies there and fails here.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode import catalog, cms, pe, pki, tsa
from conformance.authenticode.cases.base import sign_image
from conformance.authenticode.pki import Identity

from signward.verbs.verify import assess
from signward.wire import der
from signward.wire.source import BytesSource
from tests.fuzz.worlds import GivenContext, derived_key, store, world

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 1 << 30
"""Address space beside the bomb itself and what making it took; a run needs 100 MiB."""

CPU_SECONDS = 60
"""Guard against what never ends; making the bombs takes most of the few seconds used."""

IMAGE = pe.image(data=b"bomb\0" * 40)
Bomb = tuple[str, bytes]


def _signed(*unsigned: cms.Unsigned, **arguments: object) -> Bomb:
    blob = sign_image(IMAGE, world(), signer={"unsigned": unsigned}, **arguments)  # type: ignore[arg-type]
    return "bomb.exe", pe.signed(IMAGE, blob)


def _own(blob: bytes) -> Bomb:
    return "bomb.exe", pe.signed(IMAGE, blob)


def _token() -> bytes:
    return cms.attribute(
        tsa.MS_TIMESTAMP, tsa.token_der(b"another value", world().tsa, at=pki.instant(2024))
    )


def der_nested_ten_thousand_deep() -> Bomb:
    value = b"\x05\0"
    for _ in range(10_000):
        value = der.sequence(value)
    return _own(value)


def indefinite_lengths_without_end() -> Bomb:
    return _own(b"\x30\x80" * 500_000)


def object_identifier_of_a_megabyte() -> Bomb:
    oid = der.encode(der.OID, b"\x81" * 1_000_000 + b"\1")
    return _signed(lambda _value: der.sequence(oid, der.set_of(der.null())))


def version_of_two_thousand_octets() -> Bomb:
    blob = sign_image(IMAGE, world())
    old, huge = b"\x02\x01\x01", der.encode(der.INTEGER, b"\x7f" * 2000)
    fields = der.parse(blob, "bomb").children()[1].children()[0].children()
    assert fields[0].raw == old
    body = der.sequence(huge, *(one.raw for one in fields[1:]))
    return _own(der.sequence(der.oid(cms.SIGNED_DATA), der.context(0, body)))


def ten_thousand_nested_signatures() -> Bomb:
    return _signed(cms.nested(*[sign_image(IMAGE, world())] * 10_000))


def signatures_nested_sixty_deep() -> Bomb:
    blob = sign_image(IMAGE, world())
    for _ in range(60):
        blob = sign_image(IMAGE, world(), signer={"unsigned": (cms.nested(blob),)})
    return _own(blob)


def nested_signatures_that_fan_out() -> Bomb:
    blob = sign_image(IMAGE, world())
    for _ in range(4):
        blob = sign_image(IMAGE, world(), signer={"unsigned": (cms.nested(*[blob] * 9),)})
    return _own(blob)


def five_thousand_timestamp_attributes() -> Bomb:
    return _signed(*[tsa.ready(_token())] * 5000)


def five_thousand_timestamps_in_one_attribute() -> Bomb:
    token = tsa.token_der(b"another value", world().tsa, at=pki.instant(2024))
    return _signed(tsa.ready(cms.attribute(tsa.MS_TIMESTAMP, *[token] * 5000)))


def hundred_thousand_attributes() -> Bomb:
    return _signed(tsa.ready(cms.attribute("1.2.3", der.null()) * 100_000))


def ten_thousand_certificates() -> Bomb:
    return _signed(certificates=[*world().chain] * 5000)


def two_thousand_signers() -> Bomb:
    signer = cms.Signer(identity=world().leaf)
    return _own(cms.sign(pe.content(IMAGE), *[signer] * 2000, certificates=world().chain))


def page_hash_table_of_a_million_entries() -> Bomb:
    table = b"".join(
        (n << 12 & 0xFFFFFFFF).to_bytes(4, "little") + bytes(32) for n in range(400_000)
    )
    return _signed(content={"pages": table})


def pathological_pool() -> Bomb:
    """Certificates that all bear one name and issue each other: paths without number."""
    name, names = pki.name("Everybody"), range(30)
    keys = [derived_key(f"everybody {n}") for n in names]
    issuers = [
        Identity(name="", certificate=b"", subject=name, serial=n, key=keys[n]) for n in names
    ]
    pool = [
        pki.authority("", issuers[(n * 7 + k) % 30], subject=name, subject_key=keys[n],
                      serial=100 * n + k, identifiers=False).certificate
        for n in names for k in range(8)
    ]  # fmt: skip
    leaf = pki.issue("Leaf", issuer=issuers[0], subject_key=derived_key("leaf"), serial=9,
                     identifiers=False)  # fmt: skip
    blob = cms.sign(
        pe.content(IMAGE), cms.Signer(identity=leaf), certificates=[leaf.certificate, *pool]
    )
    return _own(blob)


def catalog_of_a_million_members_worth() -> Bomb:
    one = der.sequence(der.octet_string(bytes(32)), der.set_of())
    members = der.encode(der.SEQUENCE, one * 1_100_000)
    content = der.sequence(
        der.sequence(der.oid(catalog.CATALOG_LIST)), der.octet_string(b"x"),
        der.utc_time(pki.NOW), der.sequence(der.oid("1.3.6.1.4.1.311.12.1.3"), der.null()), members,
    )  # fmt: skip
    signer = cms.Signer(identity=world().leaf)
    return "bomb.cat", cms.sign(content, signer, content_type=cms.CTL, certificates=world().chain)


def script_of_begin_markers() -> Bomb:
    return "bomb.ps1", b"# SIG # Begin signature block\r\n" * 1_000_000


def script_of_whole_empty_blocks() -> Bomb:
    pair = b"# SIG # Begin signature block\r\n# SIG # End signature block\r\n"
    return "bomb.ps1", pair * 500_000


def script_block_of_two_million_lines() -> Bomb:
    begin, end = b"# SIG # Begin signature block\r\n", b"# SIG # End signature block\r\n"
    return "bomb.ps1", b"1\r\n" + begin + b"# QUJD\r\n" * 2_000_000 + end


def script_block_of_one_long_line() -> Bomb:
    begin, end = b"# SIG # Begin signature block\r\n# ", b"\r\n# SIG # End signature block\r\n"
    return "bomb.ps1", b"1\r\n" + begin + b"A" * 30_000_000 + end


def windows_script_of_job_ends() -> Bomb:
    return "bomb.wsf", b"<job>" + b"<signature></signature></job>" * 500_000


def module_script_of_brackets() -> Bomb:
    return "bomb.sql", b"signature " + b"[" * (8 * 1024 * 1024 - 10)


def module_script_of_quotes() -> Bomb:
    return "bomb.sql", b"signature " + b"'" * (8 * 1024 * 1024 - 10)


BOMBS: dict[Callable[[], Bomb], frozenset[str]] = {
    der_nested_ten_thousand_deep: frozenset({"limit-exceeded", "malformed"}),
    indefinite_lengths_without_end: frozenset({"limit-exceeded"}),
    object_identifier_of_a_megabyte: frozenset({"malformed"}),
    version_of_two_thousand_octets: frozenset({"limit-exceeded"}),
    ten_thousand_nested_signatures: frozenset({"limit-exceeded"}),
    signatures_nested_sixty_deep: frozenset({"limit-exceeded"}),
    nested_signatures_that_fan_out: frozenset({"limit-exceeded"}),
    five_thousand_timestamp_attributes: frozenset({"limit-exceeded"}),
    five_thousand_timestamps_in_one_attribute: frozenset({"limit-exceeded"}),
    hundred_thousand_attributes: frozenset({"limit-exceeded"}),
    ten_thousand_certificates: frozenset({"limit-exceeded"}),
    two_thousand_signers: frozenset({"limit-exceeded"}),
    page_hash_table_of_a_million_entries: frozenset({"slot-missing", "page-hash-mismatch"}),
    pathological_pool: frozenset({"no-path", "untrusted-root", "limit-exceeded"}),
    catalog_of_a_million_members_worth: frozenset({"limit-exceeded"}),
    script_of_begin_markers: frozenset({"ambiguous"}),
    script_of_whole_empty_blocks: frozenset({"ambiguous"}),
    script_block_of_two_million_lines: frozenset({"limit-exceeded"}),
    script_block_of_one_long_line: frozenset({"malformed"}),
    windows_script_of_job_ends: frozenset({"unsigned", "ambiguous"}),
    module_script_of_brackets: frozenset({"limit-exceeded"}),
    module_script_of_quotes: frozenset({"unsigned"}),
}
"""Each bomb, and the causes that name what is wrong with it."""


def answer(name: str) -> dict[str, object]:
    """Make the bomb of that name and assess it under the limits (in the child)."""
    bomb = next(one for one in BOMBS if one.__name__ == name)
    file, data = bomb()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    before = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (before + MEMORY, before + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    verdict = assess(BytesSource(file, data), GivenContext(store(), pki.NOW))
    return {"outcome": verdict.outcome.value, "cause": verdict.cause and verdict.cause.value}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_bomb(bomb: Callable[[], Bomb]) -> None:
    command = [sys.executable, "-m", "tests.fuzz.test_bombs", bomb.__name__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["outcome"] == "rejected"
    assert said["cause"] in BOMBS[bomb]


if __name__ == "__main__":
    print(json.dumps(answer(sys.argv[1])))
