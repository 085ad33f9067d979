"""What can be wrong with a log that is otherwise well formed.

::

    LogFaultError
    ├── NotSignedError     nobody we asked for vouches for a checkpoint
    ├── NotIncludedError   an entry is not in the tree, or another stands there
    ├── RollbackError      the log is smaller than it was
    └── ForkError          what the log held before is not what it holds now
"""

from __future__ import annotations

from signward.errors import AuthorityError


class LogFaultError(AuthorityError):
    """A log does not keep its word."""


class NotSignedError(LogFaultError):
    """A checkpoint lacks a signature that is required, or carries one that does not fit."""


class NotIncludedError(LogFaultError):
    """A proof or a tile does not lead from what was given to the checkpoint's root."""


class RollbackError(LogFaultError):
    """The log is smaller than an earlier checkpoint said."""


class ForkError(LogFaultError):
    """Two checkpoints of one log cannot both be true."""
