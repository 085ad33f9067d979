"""Sign: files in, signed files out; each one assessed before it is released.

The stages in order: recognise, check that the certificate fits, let the format draft, have
the key sign each draft, timestamp the value, embed, assess, release.  Nothing here knows a
format or a key provider by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self

from signward.envelopes import stamped
from signward.errors import NotSignableError
from signward.formats import (
    Existing,
    ParseOptions,
    Request,
    Signable,
    as_signable,
    peek_at,
    recognise,
)
from signward.formats._detached import DetachedFormat
from signward.frozen import replace
from signward.keys import RotatedError, open_key
from signward.state import Companions, SignedArtifact, Source
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.profiles import PROFILES
from signward.verbs.change import Destination, prepare, signable
from signward.verbs.credential import Credential, Standing
from signward.verbs.crew import Crew, Finish, Task, copies_for
from signward.verbs.deep import InsideOut
from signward.verbs.detached import SUFFIX
from signward.verbs.fitness import Assessor
from signward.verbs.options import Options, read_option
from signward.verbs.outcome import FileResult, caught
from signward.verbs.secrets import SecretFinder
from signward.verbs.stamping import Stamper
from signward.wire.companions import MappedCompanions
from signward.wire.patch import Patched

MAX_ROTATIONS = 8
"""Times a file is drafted anew because the service changed its leaf meanwhile: one change can
meet a file twice, when another file's refresh falls between its draft and its signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """What the caller asks for.

    ``options`` are formats' own (``Signable.options``); ``judge`` says how results are
    assessed: anchors, evidence, instant.
    """

    key: str
    certificates: tuple[str, ...] = ()
    pass_file: str = ""
    digest: str = ""
    pss: bool = False
    timestamps: tuple[str, ...] = ()
    existing: Existing = Existing.REFUSE
    page_hashes: bool = False
    description: str = ""
    url: str = ""
    detached: bool = False
    deep: bool = False
    out: str = ""
    dry_run: bool = False
    require_accepted: bool = False
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    judge: Options = field(default_factory=Options)


class Signatory:
    """Signs files with one credential.

    Opening it opens the key, so that a wrong password or certificate is said once and at
    once.  Raises ``SigningError`` then; afterwards a file's fault stays the file's.
    """

    def __init__(self, options: SignOptions) -> None:
        self.options = options
        self.at = options.judge.at or datetime.now(UTC)
        self._assessor = Assessor(
            replace(options.judge, at=self.at), require_accepted=options.require_accepted
        )
        self._destination = Destination(
            out=options.out, suffix=SUFFIX if options.detached else "", dry_run=options.dry_run
        )
        given = [
            block for path in options.certificates
            for block in blocks(path, read_option(path), CERTIFICATES)
        ]  # fmt: skip
        self._key = open_key(options.key, SecretFinder(options.pass_file))
        self._credential = Credential(self._key, given, options.digest, pss=options.pss)
        self._stamp = Stamper(options.timestamps, self._credential.standing.signer.digest, self.at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._key.close()

    def run(self, paths: Iterable[str]) -> Iterator[FileResult]:
        """Sign every file, many at once; return results in the order of ``paths``.

        The results are to be asked for in the end: what was released is settled then.
        """
        paths = tuple(paths)
        tasks = [self._task(path) for path in paths]
        crew = Crew(paths, tasks, copies_for(len(tasks)) if self._may_be_copied else 0)
        return self._destination.settled(crew.results())

    def sign(self, path: str) -> FileResult:
        """Sign one file; never raises for what the file is or holds."""
        return self._task(path)()()

    @property
    def _may_be_copied(self) -> bool:
        """Whether copies of this process gain anything: not where an authority is waited for."""
        return self._key.in_memory and not (self.options.timestamps or self.options.judge.online)

    def _task(self, path: str) -> Task:
        """Return the work on a file, in its two halves (see `verbs.change.prepare`).

        That its output is another's is known before any work begins.
        """
        target = caught(path, lambda: self._destination.of(path))

        def begin() -> Finish:
            failed: FileResult | Finish = (
                target
                if isinstance(target, FileResult)
                else caught(path, lambda: self._sign(path, target))
            )
            return lambda: failed if isinstance(failed, FileResult) else caught(path, failed)

        return begin

    def _sign(self, path: str, target: str) -> Finish:
        work = _Work()

        if self.options.detached:
            return self._sign_beside(path, target)

        def make(source: Source, companions: Companions) -> Source:
            if self.options.deep:
                source = self._inside_out(source, work)
            if self.options.deep and work.members and not _is_signable(source):
                work.format = "zip"
                return source
            form = signable(source)
            result, work.standing = self._signed(form, source, companions)
            work.format, work.outer = form.name, True
            return result

        def check(written: Source, companions: Companions) -> None:
            if work.outer:
                leaf = work.standing.leaf
                work.warnings |= dict.fromkeys(self._assessor.check(written, companions, leaf))

        work.standing = self._credential.standing
        put_in_place = prepare(path, target, self._destination, make, check)
        return lambda: self._result(path, work, put_in_place())

    def _sign_beside(self, path: str, target: str) -> Finish:
        """Sign a file of any kind: the signature becomes a file of its own beside it."""
        work = _Work(format="detached")
        existing = self.options.existing
        if existing is Existing.NESTED:
            raise NotSignableError(path, "--nested", "one signature in a file beside it")
        if existing is Existing.REFUSE and os.path.exists(target):  # noqa: PTH110
            raise NotSignableError(path, f"a signature ({target})", "none",
                                   hint="--replace writes it anew")  # fmt: skip
        contents: list[Source] = []

        def make(source: Source, companions: Companions) -> Source:
            contents.append(source)
            result, work.standing = self._signed(DetachedFormat(), source, companions)
            return result

        def check(written: Source, _companions: Companions) -> None:
            signature = written.read(0, written.length)
            found = self._assessor.check_detached(contents[0], signature, work.standing.leaf)
            work.warnings |= dict.fromkeys(found)

        put_in_place = prepare(path, target, self._destination, make, check)
        return lambda: self._result(path, work, put_in_place())

    def _result(self, path: str, work: _Work, output: str) -> FileResult:
        return FileResult(
            path=path,
            outcome="planned" if self.options.dry_run else "signed",
            format=work.format,
            output=output,
            members=tuple(work.members),
            signer=work.standing.leaf.subject_text,
            algorithm=str(work.standing.signer.algorithm),
            warnings=tuple(work.warnings),
        )

    def _inside_out(self, source: Source, work: _Work) -> Source:
        """Sign what a container holds; each member is assessed like a file of its own."""

        def sign(form: Signable, member: Source) -> Source:
            nothing = MappedCompanions({})
            signed, standing = self._signed(form, member, nothing)
            warnings = self._assessor.check(signed, nothing, standing.leaf)
            work.warnings |= dict.fromkeys(warnings)
            return signed

        inside = InsideOut(self.options.existing, sign)
        result = inside(source)
        work.members = inside.names
        return result

    def _signed(
        self, form: Signable, source: Source, companions: Companions
    ) -> tuple[Source, Standing]:
        """Let the format sign; begin again where the service changed its leaf meanwhile."""
        options = ParseOptions(extension=peek_at(source).extension, companions=companions)
        artifact = form.parse(source, options)
        profile = PROFILES[artifact.profile]
        for left in reversed(range(MAX_ROTATIONS)):
            standing = self._credential.standing
            standing.check_fitness(profile, self.at)
            request = self._request(form, artifact, options, standing)
            try:
                return self._rounds(form, source, request, standing), standing
            except RotatedError:
                if not left:
                    raise
                self._credential.refresh(standing)
        raise AssertionError("the loop returns or raises")

    def _rounds(
        self, form: Signable, source: Source, request: Request, standing: Standing
    ) -> Source:
        rounds = form.sign(source, request)
        try:
            draft = next(rounds)
            while True:
                value = self._credential.sign(standing, draft.to_be_signed, draft.algorithm)
                subject = stamped(draft, value)
                tokens = self._stamp(subject) if subject is not None else ()
                draft = rounds.send(draft.seal(value, tokens))
        except StopIteration as finished:
            return Patched(source, finished.value)

    def _request(
        self, form: Signable, artifact: SignedArtifact, parsing: ParseOptions, standing: Standing
    ) -> Request:
        options = self.options
        return Request(
            signer=standing.signer,
            at=self.at,
            existing=options.existing,
            description=options.description,
            url=options.url,
            page_hashes=options.page_hashes,
            extension=parsing.extension,
            companions=parsing.companions,
            options={name: v for name, v in options.options.items() if name in form.options},
            artifact=artifact,
        )


@dataclass(slots=True)
class _Work:
    """What is known of a file under way; ``outer`` is whether it carries a signature itself."""

    standing: Standing = field(init=False)
    outer: bool = False
    format: str = ""
    members: list[str] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)


def _is_signable(source: Source) -> bool:
    return as_signable(recognise(peek_at(source))) is not None
