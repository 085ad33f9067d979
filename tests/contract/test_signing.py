"""The contract every signable format keeps: what it signs it accepts, and nothing near it.

Samples come from ``tests/samples``, a module per format.
"""

from __future__ import annotations

import atexit
import importlib
import pkgutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue, pem

from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Existing, Format, Match, ParseOptions, Signable, all_formats, peek_at
from signward.frozen import replace
from signward.integrity import wanted_slots
from signward.state import IntactSignature, Outcome, SignedArtifact, TrustedSignature, Verdict
from signward.trust.profiles import PROFILES
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource
from tests import samples
from tests.contract.test_formats import RIGHT_CAUSES
from tests.signing import authority, context, holder_of, identity, sign_bytes, strip_bytes

MAX_SAMPLE = 16 * 1024
"""Signed samples up to this size are flipped at every byte of what signing covers."""

FLIPS = 1500
"""Bytes flipped in a sample that is larger, evenly spread."""

ALGORITHMS = (
    ("rsa2048", "sha256"), ("rsa3072", "sha384"), ("rsa2048", "sha512"), ("p256", "sha256"),
    ("p384", "sha384"), ("p521", "sha512"), ("ed25519", "sha512"), ("ml-dsa-44", "sha256"),
    ("ml-dsa-65", "sha384"), ("ml-dsa-87", "sha512"),
)  # fmt: skip


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(samples.__path__):
        yield importlib.import_module(f"tests.samples.{module.name}")


class Sample:
    """One unsigned file, what a request for it says, and a judge for its variations."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self.form = module.__name__.rpartition(".")[2].replace("_", "-")
        self.name = name
        self.data: bytes = module.SAMPLES[name]()
        self.asked: dict[str, Any] = dict(getattr(module, "OPTIONS", {}).get(name, {}))
        self.beside: Mapping[str, bytes] = getattr(module, "COMPANIONS", {}).get(name, {})
        self.companions = MappedCompanions({n: BytesSource(n, d) for n, d in self.beside.items()})
        self.exempt: Callable[[bytes], frozenset[int]] = getattr(
            module, "exempt", lambda _data: frozenset()
        )
        self.byte_exact: bool = getattr(module, "BYTE_EXACT", False)
        self.untimed: bool = getattr(module, "UNTIMED", False)
        self.pinned: bool = getattr(module, "PINNED", False)
        self.held: bool = getattr(module, "HELD", False)
        if self.held:
            self.asked["held"] = True

    def signed(self, **asked: Any) -> bytes:
        asked = {"companions": self.companions, **self.asked, **asked}
        return sign_bytes(self.name, self.data, **asked)

    def judge(self, data: bytes, judging: Context, who: Identity | None = None) -> Verdict:
        who = who or identity()
        if self.held:
            knowing = holding(judging, who)
        else:
            knowing = pinning(judging, who) if self.pinned else judging.knowing(who.certificate)
        return assess(BytesSource(self.name, data), knowing, self.companions)


@cache
def pin_of(who: Identity) -> str:
    """Return a file that holds a signer's own certificate."""
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(pem(who.certificate))
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


@cache
def pinning(judging: Context, who: Identity) -> Context:
    """Return a context like another whose one anchor is a signer's own certificate."""
    return Context(replace(judging.options, anchors=(pin_of(who),)))


@cache
def ring_of(who: Identity) -> str:
    """Return a file that holds a signer's key as an OpenPGP certificate."""
    with tempfile.NamedTemporaryFile(suffix=".pgp", delete=False) as file:
        file.write(holder_of(who)[1])
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


@cache
def holding(judging: Context, who: Identity) -> Context:
    """Return a context like another that knows a signer by his OpenPGP certificate."""
    return Context(replace(judging.options, keyrings=(ring_of(who),)))


@cache
def _samples() -> dict[str, Sample]:
    return {
        f"{module.__name__.rpartition('.')[2]}-{name}": Sample(module, name)
        for module in _modules()
        for name in module.SAMPLES
    }


def _names() -> list[str]:
    return sorted(
        f"{module.__name__.rpartition('.')[2]}-{name}"
        for module in _modules() for name in module.SAMPLES
    )  # fmt: skip


@pytest.fixture(params=_names())
def sample(request: pytest.FixtureRequest) -> Sample:
    return _samples()[request.param]


@pytest.fixture
def judging(tmp_path: Path) -> Context:
    return context(tmp_path)


def test_every_signable_format_has_samples() -> None:
    signable = {form.name for form in all_formats() if isinstance(form, Signable)}
    assert signable == {sample.form for sample in _samples().values()}


