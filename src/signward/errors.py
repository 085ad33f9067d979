"""The exception tree.

::

    SignwardError
    ├── BadInputError            the bytes are at fault; carries a Finding
    │   ├── MalformedError       they break their format
    │   ├── AmbiguousError       two readers could take them for different things
    │   ├── UncoveredError       some stand where no signature could cover them
    │   ├── LimitError           they exceed a named bound
    │   │   └── TooLargeError    one of ours, not of their kind: cannot judge
    │   ├── NewerError           nothing is at fault: they are of a version not known yet
    │   └── ExtraMissingError    nothing is at fault: reading them needs an optional library
    ├── UnreadableError          the path is at fault: absent, no file, changing
    ├── EvidenceError            a store, CRL, OCSP answer or option file is at fault
    │   └── OlderError           it is older than one that counted here before
    ├── SigningError             something cannot be signed; found, required, hint
    │   ├── NotSignableError     the file: its kind, what it holds, where it lies
    │   └── KeyProviderError     the key: not found, locked, refused, wrong certificate
    ├── StatedError              says what was found, what was required, the clause, a hint
    │   ├── AuthorityError       an authority cannot do as asked
    │   │   ├── RealmError       its folder or settings are at fault
    │   │   ├── LintError        what was to be issued breaks a rule
    │   │   ├── DeniedError      whoever asks may not
    │   │   │   └── LimitedError not now: too often, or out of hours
    │   │   ├── ConflictError    it was done already, or otherwise
    │   │   └── StoreError       the database is gone, full or locked; nothing was written
    │   └── PolicyError          a policy cannot be read, compiled or used
    │       └── LossError        a target cannot express all of it, which was not allowed
    ├── FetchError               what a URL names could not be had
    │   └── ReplayedError        what came answers another question, or is older than what was known
    └── NotAcceptedError         raised by `verify`; carries the verdict
        ├── RejectedError
        └── IndeterminateError
"""

from __future__ import annotations

from signward.findings import Code, Effect, Finding


class SignwardError(Exception):
    """Base of everything this package raises on purpose."""


class BadInputError(SignwardError):
    """Untrusted bytes could not be used; ``finding`` says what and where."""

    code = Code.MALFORMED
    effect = Effect.REJECT

    def __init__(
        self,
        subject: str,
        found: str,
        required: str,
        clause: str = "",
        *,
        offset: int | None = None,
        hint: str = "",
    ) -> None:
        self.finding = Finding(
            code=self.code,
            effect=self.effect,
            subject=subject,
            found=found,
            required=required,
            clause=clause,
            hint=hint,
            offset=offset,
        )
        super().__init__(str(self.finding))


class MalformedError(BadInputError):
    """The bytes break the rules of their own format."""


class AmbiguousError(BadInputError):
    """Two readers could take the bytes for different things."""

    code = Code.AMBIGUOUS


class UncoveredError(BadInputError):
    """Content stands where no signature of this format could cover it."""

    code = Code.UNCOVERED_CONTENT


class LimitError(BadInputError):
    """The bytes ask for more than a named bound allows."""

    code = Code.LIMIT_EXCEEDED


class TooLargeError(LimitError):
    """Nothing is at fault: they are more than can be held here.  Neither good nor bad."""

    effect = Effect.UNKNOWN


class NewerError(BadInputError):
    """The bytes say that they are of a version that is not known yet: cannot judge."""

    code = Code.UNSUPPORTED_KIND
    effect = Effect.UNKNOWN


class ExtraMissingError(BadInputError):
    """Reading the bytes needs a library that is not installed: cannot judge, neither good nor bad.

    ``extra`` is the optional dependency of this package that brings it.
    """

    code = Code.UNSUPPORTED_KIND
    effect = Effect.UNKNOWN

    def __init__(self, subject: str, library: str, extra: str) -> None:
        super().__init__(
            subject, f"no {library} on this machine", f"the library {library}",
            hint=f"pip install signward[{extra}]",
        )  # fmt: skip


class UnreadableError(SignwardError):
    """A path could not be read to the end; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(str(finding))


class EvidenceError(SignwardError):
    """Something the caller supplied (anchor, CRL, OCSP answer, catalog) is unusable."""


class OlderError(EvidenceError):
    """A signed list is older than one that counted here before: it may be played back."""


class SigningError(SignwardError):
    """Something could not be signed; the message says what was found and what was required."""

    def __init__(self, subject: str, found: str, required: str, hint: str = "") -> None:
        self.subject, self.found, self.required, self.hint = subject, found, required, hint
        text = f"{subject}: found {found}, required {required}"
        super().__init__(f"{text}\nhint: {hint}" if hint else text)


class NotSignableError(SigningError):
    """A file cannot be signed as asked."""


class KeyProviderError(SigningError):
    """A key could not be opened or used; never holds a secret."""


class StatedError(SignwardError):
    """Base of errors that say what was found and what was required, and by which clause."""

    def __init__(
        self, subject: str, found: str, required: str, clause: str = "", hint: str = ""
    ) -> None:
        self.subject, self.found, self.required = subject, found, required
        self.clause, self.hint = clause, hint
        text = f"{subject}: found {found}, required {required}" + (f" ({clause})" if clause else "")
        super().__init__(f"{text}\nhint: {hint}" if hint else text)


class AuthorityError(StatedError):
    """An authority cannot do as asked."""


class RealmError(AuthorityError):
    """An authority's folder or settings cannot be used."""


class LintError(AuthorityError):
    """What was to be issued breaks a rule; nothing was signed."""


class DeniedError(AuthorityError):
    """Whoever asks may not have what was asked for."""


class LimitedError(DeniedError):
    """It may be had later: ``retry_seconds`` from now."""

    retry_seconds = 0


class ConflictError(AuthorityError):
    """What was asked was done already, or contradicts what was."""


class StoreError(AuthorityError):
    """The database is gone, full or locked; nothing of what was asked is written."""


class PolicyError(StatedError):
    """A policy is at fault, or what was to be made of it; nothing was written."""


class LossError(PolicyError):
    """A target cannot express a rule, and that loss was not allowed by name."""


class FetchError(SignwardError):
    """What a URL names could not be had: refused, unreachable, too slow, too large, wrong.

    ``kept`` is the last good answer that came before, where there is one.
    """

    def __init__(self, message: str, kept: bytes = b"") -> None:
        self.kept = kept
        super().__init__(message)


class ReplayedError(FetchError):
    """An answer carries another nonce than the question, or is older than one known before."""


class NotAcceptedError(SignwardError):
    """`verify` did not accept; ``verdict`` is the whole answer."""

    def __init__(self, verdict: object, message: str) -> None:
        self.verdict = verdict
        super().__init__(message)


class RejectedError(NotAcceptedError):
    """The verdict is REJECTED."""


class IndeterminateError(NotAcceptedError):
    """The verdict is INDETERMINATE."""
