"""Store ``shim:FILE``: what Debian's shim lets start beside what firmware does."""

from pathlib import Path

import pytest

from signward.errors import EvidenceError
from signward.findings import Code
from signward.state import Outcome
from signward.verbs.boot_images import denied_by_vendor
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.stores import load_store
from signward.verbs.verify import assess_path
from signward.wire import siglist
from tests.corpus import CorpusMissingError, require

SHIM = "usr/lib/shim/shimx64.efi.signed"
GRUB = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"


def _file(sample: str, name: str) -> Path:
    try:
        (found,) = require(sample).glob(name)
    except CorpusMissingError as error:
        pytest.skip(f"corpus: {error}")
    return found


@pytest.mark.parametrize(("sample", "name"), [("grub", GRUB), ("linux-image", "boot/vmlinuz-*")])
def test_what_debian_signed_counts_by_its_shim_alone(sample: str, name: str) -> None:
    path = _file(sample, name)
    by_firmware = assess_path(path, Context(Options()))
    assert by_firmware.cause is Code.NO_PATH
    by_shim = assess_path(path, Context(Options(stores=(f"shim:{_file('shim', SHIM)}",))))
    assert by_shim.outcome is Outcome.ACCEPTED, by_shim.findings


def test_what_its_vendor_refuses_is_refused(tmp_path: Path) -> None:
    grub = _file("grub", GRUB)
    digest = assess_path(grub, Context(Options())).digests["image-sha256"]
    shim = bytearray(_file("shim", SHIM).read_bytes())
    (tmp_path / "shim.efi").write_bytes(shim)
    denied = denied_by_vendor(str(tmp_path / "shim.efi"))
    first = siglist.read_lists(denied)[0]
    assert first.kind == siglist.SHA256
    at = shim.index(first.data, shim.index(denied))
    shim[at : at + 32] = digest
    (tmp_path / "shim.efi").write_bytes(shim)
    verdict = assess_path(grub, Context(Options(stores=(f"shim:{tmp_path / 'shim.efi'}",))))
    assert verdict.cause is Code.DIGEST_REVOKED
    assert verdict.findings[0].subject == "dbx built into shim.efi"


def test_the_shim_itself_is_not_let_in_by_what_it_carries() -> None:
    shim = _file("shim", SHIM)
    verdict = assess_path(shim, Context(Options(stores=(f"shim:{shim}",))))
    assert verdict.outcome is Outcome.REJECTED


def test_a_file_without_a_vendors_certificate_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "not.efi"
    path.write_bytes(b"no program")
    with pytest.raises(EvidenceError, match="no EFI program"):
        load_store(f"shim:{path}")
    with pytest.raises(EvidenceError, match="no certificate of its vendor"):
        load_store(f"shim:{_file('grub', GRUB)}")