def test_what_is_signed_is_accepted(sample: Sample, judging: Context) -> None:
    assert sample.judge(sample.data, judging).cause is Code.UNSIGNED
    verdict = sample.judge(sample.signed(), judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.publisher is not None
    own = f"openpgp:{holder_of(identity())[0].fingerprint.hex()}"
    usual = "subject:Conformance/Signing Test Publisher"
    assert verdict.publisher.identity == (own if sample.held else usual)


def test_signing_is_reproducible(sample: Sample) -> None:
    assert sample.signed() == sample.signed()


@pytest.mark.parametrize(("kind", "digest"), ALGORITHMS)
def test_every_algorithm_signs_or_is_refused_by_name(
    sample: Sample, judging: Context, kind: str, digest: str
) -> None:
    who = identity(kind, f"Signing Test Publisher {kind}")
    try:
        data = sample.signed(who=who, digest=digest)
    except NotSignableError as error:
        words = (digest, kind, "rsa", "ecdsa", *(("openpgp certificate",) if sample.held else ()))
        named = any(word in str(error).lower() for word in words)
        assert named, error  # noqa: PT017 - an algorithm the format has no name for
        return
    verdict = sample.judge(data, judging, who)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


def test_a_second_signature_needs_a_word(sample: Sample, judging: Context) -> None:
    signed = sample.signed()
    asked = {"companions": sample.companions, **sample.asked}
    with pytest.raises(NotSignableError):
        sign_bytes(sample.name, signed, **asked)
    replaced = sign_bytes(sample.name, signed, existing=Existing.REPLACE, **asked)
    assert replaced == signed
    try:
        nested = sign_bytes(sample.name, signed, existing=Existing.NESTED, **asked)
    except NotSignableError:
        return
    verdict = sample.judge(nested, judging)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    assert all(isinstance(s, IntactSignature | TrustedSignature) for s in verdict.signatures)


def test_a_token_proves_the_time(sample: Sample, judging: Context) -> None:
    stamper = issue(
        "Signing Test TSA", issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip

    def stamp(value: bytes) -> bytes:
        return tsa.token_der(value, stamper, at=NOW)

    data = sample.signed(stamp=stamp)
    verdict = sample.judge(data, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    first = verdict.signatures[verdict.judged or 0]
    assert isinstance(first, TrustedSignature)
    if sample.untimed:
        assert not first.intact.claimed.timestamps
    elif PROFILES[_artifact(sample, data).profile].timestamps:
        assert first.proven_time is not None
        assert first.proven_time.instant == NOW
    else:
        assert first.intact.timestamps[0].time == NOW


def test_stripping_leaves_what_was_signed(sample: Sample, judging: Context) -> None:
    stripped = strip_bytes(sample.name, sample.signed())
    assert sample.judge(stripped, judging).cause is Code.UNSIGNED
    if sample.byte_exact:
        assert stripped == sample.data
    again = sign_bytes(sample.name, stripped, **{"companions": sample.companions, **sample.asked})
    assert _digests(sample, again) == _digests(sample, sample.signed())


def _form(sample: Sample) -> Format:
    return next(form for form in all_formats() if form.name == sample.form)


def _artifact(sample: Sample, data: bytes) -> SignedArtifact:
    source = BytesSource(sample.name, data)
    options = ParseOptions(extension=peek_at(source).extension, companions=sample.companions)
    return _form(sample).parse(source, options)


def _digests(sample: Sample, data: bytes) -> object:
    artifact = _artifact(sample, data)
    return _form(sample).digests(artifact, wanted_slots(artifact))


@pytest.mark.slow
def test_no_flipped_byte_of_what_is_signed_is_accepted(sample: Sample, judging: Context) -> None:
    data = sample.signed()
    exempt = sample.exempt(data)
    step = 1 if len(data) <= MAX_SAMPLE // 2 else max(1, len(data) // FLIPS)
    accepted, causes = [], Counter[Code | None]()
    for offset in range(0, len(data), step):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset * 5 % 8)
        verdict = sample.judge(bytes(changed), judging)
        causes[verdict.cause] += 1
        if verdict.outcome is Outcome.ACCEPTED:
            accepted.append(offset)
    assert set(accepted) <= exempt
    assert set(causes) - {None} <= RIGHT_CAUSES


def test_no_truncation_is_accepted(sample: Sample, judging: Context) -> None:
    data = sample.signed()
    sizes = {*range(0, len(data), 61), *range(max(0, len(data) - 48), len(data))}
    kept = {s for s in sizes if sample.judge(data[:s], judging).outcome is Outcome.ACCEPTED}
    # Script families leave one line ending behind the end marker open.
    assert all(data[size:].replace(b"\0", b"") in (b"\r\n", b"\n") for size in kept)


def test_no_other_format_claims_it(sample: Sample) -> None:
    peek = peek_at(BytesSource(sample.name, sample.data))
    sure = {form.name: form.recognise(peek) for form in all_formats()}
    best = max(sure.values())
    assert best > Match.NO
    assert [name for name, match in sure.items() if match is best] == [sample.form]
