"""Pictures that FFmpeg's filters draw."""

from __future__ import annotations

import re

from stream.errors import RcnnLiveError, UsageError
from stream.redact import redact
from stream.sources.av_source import AvInput, AvSource
from stream.sources.options import SourceOptions

_REALTIME = re.compile(r"(?<![\w.])realtime(?![\w.])")


class Pattern(AvSource):
    """A filter graph with one video output, for example "testsrc2=size=640x480:rate=30".

    With the filter ``realtime`` in it, it is a live source.
    """

    def __init__(self, graph: str, *, options: SourceOptions) -> None:
        self._graph = graph
        super().__init__(
            AvInput(
                name=f"lavfi:{redact(graph)}",
                url=graph,
                format="lavfi",
                options=options.input_options,
                is_live=_REALTIME.search(graph) is not None,
            )
        )

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        detail = getattr(error, "strerror", None) or "it is not understood"
        return UsageError(
            f"FFmpeg cannot build the graph {redact(self._graph)}: {detail}; "
            "an example is lavfi:testsrc2=size=640x480:rate=30,realtime."
        )
