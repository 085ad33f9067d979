"""Every format signs through a served key as it does with one at hand, and no server knows it.

The samples are those of ``tests/samples``; files are signed by the command's own verb, so that
what is released was assessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from signward.authority.log.entry import Kind, decode
from signward.authority.log.proof import read_receipt
from signward.formats import all_formats, file_options
from signward.state import Outcome, TrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.sign import Signatory, SignOptions
from signward.verbs.verify import assess
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source
from tests.builders import signing_service as service
from tests.builders.service import Running
from tests.contract.test_signing import Sample, pin_of, ring_of, sample
from tests.signing import authority, identity

__all__ = ["sample"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("realm")
    with service.realm(folder) as realm, service.running(realm) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> str:
    path = tmp_path / "root.pem"
    path.write_bytes(authority().pem)
    return str(path)


def lay_out(sample: Sample, folder: Path) -> Path:
    """Put a sample and its companions into a folder."""
    folder.mkdir()
    for name, data in sample.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    path = folder / sample.name
    path.write_bytes(sample.data)
    return path


def test_every_format_signs_through_a_served_key(
    sample: Sample, served: Running, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{service.CI}-token")
    path = lay_out(sample, tmp_path / "files")
    asked = {
        name: value for name, value in sample.asked.items()
        if name in ("page_hashes", "description", "url", "options")
    }  # fmt: skip
    anchor = pin_of(identity()) if sample.pinned else root
    own = asked.get("options", {})
    (form,) = (form for form in all_formats() if form.name == sample.form)
    for number, name in enumerate(file_options(form) & own.keys()):
        held = tmp_path / f"option-{number}"  # on the command line, these name files
        held.write_text(own[name])
        asked["options"] = own = {**own, name: str(held)}
    options = SignOptions(
        key=f"{served.url}/keys/release", receipts=str(tmp_path / "receipts"),
        judge=Options(anchors=(anchor,)), require_accepted=True, **asked,
    )  # fmt: skip
    if sample.held:
        options = replace(options, certificates=(ring_of(identity()),))
    with Signatory(options) as signatory:
        (result,) = signatory.run([str(path)])
    if sample.held:  # an OpenPGP key gets a digest, and who signs such signs anything
        assert "a service signs no bare digests" in result.problem
        return
    assert result.outcome == "signed", result.problem
    assert result.receipts
    for receipt in result.receipts:
        entry = decode(read_receipt(Path(receipt).read_bytes()).entry or b"")
        assert entry.kind is Kind.SIGNED
        assert (entry.fields["format"], entry.fields["file"]) == (sample.form, path.name)
    with open_source(str(path)) as source, FolderCompanions(str(path.parent)) as companions:
        judging = Context(Options(anchors=(anchor,))).knowing(identity().certificate)
        verdict = assess(source, judging, companions)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    judged = verdict.signatures[verdict.judged or 0]
    assert isinstance(judged, TrustedSignature)
    assert bool(judged.intact.timestamps) is not sample.untimed
