"""Public vectors with expectations (``EXPECTED.tsv``): the rows of the formats we judge.

The rows' ``given`` column is prose; ``GIVEN`` below says what it means as options.  A row
where Signward is deliberately stricter must stand in ``STRICTER`` with the reason.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from signward.cli.verify import exit_code
from signward.envelopes.cms import open_signatures
from signward.frozen import replace
from signward.integrity import check_signature
from signward.policy.settings import Policy
from signward.state import IntactSignature, SignedArtifact, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.source import BytesSource

FORMATS = frozenset(
    {"efi-siglist", "efi-auth-variable", "jar"}
    | {"nupkg", "vsix", "pe", "pe-efi", "ps1", "ps1xml", "vbs", "cat", "cab", "msi", "navx"}
    | {"macho", "macho-fat", "rpm", "rpm-v6", "apt-inrelease"}
    | {"fuzz-exe", "fuzz-appx", "fuzz-cab", "fuzz-msi", "xar-pkg"}
)

EXPECTED_CODES = {
    "valid": {0},
    "valid-at-timestamp": {0},
    "valid-signature": {0},
    "signed": {0},
    "invalid": {1},
    "malformed": {1, 3},
    "untrusted": {1, 3},  # of a key that is nowhere to be found nothing can be said
    "unsigned": {4},
    "adhoc": {4},
    "parses": {0, 4},
}
"""Exit codes of ``signward verify`` for each expectation, as SAMPLES.md maps them."""

INTACT = Options(policy=Policy(stage=Stage.INTACT))
STRICTER: dict[str, str] = {}
"""Rows where Signward is deliberately stricter, with the reason; none so far."""


def _rows(root: Path) -> list[dict[str, str]]:
    with (root / "EXPECTED.tsv").open(newline="") as handle:
        return [r for r in csv.DictReader(handle, delimiter="\t") if r["format"] in FORMATS]


def _own_signer(path: Path, tmp_path: Path) -> str:
    """Write the signer's own certificate, which the row's test put into its trust store."""
    from signward.formats import ParseOptions, peek_at, recognise

    source = BytesSource(path.name, path.read_bytes())
    signable = recognise(peek_at(source))
    assert signable is not None
    artifact = signable.parse(source, ParseOptions(extension=path.suffix))
    computed = {(s.name, s.algorithm): s.digest for s in artifact.signatures[0].slots}
    intact = check_signature(artifact, artifact.signatures[0], computed)
    assert isinstance(intact, IntactSignature)
    anchor = tmp_path / "signer.der"
    anchor.write_bytes(intact.key.holder)
    return str(anchor)


def _keyrings(row: dict[str, str], root: Path) -> list[Path]:
    """Return the certificates that a row names, below its project's folder or beside the file."""
    project = root / row["path"].partition("/")[0]
    found = list(project.rglob(Path(row["given"]).name)) if "." in row["given"] else []
    assert bool(found) == ("." in row["given"]), row
    return found


def _options(row: dict[str, str], root: Path, tmp_path: Path) -> Options:
    path = root / row["path"]
    if row["format"] in ("rpm", "rpm-v6", "apt-inrelease"):
        return Options(keyrings=tuple(map(str, _keyrings(row, root))))
    if row["given"].startswith("trust store = the signer certificate"):
        return Options(anchors=(_own_signer(path, tmp_path),), stores=("authenticode",))
    if row["given"] == "cert db.pem":
        return Options(anchors=(str(path.parent / "db.pem"),))
    if row["given"] == "Apple root":
        return Options(stores=("apple",))
    return replace(INTACT)


def _verdict(row: dict[str, str], root: Path, tmp_path: Path) -> Verdict:
    path = root / row["path"]
    context = Context(_options(row, root, tmp_path))
    if path.suffix == ".gz":
        return assess(BytesSource(path.stem, gzip.decompress(path.read_bytes())), context)
    return assess_path(path, context)


def test_every_row_is_answered_as_expected(vectors: Path, tmp_path: Path) -> None:
    rows = _rows(vectors)
    assert len(rows) >= 16
    wrong = {}
    for row in rows:
        verdict = _verdict(row, vectors, tmp_path)
        if exit_code(verdict) not in EXPECTED_CODES[row["expected"]]:
            wrong[row["path"]] = (row["expected"], verdict.outcome, verdict.cause)
    assert wrong.keys() == STRICTER.keys(), wrong


def test_few_rows_are_stricter(vectors: Path) -> None:
    rows = {row["path"]: row["format"] for row in _rows(vectors)}
    per_format = Counter(rows.values())
    stricter = Counter(rows[path] for path in STRICTER)
    assert all(stricter[name] <= 0.05 * per_format[name] for name in stricter)


BESIDE = {
    "rekor/pkg/pki/minisign/testdata/hello_world_hashed.txt.minisig": "minisign_hashed.pub",
    "rekor/pkg/pki/x509/testdata/hello_world.txt.sig": "ec.pub",
}
"""Rows of signatures beside a file, and the key that their tests give."""


@pytest.mark.parametrize("row", BESIDE)
def test_rows_of_signatures_beside_files(row: str, vectors: Path, tmp_path: Path) -> None:
    path = vectors / row
    context = Context(Options(keyrings=(str(path.with_name(BESIDE[row])),)))
    content = path.with_name("hello_world.txt")
    assert exit_code(assess_detached(str(content), str(path), context)) == 0
    (tmp_path / "changed").write_bytes(content.read_bytes() + b"\n")
    assert exit_code(assess_detached(str(tmp_path / "changed"), str(path), context)) == 1


def test_token_with_a_wrong_signature_is_broken(vectors: Path) -> None:
    token = vectors / "notation-core-go/internal/timestamp/testdata"
    blob = (token / "TimeStampTokenWithInvalidSignature.p7s").read_bytes()
    (claimed,) = open_signatures(blob, lambda _type, _content: ())
    artifact = SignedArtifact(format="cms", source=BytesSource("t", blob), signatures=(claimed,))
    assert not isinstance(check_signature(artifact, claimed, {}), IntactSignature)
