"""Signing whole trees into ``security.ima``: the attribute of each file, never its bytes.

What is there is kept where it is one's own and fits, so that a run which was ended begins where
it stopped.  Setting an attribute is one step of the kernel's: a file has the old value or the new.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterable, Iterator

from signward.errors import BadInputError, EvidenceError, NotSignableError, SigningError
from signward.findings import Code, Effect
from signward.formats import Existing
from signward.formats._ima import ImaFormat, key_id_of
from signward.inventory.walk import Folder, Trouble, join, unreadable, walk_folders
from signward.state import Source
from signward.verbs.crew import Crew, Finish, Task, copies_for
from signward.verbs.outcome import FileResult, caught
from signward.verbs.sign import Signatory, SignOptions, Work, settled
from signward.wire import ima
from signward.wire.companions import MappedCompanions
from signward.wire.source import FileSource, open_source, whole_digest
from signward.wire.verity import Parameters

KEPT = "kept"
"""The outcome for a file that has the very value which would be written."""

_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})

Found = str | FileResult
"""A file to sign, or why what is at a path is none."""


def files_below(roots: Iterable[str]) -> Iterator[Found]:
    """Yield every regular file below the roots, once whatever its names, and what was not read."""
    seen: set[tuple[int, int]] = set()
    for item in walk_folders(tuple(roots)):
        if not isinstance(item, Folder):
            yield from (item,) if isinstance(item, str) else _told(item)
            continue
        for entry in item.items:
            if isinstance(entry, Trouble):
                special = entry.finding.code is Code.NOT_A_FILE  # it has no content to sign
                yield from () if special else _told(entry)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:  # gone since the folder was read
                yield from _told(unreadable(join(item.path, entry.name), error))
                continue
            one = status.st_dev, status.st_ino
            if status.st_nlink > 1 and one in seen:
                continue
            seen |= {one} if status.st_nlink > 1 else set()
            yield join(item.path, entry.name)


def _told(trouble: Trouble) -> Iterator[FileResult]:
    """Yield what went wrong; what a walk leaves out by its own rules is nothing wrong."""
    if trouble.finding.effect is not Effect.NOTE:
        problem, _, hint = str(trouble.finding).partition("\nhint: ")
        yield FileResult(path=trouble.path, outcome="failed", problem=problem, hint=hint)


class AttributeSignatory(Signatory):
    """Signs files into their attribute.

    ``version`` is that of the signatures; with ``tree`` they are over fs-verity digests.
    """

    def __init__(
        self,
        options: SignOptions,
        version: int = 2,
        tree: Parameters | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if options.existing is Existing.NESTED:
            raise EvidenceError("--nested: an attribute holds one signature, required --replace")
        self._version, self._tree = 3 if tree else version, tree
        super().__init__(options, tell)

    def _task(self, path: str) -> Task:
        return _at_once(path, lambda: self._attach(path))

    def _attach(self, path: str) -> FileResult:
        work = Work(format="ima")
        work.standing = self._credential.standing
        with open_source(path) as source:
            present = source.attribute(ima.ATTRIBUTE)
            if ima.is_signature(present):
                if self._is_same(source, present, work):
                    return _kept(path, "ima")
                if self.options.existing is Existing.REFUSE:
                    raise _taken(path)
            patched = self._signed(self._form(None), source, _NOBODY, work)
            value = patched.read(0, patched.length)
            source.check_unchanged()
            held = work.standing.held
            found = self._assessor.check_beside(source, self._form(value), held)
            work.warnings |= dict.fromkeys(found)
            self._keep_receipts(path, work)
            if not self.options.dry_run:
                _set(source, value)
        return self._result(path, work, path)

    def _form(self, value: bytes | None) -> ImaFormat:
        return ImaFormat(value, version=self._version, tree=self._tree)

    def _is_same(self, source: Source, present: bytes, work: Work) -> bool:
        """Say whether a value is one that this key would write for this very content."""
        signer = work.standing.signer
        try:
            value = ima.read_value(present)
        except BadInputError:
            return False
        if not isinstance(value, ima.Signed):
            return False
        kind = ima.VERITY if self._tree else ima.SIGNATURE
        own = kind, self._version, signer.digest, key_id_of(signer.certificates[0])
        if (value.kind, value.version, value.algorithm, value.key_id) != own:
            return False
        try:
            self._assessor.check_beside(source, self._form(present), work.standing.held)
        except SigningError:
            return False
        return True


class Hasher:
    """Writes digests into attributes, without any key: what changes is noticed, and no more."""

    def __init__(self, digest: str, *, replace: bool = False, dry_run: bool = False) -> None:
        self._digest, self._replace, self._dry_run = digest, replace, dry_run

    def run(self, paths: Iterable[Found]) -> Generator[FileResult]:
        """Give every file its digest; return results in the order of ``paths``."""
        found = tuple(paths)
        names = [one if isinstance(one, str) else one.path for one in found]
        tasks = [self._task(one) if isinstance(one, str) else settled(one) for one in found]
        yield from Crew(names, tasks, copies_for(len(tasks))).results()

    def _task(self, path: str) -> Task:
        return _at_once(path, lambda: self._attach(path))

    def _attach(self, path: str) -> FileResult:
        with open_source(path) as source:
            present = source.attribute(ima.ATTRIBUTE)
            if ima.is_signature(present) and not self._replace:
                raise _taken(path)
            value = ima.write_digest(self._digest, whole_digest(source, self._digest))
            if value == present:
                return _kept(path, "ima digest")
            source.check_unchanged()
            if not self._dry_run:
                _set(source, value)
        outcome = "planned" if self._dry_run else "hashed"
        return FileResult(path=path, outcome=outcome, format="ima digest", output=path)


_NOBODY = MappedCompanions({})


def _at_once(path: str, work: Callable[[], FileResult]) -> Task:
    """Return a task without a second half: nothing waits for a disk."""

    def begin() -> Finish:
        done = caught(path, work)
        return lambda: done

    return begin


def _kept(path: str, form: str) -> FileResult:
    return FileResult(path=path, outcome=KEPT, format=form, output=path)


def _taken(path: str) -> NotSignableError:
    return NotSignableError(path, "a signature in security.ima, by another key or of other content",
                            "none", hint="--replace puts the new one in its place")  # fmt: skip


def _set(source: FileSource, value: bytes) -> None:
    """Set the attribute.  Raises ``SigningError`` where the system will not."""
    try:
        source.set_attribute(ima.ATTRIBUTE, value)
    except PermissionError:
        raise SigningError(
            source.name, "no permission to set security.ima", "root's (CAP_SYS_ADMIN)",
            hint="run as root, or write signatures beside files: --ima-sigfile",
        ) from None  # fmt: skip
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        if error.errno in _NO_ATTRIBUTES:
            found = "a file system without security attributes"
        raise SigningError(
            source.name, found, "one that keeps security.ima",
            hint="write signatures beside files: --ima-sigfile",
        ) from None  # fmt: skip
