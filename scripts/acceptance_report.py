"""What scripts/gpu_acceptance found, as a table, and whether it is what the project aims at."""

from __future__ import annotations

from typing import Any

from acceptance_subjects import RANDOM

TARGET_CANVAS = (800, 1344)
TARGETS = (  # what, the figure's name in the report, its limit, whether less is better
    ("ms a frame at batch 1", "ms_p50", 5.0, True),
    ("frames a second at batch 8", "frames_per_second", 400.0, False),
    ("times torchvision eager at batch 1", "times_eager", 8.0, False),
)


def targets(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each aim, the best runtime's figure, and whether that reaches it.

    Aims are for one model and canvas on a GPU; nothing else is judged.
    """
    part = report["models"].get(RANDOM, {})
    if "capability" not in report or tuple(part.get("canvas", ())) != TARGET_CANVAS:
        return []
    found = []
    for what, name, limit, less_is_better in TARGETS:
        if name == "frames_per_second" and not any(
            each.get("batch") == 8 for each in part["contenders"].values()
        ):
            continue
        have = {runtime: each[name] for runtime, each in part["contenders"].items() if name in each}
        best = (min if less_is_better else max)(have, key=have.__getitem__, default=None)
        measured = None if best is None else have[best]
        reached = measured is not None and (
            measured <= limit if less_is_better else measured >= limit
        )
        found.append(
            {
                "what": what,
                "limit": limit,
                "runtime": best,
                "measured": measured,
                "reached": reached,
            }
        )
    return found


def as_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    about = [report["device"]]
    if report.get("driver"):
        about.append(f"driver {report['driver']}")
    lines = [
        "# GPU acceptance",
        "",
        f"{', '.join(about)}, {report['date']}; {versions}. A large matrix product reaches "
        f"{report['peak_tflops']:.4g} TFLOP/s.",
    ]
    if "tests" in report:
        lines += ["", f"Tests marked gpu: {next(iter(report['tests'].values()))}"]
    for name, part in report["models"].items():
        if "contenders" in part:
            lines += ["", *_model(name, part, report["peak_tflops"])]
        if "failed" in part:
            lines += ["", f"**{name} failed**: {part['failed']}"]
    if report["targets"]:
        lines += ["", *_targets(report["targets"])]
    return "\n".join(lines) + "\n"


def _model(name: str, part: dict[str, Any], peak: float) -> list[str]:
    height, width = part["canvas"]
    lines = [
        f"## {name}, canvas {height}x{width}, {part['weights']} weights",
        "",
        f"{part['objects']:.1f} objects a frame, {part['gflops']:.1f} GFLOPs with their masks. "
        "From frames in the host's memory to ROI masks there; GPU ms by CUDA events; times eager "
        "is the median of rounds (least to greatest).",
        "",
        "| runtime | ms p50 | ms p99 | GPU ms | of peak | times eager | frames/s in batches | MB | "
        "objects found again |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        _row(f"torchvision {key}", part[key], part["gflops"], peak)
        for key in ("eager", "eager autocast fp16")
        if key in part
    ]
    for runtime, each in part["contenders"].items():
        told = each.get("skipped") or each.get("failed")
        if told:
            kind = "skipped" if "skipped" in each else "**failed**"
            lines.append(f"| {runtime} | {kind}: {told.replace('|', '/')} |" + " |" * 7)
        else:
            lines.append(_row(f"{runtime} {each['precision']}", each, part["gflops"], peak))
    return lines


def _row(title: str, each: dict[str, Any], gflops: float, peak: float) -> str:
    gpu = ", ".join(f"{name} {ms:.2f}" for name, ms in each["gpu_ms"].items()) or "-"
    share = gflops / each["ms_p50"] / peak  # GFLOPs in a millisecond are TFLOPs in a second
    times = "1"
    if "times_eager" in each:
        times = "{times_eager:.1f} ({times_eager_least:.1f} to {times_eager_most:.1f})".format(
            **each
        )
    memory = f"{each['memory_mb']:.0f}" if "memory_mb" in each else "-"
    return (
        f"| {title} | {each['ms_p50']:.2f} | {each['ms_p99']:.2f} | {gpu} | {share:.1%} | {times} "
        f"| {each['frames_per_second']:.1f} | {memory} | {_parity(each)} |"
    )


def _parity(each: dict[str, Any]) -> str:
    parity = each.get("parity")
    if parity is None:
        return "-"
    text = f"{parity['matched']} of {parity['expected']}"
    if parity["box_px_mean"] is not None:
        text += f", boxes off by {parity['box_px_mean']:.2f} px"
    if "gate" in parity:
        text += "; gate passed" if "passed" in parity["gate"] else "; gate skipped"
    return text


def _targets(found: list[dict[str, Any]]) -> list[str]:
    lines = ["| target | measured | |", "|---|---|---|"]
    for each in found:
        have = "nothing"
        if each["measured"] is not None:
            have = f"{each['measured']:.4g} ({each['runtime']})"
        verdict = "reached" if each["reached"] else "not reached"
        lines.append(f"| {each['limit']:g} {each['what']} | {have} | {verdict} |")
    return lines
