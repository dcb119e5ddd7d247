"""Everything that can go wrong, in one tree.

RcnnLiveError            exit 1
├── UsageError           exit 2: wrong option, unknown model, missing file, no display
├── ModelError           weights that are missing, damaged or of another model
├── DataError            labelled pictures that are unreadable or contradict themselves
├── SourceError          a source that cannot be opened or read
│   ├── SourceTimeout    it was silent for longer than its deadline
│   └── SourceDenied     it wants another user or another password
├── SinkError            an output that cannot be opened, written or finished
│   └── SinkDenied       it wants another user or another password
└── PipelineError        the pipeline broke a promise of its own: a lost frame
    └── ThreadLeftBehind a thread would not end in time
"""

from __future__ import annotations

from models.errors import DataError, ModelError, RcnnLiveError, UsageError


class SourceError(RcnnLiveError):
    """A source cannot be opened, or broke while it was read."""


class SourceTimeout(SourceError):
    """A source said nothing for longer than its deadline."""


class SourceDenied(SourceError):
    """A source wants another user or another password: asking again at once will not help."""


class SinkError(RcnnLiveError):
    """An output cannot be opened, written or finished."""


class SinkDenied(SinkError):
    """An output wants another user or another password: asking again at once will not help."""


class PipelineError(RcnnLiveError):
    """The pipeline broke one of its own promises."""


class ThreadLeftBehind(PipelineError):
    """A thread would not end in time and still runs: leave without tearing the process down."""


__all__ = [
    "DataError",
    "ModelError",
    "PipelineError",
    "RcnnLiveError",
    "SinkDenied",
    "SinkError",
    "SourceDenied",
    "SourceError",
    "SourceTimeout",
    "ThreadLeftBehind",
    "UsageError",
]
