"""Timestamp: tokens for signatures that a file already carries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from signward.envelopes.cms import MICROSOFT_TIMESTAMP
from signward.envelopes.cms_counter import with_unsigned_counter
from signward.envelopes.cms_draft import attribute, with_unsigned
from signward.errors import NotSignableError
from signward.formats import ParseOptions, Signable, Stampable, peek_at
from signward.frozen import replace
from signward.state import ClaimedSignature, Companions, Source
from signward.verbs.bundles import BUNDLE
from signward.verbs.change import Destination, change, signable
from signward.verbs.fitness import Assessor
from signward.verbs.options import Options
from signward.verbs.outcome import FileResult, caught
from signward.verbs.sign_bundle import is_bundle_folder, main_executable
from signward.verbs.stamping import Stamper
from signward.wire.patch import Patched

_LABEL = re.compile(r"(\d+)(?:/(\d+))?((?:\.\d+)*)(?:/countersignature(?: (\d+))?)?")
"""``2.1``: the first signature nested in the second envelope's; ``1/2``: a second signer;
``1/countersignature 2``: the second one over the first envelope's first signer."""


class Timestamper:
    """Timestamps files.  ``again`` adds a token to signatures that have one too."""

    def __init__(
        self, urls: Sequence[str], digest: str, destination: Destination, *, again: bool = False
    ) -> None:
        self._stamp = Stamper(urls, digest, datetime.now(UTC))
        self._destination, self._again = destination, again
        self._assessor = Assessor(Options(), require_accepted=False)

    def run(self, paths: Iterable[str]) -> Iterator[FileResult]:
        """Timestamp every signature of every file; yield results in the order of ``paths``."""
        results = (caught(path, partial(self._timestamped, path)) for path in paths)
        return self._destination.settled(results)

    def _timestamped(self, path: str) -> FileResult:
        if is_bundle_folder(path):
            return self._timestamped_bundle(path)
        formats: list[str] = []

        def make(source: Source, companions: Companions) -> Source:
            form = signable(source)
            formats.append(form.name)
            return self._with_tokens(form, source, companions)

        def check(written: Source, companions: Companions) -> None:
            self._assessor.check_intact(written, companions)

        output = change(path, self._destination.of(path), self._destination, make, check)
        outcome = "planned" if self._destination.dry_run else "stamped"
        return FileResult(path=path, outcome=outcome, format=formats[0], output=output)

    def _timestamped_bundle(self, path: str) -> FileResult:
        """Add tokens to a bundle's signature: no other file of it is changed."""
        if self._destination.out:
            raise NotSignableError(path, "--out", "a bundle that is timestamped in place",
                                   hint="copy it first")  # fmt: skip
        result = self._timestamped(main_executable(path))
        output = path if self._destination.dry_run else result.output
        return replace(result, path=path, format=BUNDLE, output=output)

    def _with_tokens(self, form: Signable, source: Source, companions: Companions) -> Source:
        options = ParseOptions(extension=peek_at(source).extension, companions=companions)
        signatures = form.parse(source, options).signatures
        wanting = [s for s in signatures if self._again or not s.timestamps]
        if not wanting:
            raise NotSignableError(
                source.name,
                "a timestamp on every signature" if signatures else "no signature",
                "a signature without one",
                hint="--again adds another" if signatures else "sign the file first",
            )
        envelopes = list(form.envelopes(source))
        subjects = [form.stamped(s) if isinstance(form, Stampable) else s.value for s in wanting]
        if not any(subjects):
            raise NotSignableError(source.name, "signatures without a place for a timestamp",
                                   "one that has a place")  # fmt: skip
        for signature, subject in zip(wanting, subjects, strict=True):
            if subject is not None:
                number = signatures.index(signature)
                _add_token(form, envelopes, number, signature, self._stamp(subject)[0])
        return Patched(source, form.embed(source, tuple(envelopes)))


def _add_token(
    form: Signable, envelopes: list[bytes], number: int, signature: ClaimedSignature, token: bytes
) -> None:
    """Put a token beside the signature it speaks for, in the envelope that carries it.

    Where labels name no envelope (the slices of a universal Mach-O), the file's signature
    ``number`` (from 0) is in the envelope of that number.
    """
    label = _LABEL.fullmatch(signature.label)
    if isinstance(form, Stampable) and (label is not None or number < len(envelopes)):
        index = int(label[1]) - 1 if label else number
        envelopes[index] = form.with_token(envelopes[index], signature, token)
        return
    if label is None or signature.envelope != "cms":
        raise NotSignableError(
            f"signature {signature.label}", f"an envelope of kind {signature.envelope}",
            "one that a token can be added to afterwards",
        )  # fmt: skip
    index = int(label[1]) - 1
    nested = [int(number) - 1 for number in label[3].split(".")[1:]]
    added = attribute(getattr(form, "token_oid", MICROSOFT_TIMESTAMP), token)
    if signature.countersigns:
        number = int(label[4] or 1) - 1
        envelopes[index] = with_unsigned_counter(envelopes[index], number, added)
        return
    envelopes[index] = with_unsigned(envelopes[index], int(label[2] or 1) - 1, added, nested)
