"""The small display in the corner of the picture."""

from __future__ import annotations

from stream.ledger import Ledger
from stream.metrics import Meter


def hud_lines(meter: Meter, ledger: Ledger, *, reconnects: int = 0, name: str = "") -> list[str]:
    """What it says now; ``name`` is that of one camera among others."""
    dropped = sum(ledger.counts().dropped.values())
    return [
        f"{name}  {meter.rates()[1]:.1f} FPS".lstrip(),
        f"latency {meter.recent_ms('total'):.0f} ms, model {meter.recent_ms('model'):.0f} ms",
        f"{dropped} dropped",
        *([f"reconnected {reconnects} times"] if reconnects else []),
    ]
