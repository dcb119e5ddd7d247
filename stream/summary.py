"""The account of a whole run, for a file and for the terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.runtimes.base import Runtime
from stream.errors import SinkError
from stream.ledger import Ledger
from stream.metrics import Latency, Meter
from stream.monitor.outputs import OutputCounts
from stream.pipeline import Pipeline


def summarize(pipeline: Pipeline, runtime: Runtime, source: str) -> dict[str, Any]:
    """The figures of a run that has ended.

    Args:
        pipeline: that has ended.
        runtime: that ran in it.
        source: name of the source, free of credentials.

    Returns:
        JSON-ready: ``model``, ``runtime``, ``device``, ``precision``, ``source``, ``policy``,
        ``reconnects``, ``corrupt_packets`` and all of ``figures``; where events were delivered
        also ``deliveries``: ``to`` and all of ``OutboxStatistics`` of each; where it was published
        ``publications``: ``to`` and all of ``PublishStatistics`` of each; with zones or lines
        their counts as ``zones`` and ``lines``; with a recording ``recording``: all of
        ``RecordingStatistics``, and with clips ``clips``: all of ``ClipStatistics``.
    """
    outputs = OutputCounts.of(pipeline.sinks)
    deliveries = [{"to": name, **asdict(counts)} for name, counts in outputs.deliveries.items()]
    published = [{"to": name, **asdict(counts)} for name, counts in outputs.publications.items()]
    recording, clips = outputs.recording, outputs.clips
    return {
        "model": runtime.model_name,
        "runtime": runtime.name,
        "device": runtime.device,
        "precision": runtime.precision,
        "source": source,
        "policy": None if pipeline.policy is None else pipeline.policy.value,
        **figures(pipeline.ledger, pipeline.meter),
        "reconnects": pipeline.status.reconnects,
        "corrupt_packets": pipeline.corrupt_packets,
        **({"deliveries": deliveries} if deliveries else {}),
        **({} if recording is None else {"recording": asdict(recording)}),
        **({"publications": published} if published else {}),
        **({} if clips is None else {"clips": asdict(clips)}),
        **({} if (counts := pipeline.zone_counts()) is None else counts.as_json()),
    }


def figures(ledger: Ledger, meter: Meter) -> dict[str, Any]:
    """What was counted and measured: ``frames``, ``fps``, ``latency_ms`` and ``detections``.

    Where a GPU computed also ``gpu_ms``: of each step there, by its own clock.
    """
    counts = ledger.counts()
    return {
        "frames": {
            "captured": counts.captured,
            "emitted": counts.emitted,
            "dropped": counts.dropped_by_reason(),
            "dropped_before": counts.dropped_by_stage(),
            "failed": counts.failed,
        },
        "fps": round(meter.mean_rate(), 3),
        "latency_ms": _percentiles(meter.latency()),
        **({"gpu_ms": on_gpu} if (on_gpu := _percentiles(meter.gpu_latency())) else {}),
        "detections": meter.objects,
    }


def _percentiles(latencies: Mapping[str, Latency]) -> dict[str, dict[str, float]]:
    return {
        stage: {name: round(value, 3) for name, value in asdict(latency).items()}
        for stage, latency in latencies.items()
    }


def in_total(cameras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of several cameras' ``figures``; latencies have none."""
    frames: dict[str, Any] = {
        name: sum(camera["frames"][name] for camera in cameras)
        for name in ("captured", "emitted", "failed")
    }
    for name in ("dropped", "dropped_before"):
        summed: Counter[str] = Counter()
        for camera in cameras:
            summed.update(camera["frames"][name])
        frames[name] = dict(summed)
    return {
        "frames": frames,
        "fps": round(sum(camera["fps"] for camera in cameras), 3),
        "detections": sum(camera["detections"] for camera in cameras),
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
    frames, latency = summary["frames"], summary.get("latency_ms", {}).get("total")
    dropped = sum(frames["dropped"].values())
    text = (
        f"{frames['emitted']} of {frames['captured']} frames, {dropped} dropped, "
        f"{summary['detections']} objects, {summary['fps']:.1f} FPS"
    )
    if summary.get("reconnects"):
        text += f", reconnected {summary['reconnects']} times"
    if (recording := summary.get("recording")) is not None:
        missing = recording["dropped"] + recording["unrecorded"]
        text += f", {missing} not recorded" if missing else ""
        text += "" if recording["is_going"] else ", the recording had stopped"
    if (clips := summary.get("clips")) is not None:
        text += f", clips: {clips['written']}"
        text += f" and {clips['lost']} lost" if clips["lost"] else ""
    for one in summary.get("publications", ()):
        text += f", {one['to']} {one['state']} with {one['sent']} frames sent"
        text += f", {one['dropped']} dropped" if one["dropped"] else ""
        text += f", {one['reconnects']} reconnects" if one["reconnects"] else ""
    if latency is not None:
        text += f", latency p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return text
