"""Certificates compiled into kernels: found where they are, and revoked ones never taken."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from conformance.authenticode.pki import issue

from signward.errors import BadInputError, EvidenceError
from signward.trust.profiles import LINUX_KERNEL
from signward.verbs import kernels
from signward.verbs.context import Context
from signward.verbs.epoch import trust_epoch
from signward.verbs.options import Options
from signward.verbs.stores import load_anchors, load_store
from signward.wire import kernel_image
from signward.wire.kernel_image import certificates_in, is_kernel_image
from tests.builders.kernels import (
    REVOKING,
    bzimage,
    kernel,
    revocation_list,
    system_list,
    zboot,
)
from tests.signing import identity

ONE = identity().certificate
TWO = identity("p256", "Distribution").certificate
GONE = issue("Revoked Distribution", ca=True, ekus=None).certificate


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "bzip2", "lzma"])
@pytest.mark.parametrize("image", [bzimage, zboot])
def test_every_compression(image: object, kind: str) -> None:
    assert callable(image)
    made = image(kernel(system_list([ONE, TWO])), kind)
    assert is_kernel_image(made[:1024])
    assert certificates_in(made) == (ONE, TWO)


@pytest.mark.parametrize("room", [0, 512, 4096])
@pytest.mark.parametrize("form", ["Q", "I"])
@pytest.mark.parametrize("module_key", [1, 2])
def test_lists_of_every_shape(room: int, form: str, module_key: int) -> None:
    made = system_list([ONE, TWO], room=room, form=form, module_key=module_key)
    assert certificates_in(kernel(made)) == (ONE, TWO)


def test_a_kernel_before_it_told_its_own_key() -> None:
    assert certificates_in(kernel(system_list([ONE], module_key=None))) == (ONE,)
    assert certificates_in(kernel(system_list([ONE], module_key=0))) == (ONE,)


@pytest.mark.parametrize("following", [b"\xff" * 8, bytes(8), bytes(64)])
def test_revoked_certificates_are_not_taken(following: bytes) -> None:
    revoked = revocation_list([GONE], following)
    assert certificates_in(kernel(system_list([ONE]), revoked, REVOKING)) == (ONE,)
    assert certificates_in(kernel(revoked, system_list([ONE]), REVOKING)) == (ONE,)
    assert certificates_in(kernel(revoked, REVOKING)) == ()
    both = kernel(system_list([ONE], module_key=0), revoked, REVOKING)
    assert certificates_in(both) == ()


def test_what_is_no_list() -> None:
    assert certificates_in(kernel()) == ()
    assert certificates_in(kernel(ONE)) == ()  # a lone certificate, its length nowhere
    assert certificates_in(kernel(b"\0" * 4 + system_list([ONE]))) == ()  # not at eight
    two = kernel(system_list([ONE]), system_list([TWO]))
    assert certificates_in(two) == ()  # which of them?
    cut = system_list([ONE])[:200]
    assert certificates_in(kernel() + cut) == ()


@pytest.mark.parametrize("size", [0, 1, 8, 0x20A, 0x24F, 0x250, 2600, 2700])
def test_cut_images_raise_nothing_else(size: int) -> None:
    image = bzimage(kernel(system_list([ONE])))[:size]
    with suppress(BadInputError):
        assert certificates_in(image) == ()


def test_old_and_oversized_images(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match=r"boot protocol 0x207"):
        certificates_in(bzimage(kernel(), version=0x207))
    monkeypatch.setattr(kernel_image, "MAX_KERNEL", 100)
    with pytest.raises(BadInputError, match="more than 100 octets"):
        certificates_in(bzimage(kernel()))


def test_stores_and_anchors(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(kernel(system_list([ONE, TWO]))))
    for store in (load_store(f"kernel:{path}"), load_anchors(str(path)), load_store(str(path))):
        assert {anchor.certificate.der for anchor in store.anchors()} == {ONE, TWO}
    context = Context(Options(anchors=(str(path),)))
    assert set(context.certificates_for(LINUX_KERNEL)) == {ONE, TWO}


def test_a_named_kernel_without_a_list_is_said(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(kernel()))
    with pytest.raises(EvidenceError, match="no list of certificates"):
        load_store(f"kernel:{path}")
    cut = tmp_path / "cut"
    cut.write_bytes(bzimage(kernel())[:2620])
    with pytest.raises(EvidenceError, match="a payload at 2608"):
        load_store(f"kernel:{cut}")


def test_the_kernels_installed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each vouches; one without a list, one broken and one twice there change nothing."""
    monkeypatch.setattr(kernels, "PLACES", (f"{tmp_path}/vmlinuz*",))
    load_store.cache_clear()
    assert len(load_store("linux-kernel")) == 0
    (tmp_path / "vmlinuz-1").write_bytes(bzimage(kernel(system_list([ONE]))))
    (tmp_path / "vmlinuz-2").write_bytes(bzimage(kernel(system_list([TWO])), "zstd"))
    (tmp_path / "vmlinuz-3").write_bytes(bzimage(kernel()))
    (tmp_path / "vmlinuz-4").write_bytes(b"MZ")
    os.symlink("vmlinuz-1", tmp_path / "vmlinuz")  # noqa: PTH211 - so distributions do
    load_store.cache_clear()
    try:
        store = load_store("linux-kernel")
        assert {anchor.certificate.der for anchor in store.anchors()} == {ONE, TWO}
    finally:
        load_store.cache_clear()


def test_verdicts_are_not_remembered_past_another_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PLACES", (f"{tmp_path}/vmlinuz*",))
    named = Options(stores=(f"kernel:{tmp_path}/given",))
    (tmp_path / "given").write_bytes(b"one")
    before = trust_epoch(Options()), trust_epoch(named)
    assert before == (trust_epoch(Options()), trust_epoch(named))
    (tmp_path / "given").write_bytes(b"two")
    assert trust_epoch(Options()) == before[0]
    assert trust_epoch(named) != before[1]
    (tmp_path / "vmlinuz-1").write_bytes(b"another")
    os.symlink("nowhere", tmp_path / "vmlinuz-2")  # noqa: PTH211 - as left behind
    assert trust_epoch(Options()) != before[0]
