"""Sign: files in, signed files out; each one assessed before it is released.

The stages in order: recognise, check that the certificate fits, let the format draft, have
the key sign each draft, timestamp the value, embed, assess, release.  Nothing here knows a
format or a key provider by name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Self

from signward.envelopes import Draft, stamped
from signward.errors import EvidenceError, NotSignableError
from signward.formats import (
    Existing,
    ParseOptions,
    Request,
    Signable,
    all_formats,
    as_signable,
    file_options,
    octet_options,
    peek_at,
    recognise,
    signing_profile,
)
from signward.keys import Purpose, RotatedError, Signed, Waiting, open_key
from signward.state import Companions, SignedArtifact, Source
from signward.trust.profiles import PROFILES
from signward.verbs.bundles import BUNDLE
from signward.verbs.change import Destination, prepare, signable
from signward.verbs.credential import Credential, Standing
from signward.verbs.crew import Crew, Finish, Task, copies_for
from signward.verbs.deep import InsideOut
from signward.verbs.detached import Beside, beside_for
from signward.verbs.fitness import Assessor
from signward.verbs.folders import check_same, put_in_place, snapshot, working_copy
from signward.verbs.keyrings import read_holders
from signward.verbs.options import Options, read_option
from signward.verbs.outcome import FileResult, caught
from signward.verbs.receipts import Receipts
from signward.verbs.release import make_folder
from signward.verbs.secrets import SecretFinder
from signward.verbs.sign_bundle import BundleSigning, is_bundle_folder
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
    assessed: anchors, evidence, instant.  ``beside`` has signatures written beside files of any
    kind, instead of into them.  ``receipts`` is the folder for the log's receipts.
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
    beside: Beside | None = None
    deep: bool = False
    out: str = ""
    receipts: str = ""
    dry_run: bool = False
    require_accepted: bool = False
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    judge: Options = field(default_factory=Options)


class Signatory:
    """Signs files with one credential.

    Opening it opens the key, so that a wrong password or certificate is said once and at
    once.  Raises ``SigningError`` then; afterwards a file's fault stays the file's.
    """

    def __init__(self, options: SignOptions, tell: Callable[[str], None] | None = None) -> None:
        """Open the key; ``tell`` is called with a line where it lets one wait for people."""
        self.options = options
        self.at = options.judge.at or datetime.now(UTC)
        self._assessor = Assessor(options.judge, require_accepted=options.require_accepted)
        given, held = read_holders(options.certificates)
        self._key = open_key(options.key, SecretFinder(options.pass_file))
        self._credential = Credential(
            self._key, given, options.digest, pss=options.pss, held=held,
            kind=options.beside.kind if options.beside else "",
        )  # fmt: skip
        namespace = options.judge.policy.trust.ssh_namespace
        self._beside = beside_for(options.beside, self._credential.standing.held, namespace)
        self._destination = Destination(
            out=options.out,
            suffix=self._beside.suffix if self._beside else "",
            dry_run=options.dry_run,
        )
        self._stamp = Stamper(options.timestamps, self._credential.standing.signer.digest, self.at)
        self._receipts = Receipts(options.receipts) if options.receipts else None
        self._given = _with_files(options.options)
        if tell and isinstance(self._key, Waiting):
            self._key.tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._key.close()

    def run(self, paths: Iterable[str | FileResult]) -> Generator[FileResult]:
        """Sign every file, many at once; return results in the order of ``paths``.

        Results among them are handed on.  They are to be asked for in the end: what was
        released is settled then.
        """
        found = tuple(paths)
        names = [one if isinstance(one, str) else one.path for one in found]
        tasks = [self._task(one) if isinstance(one, str) else settled(one) for one in found]
        copies = copies_for(len(tasks)) if self._may_be_copied else 0
        crew = Crew(names, tasks, copies, self._give_up)
        return self._destination.settled(crew.results())

    def _give_up(self) -> None:
        self._stamp.give_up()
        if isinstance(self._key, Waiting):
            self._key.give_up()

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
        if self._beside:
            return self._sign_beside(path, target, self._beside)
        if is_bundle_folder(path):
            return self._sign_folder(path, target)
        work = Work()

        def make(source: Source, companions: Companions) -> Source:
            if self.options.deep:
                source = self._inside_out(source, work)
            if self.options.deep and work.members and not _is_signable(source):
                work.format = "zip"
            else:
                form = signable(source)
                source = self._signed(form, source, companions, work)
                work.format, work.outer = form.name, True
            self._keep_receipts(path, work)
            return source

        def check(written: Source, companions: Companions) -> None:
            if work.outer:
                held = work.standing.held
                work.warnings |= dict.fromkeys(self._assessor.check(written, companions, held))

        work.standing = self._credential.standing
        put_in_place = prepare(path, target, self._destination, make, check)
        return lambda: self._result(path, work, put_in_place())

    def _sign_folder(self, path: str, target: str) -> Finish:
        """Sign a folder that is one piece of code, in a copy that takes its place."""
        work = Work(format=BUNDLE)
        work.standing = self._credential.standing
        real = os.path.realpath(path)

        def sign(form: Signable, source: Source) -> Source:
            return self._signed(form, source, MappedCompanions({}), work)

        def check(folder: str, name: str) -> None:
            found = self._assessor.check_folder(folder, name, work.standing.held)
            work.warnings |= dict.fromkeys(found)

        with ExitStack() as stack:
            out = self.options.out
            if out and not self.options.dry_run:
                make_folder(out)
            beside = out if out and not self.options.dry_run else os.path.dirname(real)  # noqa: PTH120
            before = snapshot(real)
            copy = stack.enter_context(working_copy(real, beside, linked=not out))
            signing = BundleSigning(self.options.existing, sign, check)
            signing(copy, path)
            work.members = signing.names
            self._keep_receipts(path, work)
            kept = stack.pop_all()

        def finish() -> FileResult:
            with kept:
                check_same(real, before)
                if not self.options.dry_run:
                    put_in_place(copy, target)
            return self._result(path, work, path if self.options.dry_run else target)

        return finish

    def _sign_beside(self, path: str, target: str, beside: Beside) -> Finish:
        """Sign a file of any kind: the signature becomes a file of its own beside it."""
        form = beside.form(None)
        work = Work(format=form.name)
        existing = self.options.existing
        if existing is Existing.NESTED:
            raise NotSignableError(path, "--nested", "one signature in a file beside it")
        if existing is Existing.REFUSE and os.path.exists(target):  # noqa: PTH110
            raise NotSignableError(path, f"a signature ({target})", "none",
                                   hint="--replace writes it anew")  # fmt: skip
        contents: list[Source] = []

        def make(source: Source, companions: Companions) -> Source:
            contents.append(source)
            result = self._signed(form, source, companions, work)
            self._keep_receipts(path, work)
            return result

        def check(written: Source, _companions: Companions) -> None:
            signature = written.read(0, written.length)
            judged = beside.form(signature)
            found = self._assessor.check_beside(contents[0], judged, work.standing.held)
            work.warnings |= dict.fromkeys(found)

        put_in_place = prepare(path, target, self._destination, make, check)
        return lambda: self._result(path, work, put_in_place())

    def _keep_receipts(self, path: str, work: Work) -> None:
        """Write receipts before the file is released: none is released without, if so asked."""
        if self._receipts and not self.options.dry_run:
            work.written = self._receipts.write(path, work.receipts)

    def _result(self, path: str, work: Work, output: str) -> FileResult:
        return FileResult(
            path=path,
            outcome="planned" if self.options.dry_run else "signed",
            format=work.format,
            output=output,
            members=tuple(work.members),
            signer=work.standing.name,
            algorithm=str(work.standing.signer.algorithm),
            warnings=tuple(work.warnings),
            receipts=work.written,
        )

    def _inside_out(self, source: Source, work: Work) -> Source:
        """Sign what a container holds; each member is assessed like a file of its own."""

        def sign(form: Signable, member: Source) -> Source:
            nothing = MappedCompanions({})
            signed = self._signed(form, member, nothing, work)
            warnings = self._assessor.check(signed, nothing, work.standing.held)
            work.warnings |= dict.fromkeys(warnings)
            return signed

        inside = InsideOut(self.options.existing, sign)
        result = inside(source)
        work.members = inside.names
        return result

    def _signed(self, form: Signable, source: Source, companions: Companions, work: Work) -> Source:
        """Let the format sign; begin again where the service changed its leaf meanwhile."""
        options = ParseOptions(extension=peek_at(source).extension, companions=companions)
        artifact = form.parse(source, options)
        for left in reversed(range(MAX_ROTATIONS)):
            standing = self._credential.standing
            profile = PROFILES[signing_profile(form, artifact, standing.signer)]
            standing.check_fitness(profile, self.at)
            request = self._request(form, artifact, options, standing)
            try:
                result, receipts, tokens = self._rounds(form, source, request, standing)
            except RotatedError:
                if not left:
                    raise
                self._credential.refresh(standing)
                continue
            work.standing = standing
            work.receipts += receipts
            if self.options.timestamps and not tokens:
                work.warnings[f"not timestamped: {form.name} has no place for it"] = None
            return result
        raise AssertionError("the loop returns or raises")

    def _rounds(
        self, form: Signable, source: Source, request: Request, standing: Standing
    ) -> tuple[Source, list[bytes], int]:
        """Return the signed file, the receipts, and how many timestamps went into it."""
        rounds, receipts, count = form.sign(source, request), [], 0
        purpose = self._purpose(form, source)
        try:
            draft = next(rounds)
            while True:
                signed = self._credential.sign_for(
                    standing, draft.to_be_signed, draft.algorithm, purpose
                )
                if signed.receipt:
                    receipts.append(signed.receipt)
                tokens = self._tokens(draft, signed)
                count += len(tokens)
                draft = rounds.send(draft.seal(signed.value, tokens))
        except StopIteration as finished:
            return Patched(source, finished.value), receipts, count

    def _purpose(self, form: Signable, source: Source) -> Callable[[], Purpose]:
        """Return what tells a key's holder what is signed; the file is read only if it is asked."""

        @cache
        def purpose() -> Purpose:
            hasher = hashlib.sha256()
            source.feed([(0, source.length)], [hasher])
            return Purpose(
                format=form.name,
                name=os.path.basename(source.name),  # noqa: PTH119 - strings, as everywhere here
                content=f"sha256:{hasher.hexdigest()}",
                timestamp=not self.options.timestamps,
            )

        return purpose

    def _tokens(self, draft: Draft, signed: Signed) -> tuple[bytes, ...]:
        """Return timestamps for a value: those that came with it, or asked for here.

        What came speaks of the value as the key made it; some envelopes' must speak of another.
        """
        subject = stamped(draft, signed.value)
        if subject is None:
            return ()
        if self.options.timestamps or subject != signed.value:
            return self._stamp(subject)
        for token in signed.tokens:
            self._stamp.check(token, subject)
        return signed.tokens

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
            options={name: v for name, v in self._given.items() if name in form.options},
            artifact=artifact,
        )


