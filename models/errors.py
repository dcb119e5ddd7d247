"""The root of every error this project raises on purpose.

The message of each is one sentence for the user: what was wrong, what is allowed, what to do.
``stream.errors`` draws the whole tree.
"""

from __future__ import annotations


class RcnnLiveError(Exception):
    """Something the user can be told about in one sentence.

    Attributes:
        exit_code: what the command line returns: 1 for a failure, 2 for wrong usage.
    """

    exit_code = 1


class UsageError(RcnnLiveError):
    """The request itself was wrong; nothing was tried."""

    exit_code = 2


class ModelError(RcnnLiveError):
    """A model or its weights could not be loaded, or do not fit each other."""


class DataError(RcnnLiveError):
    """Labelled pictures could not be read, or contradict themselves."""
