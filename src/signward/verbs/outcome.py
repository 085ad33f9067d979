"""What became of one file that was to be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from signward.errors import BadInputError, SigningError, SignwardError, UnreadableError
from signward.frozen import Frozen


class FileResult(Frozen, frozen=True, kw_only=True):
    """The outcome for one file.

    ``outcome`` is ``signed``, ``stamped``, ``stripped``, ``hashed`` (a digest that nobody
    signed), ``kept`` (signed so already), ``planned`` (a dry run) or ``failed``; ``problem`` and
    ``hint`` say why it failed, ``warnings`` what a verifier may object to.  ``output`` is where
    the result stands, ``receipts`` where the log's are.
    """

    path: str
    outcome: str
    format: str = ""
    output: str = ""
    members: tuple[str, ...] = ()
    signer: str = ""
    algorithm: str = ""
    problem: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()
    receipts: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the file is as it was because something went wrong."""
        return self.outcome == "failed"


T = TypeVar("T")


def caught(path: str, work: Callable[[], T]) -> T | FileResult:
    """Return what ``work`` returns, or why it could not: a file's fault stays the file's."""
    try:
        return work()
    except SigningError as error:
        subject = "" if error.subject == path else f"{error.subject}: "
        problem = f"{subject}found {error.found}, required {error.required}"
        return FileResult(path=path, outcome="failed", problem=problem, hint=error.hint)
    except (BadInputError, UnreadableError) as error:
        problem, _, hint = str(error.finding).partition("\nhint: ")
        return FileResult(path=path, outcome="failed", problem=problem, hint=hint)
    except SignwardError as error:
        return FileResult(path=path, outcome="failed", problem=str(error))
    except RecursionError:
        return FileResult(path=path, outcome="failed", problem="structures nested too deeply")
