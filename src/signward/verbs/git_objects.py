"""Commits and tags in repositories of git, by the names of revisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from signward.errors import BadInputError, EvidenceError
from signward.formats.git_object import GitObjectFormat
from signward.state import Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess_as
from signward.wire.git_store import Repository
from signward.wire.source import BytesSource


def assess_revisions(path: str, revisions: Sequence[str], context: Context) -> Iterator[Verdict]:
    """Yield the verdict on each revision's commit or tag, which must be what it is called.

    Raises ``EvidenceError`` for a repository or an object that cannot be read, and for a revision
    that is neither.
    """
    try:
        with Repository(path) as repository:
            for revision in revisions:
                yield _assessed(repository, revision, context)
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}, required a repository to read") from None


def _assessed(repository: Repository, revision: str, context: Context) -> Verdict:
    try:
        found = repository.find(revision)
    except BadInputError as error:
        raise EvidenceError(f"{repository.name}: {revision}: {error}") from None
    if found.kind not in ("commit", "tag"):
        raise EvidenceError(f"{repository.name}: {revision}: found a {found.kind}, required a "
                            "commit or a tag")  # fmt: skip
    source = BytesSource(f"{repository.name}:{revision}", found.data)
    return assess_as(GitObjectFormat(found.name, found.tag), source, context)
