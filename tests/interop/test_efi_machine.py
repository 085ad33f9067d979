"""OVMF in a virtual machine: it takes our writes of variables, and starts what we say it starts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.findings import Code
from signward.formats import Existing
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire import siglist
from signward.wire.siglist import SHA256, X509, Entry
from signward.wire.source import BytesSource
from tests.builders import vm
from tests.interop.test_linux_machine import DENIED, ENROL, STARTED, place
from tests.signing import identity, sign_bytes, strip_bytes

pytestmark = [pytest.mark.interop, pytest.mark.slow]

OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
AT = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
PLATFORM = identity("rsa2048", "Machine Owner")
FIRST, SECOND = identity("rsa2048", "First Signer"), identity("rsa2048", "Second Signer")
STRANGER = identity("rsa2048", "Machine Stranger")


def lists(*data: bytes, kind: str = X509) -> bytes:
    return siglist.write_lists(Entry(kind=kind, owner=OWNER, data=one) for one in data)


def write(name: str, content: bytes, who: Identity = PLATFORM, *, append: bool = False,
          at: datetime = AT) -> bytes:  # fmt: skip
    """Return a write of a variable, as ``signward sign`` makes it."""
    return sign_bytes(f"{name}.esl", content, who=who, at=at,
                      options={"append": "yes" if append else "no"})  # fmt: skip


DB = lists(FIRST.certificate, SECOND.certificate)
DBX = lists(SECOND.certificate)
WRITES: dict[str, tuple[str, bytes, bool]] = {
    "db": ("db", write("db", DB), False),
    "KEK": ("KEK", write("KEK", lists(PLATFORM.certificate)), False),
    "PK": ("PK", write("PK", lists(PLATFORM.certificate)), False),
    "strangers": ("dbx", write("dbx", DBX, STRANGER, append=True), True),
    "for-db": ("dbx", write("db", DBX, append=True), True),
    "dbx": ("dbx", write("dbx", DBX, append=True), True),
    "older": ("db", write("db", DB, at=AT - timedelta(1)), False),
    "older-append": ("dbx", write("dbx", lists(bytes(32), kind=SHA256), append=True,
                                  at=AT - timedelta(1)), True),
    "newer": ("db", write("db", DB, at=AT + timedelta(1)), False),
}  # fmt: skip
"""By name in the machine: the variable, the signed write, and whether it appends."""


def says(variable: str, data: bytes, folder: Path, after: datetime | None) -> Code | None:
    """Return why Signward would not take a write, by the platform owner's key."""
    anchor = folder / "platform.pem"
    anchor.write_bytes(pem(PLATFORM.certificate))
    options = Options(anchors=(str(anchor),), after=after, at=AT)
    return assess(BytesSource(variable, data), Context(options)).cause


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a variable store that was given our writes, and what firmware made of each."""
    if why := vm.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("efi")
    shutil.copy(vm.VARIABLES, folder / "variables")
    files = {"/efivarfs.ko": vm.efivarfs(), **vm.program("chattr")}
    for name, (_, data, append) in WRITES.items():
        attributes = siglist.ATTRIBUTES | (siglist.APPEND if append else 0)
        files[f"/{name}"] = attributes.to_bytes(4, "little") + data
    lines = "\n".join(f"write /{n} {place(variable)}" for n, (variable, _, _) in WRITES.items())
    init = f"{vm.PROLOGUE}{ENROL}{lines}\n{vm.EPILOGUE}"
    console = vm.boot(folder, vm.initramfs(init, files), "", variables=folder / "variables")
    return folder, vm.said(console)


@pytest.mark.confirms("efi-variable", "sign", "OVMF")
def test_firmware_takes_the_writes_that_we_would(
    machine: tuple[Path, list[str]], tmp_path: Path
) -> None:
    _, said = machine
    last: dict[str, datetime | None] = {}
    answers: dict[str, bool] = {}
    causes: dict[str, Code | None] = {}
    for name, (variable, data, append) in WRITES.items():
        causes[name] = says(variable, data, tmp_path, last.get(variable))
        answers[name] = causes[name] is None
        if answers[name] and not append:
            last[variable] = siglist.read_update(data).at
    assert said == [f"/{n} {'written' if ok else 'refused'}" for n, ok in answers.items()]
    assert causes["strangers"] is Code.NO_PATH
    assert causes["for-db"] is Code.SIGNATURE_MISMATCH
    assert causes["older"] is Code.REPLAYED


def test_firmware_starts_what_we_say_under_its_dbx(
    machine: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """One signature by a certificate in dbx is enough, beside a good one, in either order."""
    folder, _ = machine
    kernel = vm.kernel()
    assert kernel is not None
    bare = strip_bytes("vmlinuz.efi", kernel.read_bytes())
    (tmp_path / "dbx").write_bytes(DBX)
    for number, who in enumerate((FIRST, SECOND)):
        (tmp_path / f"db-{number}.pem").write_bytes(pem(who.certificate))
    anchors = tuple(str(tmp_path / f"db-{number}.pem") for number in range(2))
    context = Context(Options(anchors=anchors, dbx=(str(tmp_path / "dbx"),), at=AT))
    answers: list[Code | None] = []
    for names in ((FIRST,), (FIRST, SECOND), (SECOND, FIRST)):
        data = bare
        for who in names:
            data = sign_bytes("vmlinuz.efi", data, who=who, existing=Existing.NESTED)
        place_of = tmp_path / str(len(answers))
        place_of.mkdir()
        (place_of / "vmlinuz").write_bytes(data)
        ends = (DENIED.encode(), STARTED.encode())
        console = vm.start(place_of, place_of / "vmlinuz", folder / "variables", ends)
        cause = assess(BytesSource("vmlinuz.efi", data), context).cause
        assert cause in (None, Code.REVOKED)
        assert (DENIED in console, STARTED in console) == (cause is not None, cause is None)
        answers.append(cause)
    assert answers == [None, Code.REVOKED, Code.REVOKED]
