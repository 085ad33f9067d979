"""Assessing our own output before it is released.

What would make the signature worthless stops the file: it is not intact, or not ours.  What
depends on whoever verifies (a path to his roots, revocation he may not know) is a warning,
unless the caller requires that the result be accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from signward.errors import SigningError
from signward.findings import Effect, Finding
from signward.formats import Format
from signward.state import (
    X509,
    BrokenSignature,
    Companions,
    HeldKey,
    IntactSignature,
    JudgedSignature,
    Outcome,
    Source,
    Stage,
    Verdict,
)
from signward.verbs.context import Context
from signward.verbs.options import Options, stopping_at
from signward.verbs.verify import assess, assess_as, assess_path

Warnings = list[str]
"""What a verifier may object to, one sentence each."""

Judge = Callable[[Context], Verdict]


class Assessor:
    """Assesses results; those of one format and signer get the same warnings, found once."""

    def __init__(self, options: Options, *, require_accepted: bool) -> None:
        """Judge as ``options`` say; without an instant in them, each result when it is there.

        A result is younger than the run: a token in it may be of a later second than that.
        """
        self._intact = Context(stopping_at(options, Stage.INTACT))
        self._accepting = Context(options)
        self._timeless = options.at is not None
        self._require_accepted = require_accepted
        self._warned: dict[tuple[str, bytes], Warnings] = {}

    def check(self, written: Source, companions: Companions, held: HeldKey) -> Warnings:
        """Return the warnings on a result.  Raises ``SigningError`` for one not to be released."""
        return self._checked(written.name, lambda by: assess(written, by, companions), held)

    def check_folder(self, folder: str, name: str, held: HeldKey) -> Warnings:
        """Do the same for a folder that is one piece of code; ``name`` is what it is called."""
        return self._checked(name, lambda by: assess_path(folder, by, name), held)

    def check_beside(self, content: Source, form: Format, held: HeldKey) -> Warnings:
        """Do the same for content whose signature lies elsewhere: ``form`` was made with it."""
        return self._checked(content.name, lambda by: assess_as(form, content, by), held)

    def _checked(self, name: str, judge: Judge, held: HeldKey) -> Warnings:
        verdict = judge(_knowing(self._intact, held))
        if verdict.outcome is not Outcome.ACCEPTED:
            raise _refused(name, verdict, "an intact signature")
        if not any(_is_by(one, held) for one in verdict.signatures):
            raise SigningError(name, "no signature by the key's own holder", "one",
                               hint="this is a fault of ours: please report it")  # fmt: skip
        key = verdict.format, held.holder
        if self._require_accepted or key not in self._warned:
            self._warned[key] = self._judged(name, judge, held)
        return self._warned[key]

    def check_stripped(self, written: Source, companions: Companions) -> None:
        """Raise ``SigningError`` if a signature is left."""
        if assess(written, self._intact, companions).signatures:
            raise SigningError(written.name, "a signature that is left", "none")

    def check_folder_stripped(self, folder: str, name: str) -> None:
        """Raise ``SigningError`` if a signature of the folder's own is left."""
        if assess_path(folder, self._intact, name).signatures:
            raise SigningError(name, "a signature that is left", "none")

    def check_intact(self, written: Source, companions: Companions) -> None:
        """Raise ``SigningError`` if a signature is not intact."""
        verdict = assess(written, self._intact, companions)
        if verdict.outcome is not Outcome.ACCEPTED:
            raise _refused(written.name, verdict, "intact signatures")

    def _judged(self, name: str, judge: Judge, held: HeldKey) -> Warnings:
        if not self._timeless:
            self._accepting = self._accepting.as_of(datetime.now(UTC))
        verdict = judge(_knowing(self._accepting, held))
        if verdict.outcome is Outcome.ACCEPTED:
            return []
        if self._require_accepted:
            raise _refused(name, verdict, "one that is accepted")
        return [str(f).partition("\n")[0] for f in _grave(verdict)]


def _knowing(context: Context, held: HeldKey) -> Context:
    """Return the context with the signer's own key in reach, which counts for nothing else."""
    return context.knowing(held.holder) if held.kind == X509 else context.knowing_key(held)


def _is_by(signature: JudgedSignature, held: HeldKey) -> bool:
    """Say whether a signature is intact and made with ``held``.

    A caller's keyring may hold another copy of an OpenPGP certificate: the key is what counts.
    """
    if isinstance(signature, BrokenSignature):
        return False
    key = (signature if isinstance(signature, IntactSignature) else signature.intact).key
    if held.kind == X509:
        return key.holder == held.holder
    return (key.kind, key.key_id, key.spki) == (held.kind, held.key_id, held.spki)


def _grave(verdict: Verdict) -> list[Finding]:
    findings = [*verdict.findings, *(f for s in verdict.signatures for f in s.findings)]
    return list(dict.fromkeys(f for f in findings if f.effect in (Effect.REJECT, Effect.UNKNOWN)))


def _refused(name: str, verdict: Verdict, required: str) -> SigningError:
    grave = _grave(verdict)
    found = str(grave[0]).partition("\n")[0] if grave else f"{verdict.outcome}, {verdict.cause}"
    return SigningError(name, f"a result that is {verdict.outcome} ({found})", required,
                        hint="nothing was changed")  # fmt: skip
