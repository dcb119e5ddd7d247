"""All that is known of a camera at one moment, for tables, metrics and health pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.bounded_queue import QueueStatistics
from stream.ledger import Ledger, LedgerCounts
from stream.monitor.ages import AgeMeter, Ages
from stream.monitor.outputs import OutputCounts
from stream.pipeline import Pipeline
from stream.sources.status import SourceState
from stream.zone_counts import Counts

# Of a camera whose pipeline does not run; while it does, its state is that of its source.
STARTING, RESTARTING = "starting", "restarting"
ENDED, FAILED, STOPPED = "ended", "failed", "stopped"
LIVE = SourceState.LIVE.value

READY = (LIVE, ENDED)  # nobody has to look after it
STATES = tuple(
    dict.fromkeys(
        (STARTING, *(state.value for state in SourceState), RESTARTING, ENDED, FAILED, STOPPED)
    )
)


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """Where a camera stands.

    Attributes:
        state: one of ``STATES``: a ``SourceState`` while its pipeline runs; else ``starting``,
            ``restarting`` after a failure, ``ended`` (a file is through), ``failed`` (its settings
            are wrong) or ``stopped``.
        reason: one sentence without credentials if it is not live, or empty.
        attempt: number of the attempt to connect, 0 while it is live.
    """

    state: str
    reason: str = ""
    attempt: int = 0


@dataclass(slots=True)
class Accounts:
    """What is counted of a camera for as long as the program runs, its settings changed or not.

    Attributes:
        restarts: of the pipeline, after failures.
        reconnects: of the source, in all pipelines.
        corrupt_packets: of the source, in all pipelines that have ended.
    """

    ledger: Ledger = field(default_factory=Ledger)
    meter: AgeMeter = field(default_factory=AgeMeter)
    restarts: int = 0
    reconnects: int = 0
    corrupt_packets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSnapshot:
    """All figures of a camera.

    Attributes:
        rates: recent frames per second, captured and emitted; 0 while it is not live.
        restarts: see ``Accounts``.
        reconnects: see there.
        corrupt_packets: of the source, damaged, that gave no picture.
        outputs: how recording and deliveries fare.
        zones: who is in zones and has crossed lines, since the pipeline began; None without.
    """

    name: str
    status: CameraStatus
    counts: LedgerCounts
    rates: tuple[float, float]
    ages: Ages
    objects: int
    queues: dict[str, QueueStatistics]
    restarts: int
    reconnects: int
    corrupt_packets: int
    outputs: OutputCounts
    zones: Counts | None = None

    @classmethod
    def of(
        cls, name: str, status: CameraStatus, accounts: Accounts, pipeline: Pipeline | None
    ) -> CameraSnapshot:
        """Of a camera whose pipeline, if it has one now, keeps these accounts."""
        meter = accounts.meter
        corrupt_now = 0 if pipeline is None else pipeline.corrupt_packets
        return cls(
            name=name,
            status=status,
            counts=accounts.ledger.counts(),
            rates=meter.rates() if status.state == LIVE else (0.0, 0.0),
            ages=meter.ages(),
            objects=meter.objects,
            queues={} if pipeline is None else pipeline.queue_statistics(),
            restarts=accounts.restarts,
            reconnects=accounts.reconnects,
            corrupt_packets=accounts.corrupt_packets + corrupt_now,
            outputs=OutputCounts.of(() if pipeline is None else pipeline.sinks),
            zones=None if pipeline is None else pipeline.zone_counts(),
        )


def status_of(pipeline: Pipeline) -> CameraStatus:
    """Of a running pipeline's source."""
    status = pipeline.status
    return CameraStatus(status.state.value, status.reason, status.attempt)
