"""The account of a whole run, for a file and for the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.runtimes.base import Runtime
from stream.errors import SinkError
from stream.pipeline import Pipeline


def summarize(pipeline: Pipeline, runtime: Runtime, source: str) -> dict[str, Any]:
    """The figures of a run that has ended.

    Args:
        pipeline: that has ended.
        runtime: that ran in it.
        source: name of the source, free of credentials.

    Returns:
        JSON-ready: ``model``, ``runtime``, ``device``, ``precision``, ``source``, ``policy``,
        ``frames``, ``fps``, ``latency_ms`` and ``detections``.
    """
    counts = pipeline.ledger.counts()
    return {
        "model": runtime.model_name,
        "runtime": runtime.name,
        "device": runtime.device,
        "precision": runtime.precision,
        "source": source,
        "policy": None if pipeline.policy is None else pipeline.policy.value,
        "frames": {
            "captured": counts.captured,
            "emitted": counts.emitted,
            "dropped": counts.dropped_by_reason(),
            "dropped_before": counts.dropped_by_stage(),
            "failed": counts.failed,
        },
        "fps": round(pipeline.meter.mean_rate(), 3),
        "latency_ms": {
            stage: {name: round(value, 3) for name, value in asdict(latency).items()}
            for stage, latency in pipeline.meter.latency().items()
        },
        "detections": pipeline.meter.objects,
    }


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write it as JSON, wholly or not at all.

    Raises:
        SinkError: if the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SinkError(f"--summary {path} cannot be written: {error.strerror}.") from error


def sentence(summary: dict[str, Any]) -> str:
    """The summary in one line."""
    frames, latency = summary["frames"], summary["latency_ms"].get("total")
    dropped = sum(frames["dropped"].values())
    text = (
        f"{frames['emitted']} of {frames['captured']} frames, {dropped} dropped, "
        f"{summary['detections']} objects, {summary['fps']:.1f} FPS"
    )
    if latency is not None:
        text += f", latency p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return text
