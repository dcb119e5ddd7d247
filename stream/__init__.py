"""Live video in, annotated video and events out: sources, pipeline, render, sinks, command line.

``from stream import open_pipeline`` is all that a program needs; ``stream.api`` explains it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.api import DetectionStream, open_pipeline

__all__ = ["DetectionStream", "open_pipeline"]


def __getattr__(name: str) -> Any:
    """Import what a program uses when it uses it: torch takes seconds, and --help must not."""
    if name in __all__:
        from stream import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