@dataclass(slots=True)
class Work:
    """What is known of a file under way; ``outer`` is whether it carries a signature itself."""

    standing: Standing = field(init=False)
    outer: bool = False
    format: str = ""
    members: list[str] = field(default_factory=list)
    receipts: list[bytes] = field(default_factory=list)
    written: tuple[str, ...] = ()
    warnings: dict[str, None] = field(default_factory=dict)


def settled(result: FileResult) -> Task:
    """Return the task that has a result already."""
    return lambda: lambda: result


def _with_files(options: Mapping[str, str]) -> Mapping[str, str]:
    """Return formats' options; those that name a file with the text in it, or octets as hex.

    Raises ``EvidenceError`` for a file that cannot be read, or holds no UTF-8.
    """
    octets = {name for form in all_formats() for name in octet_options(form)}
    given = {name: read_option(path).hex() for name, path in options.items() if name in octets}
    named = {name for form in all_formats() for name in file_options(form)} - octets
    texts = {name: read_option(path) for name, path in options.items() if name in named}
    try:
        return {**options, **given, **{name: text.decode() for name, text in texts.items()}}
    except UnicodeDecodeError:
        raise EvidenceError(f"--option {', '.join(texts)}: required a file of text") from None


def _is_signable(source: Source) -> bool:
    return as_signable(recognise(peek_at(source))) is not None
