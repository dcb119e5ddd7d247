"""``rcnn-live export``: make a file for another runtime, and prove that it is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from models.errors import UsageError
from models.options import FILE

if TYPE_CHECKING:  # torch takes seconds to import: --help and usage errors should not wait for it
    from models.data.samples import LabelledPictures
    from models.letterbox import Image
    from models.zoo import LoadedModel

CALIBRATION_PICTURES = 32
LARGEST_BATCH = 64  # export.traced's, without its import
LARGEST_SIDE = 4096
DYNAMIC = "dynamic"
TENSORRT = "tensorrt"
SMALLEST_SIDE = 32


class _CanvasType(click.ParamType[Any]):
    name = "HEIGHTxWIDTH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)[xX](\d+)", str(value))
        sides = [int(side) for side in found.groups()] if found else []
        if not sides or not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides):
            self.fail(
                f"{value!r} is no canvas: give HEIGHTxWIDTH, each {SMALLEST_SIDE} to "
                f"{LARGEST_SIDE} px, such as 480x640."
            )
        return sides[0], sides[1]


class _BatchType(click.ParamType[Any]):
    name = "N|dynamic|MIN:OPT:MAX"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str | tuple[int, ...]:
        text = str(value)
        if text == DYNAMIC:
            return text
        sizes = tuple(int(part) if part.isdecimal() else 0 for part in text.split(":"))
        if len(sizes) not in (1, 3) or list(sizes) != sorted(sizes):
            self.fail(f"{value!r} is no batch: give N, 'dynamic', or MIN:OPT:MAX such as 1:4:8.")
        if not 1 <= sizes[0] <= sizes[-1] <= LARGEST_BATCH:
            self.fail(f"{value!r} is no batch: give 1 to {LARGEST_BATCH}, or 'dynamic'.")
        return sizes[0] if len(sizes) == 1 else sizes


@click.command("export")
@click.argument("model", default="mask_rcnn_person")
@click.option(
    "--to",
    type=click.Choice(["onnx", "openvino", "pt2", TENSORRT]),
    default="onnx",
    show_default=True,
    help="ONNX, OpenVINO's .xml, PyTorch's .pt2, or TensorRT's .engine for the GPU that is here.",
)
@click.option("--canvas", type=_CanvasType(), help="Size in px of the pictures it takes.")
@click.option("--like", type=FILE, metavar="VIDEO", help="Canvas as the model's own for this clip.")
@click.option(
    "--batch",
    type=_BatchType(),
    default=1,
    show_default=True,
    help="Pictures at a time; TensorRT takes fewest, usual and most.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp32",
    show_default=True,
)
@click.option("--weights", type=FILE, help="Local .safetensors or .pth file for the model.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    show_default=True,
    help="Objects the model is less sure of are left out of the graph.",
)
@click.option(
    "--calibrate",
    type=FILE,
    metavar="VIDEO|FOLDER|demo",
    help="Frames to measure activations on, for int8.",
)
@click.option(
    "--verify",
    type=FILE,
    metavar="VIDEO|FOLDER|demo",
    default=Path("demo"),
    show_default=True,
    help="Frames to compare original and export on.",
)
@click.option("--labels", type=FILE, metavar="DATA", help="Labelled set to compare AP@0.5 on.")
@click.option(
    "--workspace",
    type=click.IntRange(1),
    metavar="MB",
    help="Most memory that one TensorRT layer may use beside its results [default: half of what "
    "is free].",
)
@click.option(
    "--builder-level",
    type=click.IntRange(0, 5),
    help="How long TensorRT searches for fast kernels [default: 3].",
)
@click.option(
    "-o", "--output", type=FILE, default=Path("exported"), show_default=True, help="Folder."
)
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def export(quiet: bool, **flags: Any) -> None:
    """Export MODEL as one static graph, with boxes, masks and keypoints, for another runtime.

    The export is compared with the original on real frames and on an empty one; if it differs by
    more than its precision may, it is renamed to .rejected and the command fails.
    """
    _check(flags)
    from export.build import check_is_rcnn, check_precision
    from export.files import REJECTED, make_folder, publish, staging
    from export.table import print_proof
    from export.verify import ParityError, verify
    from models import zoo

    check_precision(flags["to"], flags["precision"])
    check_is_rcnn(flags["model"])
    if flags["to"] == TENSORRT:
        _check_tensorrt()
    frames, calibrate, labelled = _pictures(flags)
    output = make_folder(flags["output"], "--output")
    console, notes = Console(quiet=quiet), Console(stderr=True, quiet=quiet)
    loaded = zoo.load(flags["model"], flags["weights"])
    canvas = flags["canvas"] or _canvas_like(flags["like"], loaded)
    notes.print(
        f"Exporting {loaded.name} at {canvas[0]}x{canvas[1]} px: this takes a minute or two.",
        highlight=False,
    )
    with staging(output) as folder:
        path = _made(flags, loaded, canvas, calibrate, folder, notes)
        pictures = f"{len(frames)} frames of {flags['verify'].name}"
        proof = verify(path, loaded, frames, pictures=pictures, labelled=labelled)
        print_proof(proof, path.name, console)
        placed = publish(path, output, REJECTED if proof.failure else "")
    if proof.failure:
        raise ParityError(f"{proof.failure} It was renamed to {placed}.")
    size = placed.stat().st_size / 1e6
    console.print(f"{placed}: {size:.1f} MB", highlight=False, markup=False, soft_wrap=True)


def _check(flags: dict[str, Any]) -> None:
    if (flags["canvas"] is None) == (flags["like"] is None):
        raise UsageError("Give either --canvas HEIGHTxWIDTH or --like VIDEO.")
    if flags["precision"] == "int8" and flags["calibrate"] is None:
        raise UsageError("int8 is measured on pictures: give --calibrate VIDEO|FOLDER|demo.")
    if flags["precision"] != "int8" and flags["calibrate"] is not None:
        raise UsageError("--calibrate is for --precision int8 only: leave it out.")
    if flags["to"] == TENSORRT:
        if flags["batch"] == DYNAMIC:
            raise UsageError("TensorRT wants to know the batch: give --batch MIN:OPT:MAX.")
        return
    if isinstance(flags["batch"], tuple):
        raise UsageError("--batch MIN:OPT:MAX is for --to tensorrt: give N or 'dynamic'.")
    for name in ("workspace", "builder_level"):
        if flags[name] is not None:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for --to tensorrt only: leave it out.")


def _check_tensorrt() -> None:
    """Before a minute is spent on the graph."""
    from models.runtimes.gpu import find_gpu

    find_gpu("auto", "TensorRT")
    try:
        import export.tensorrt  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"TensorRT is not installed here ({error}): 'pip install tensorrt', or use another "
            "--to."
        ) from error


def _made(
    flags: dict[str, Any],
    loaded: LoadedModel,
    canvas: tuple[int, int],
    calibrate: list[Image],
    folder: Path,
    notes: Console,
) -> Path:
    """The export, in a folder that nobody sees yet."""
    settings = {
        "canvas": canvas,
        "output": folder,
        "precision": flags["precision"],
        "min_score": flags["min_score"],
        "calibrate": calibrate,
    }
    batch = flags["batch"]
    if flags["to"] != TENSORRT:
        from export.build import export_model

        settings |= {"to": flags["to"], "batch": None if batch == DYNAMIC else batch}
        return export_model(loaded, flags["weights"], **settings)
    from export.tensorrt import LEVEL, export_engine

    return export_engine(
        loaded,
        flags["weights"],
        batch=batch if isinstance(batch, tuple) else (batch,) * 3,
        workspace_mb=flags["workspace"],
        level=LEVEL if flags["builder_level"] is None else flags["builder_level"],
        console=notes,
        **settings,
    )


def _pictures(
    flags: dict[str, Any],
) -> tuple[list[Image], list[Image], LabelledPictures | None]:
    """Frames to prove with, to calibrate with, and labelled pictures, where they are asked for."""
    from export.frames import CALIBRATION_PHASE, PROOF_PHASE, load_frames
    from export.verify import PICTURES
    from models.data.open import open_data

    frames = load_frames(flags["verify"], PICTURES, phase=PROOF_PHASE, option="--verify")
    calibrate, labelled = [], None
    if flags["calibrate"] is not None:
        calibrate = load_frames(
            flags["calibrate"],
            CALIBRATION_PICTURES,
            phase=CALIBRATION_PHASE,
            option="--calibrate",
        )
        calibrate = _others(calibrate, frames)
    if flags["labels"] is not None:
        parts = open_data(flags["labels"], keypoints="keypoint" in flags["model"])
        labelled = parts.part("val")
        if len(labelled) == 0:
            labelled = parts.part("all")
    return frames, calibrate, labelled


def _others(calibrate: list[Image], frames: list[Image]) -> list[Image]:
    """The frames to calibrate with that are none of those to prove with.

    Raises:
        UsageError: if there are none.
    """
    proving = {(frame.shape, frame.tobytes()) for frame in frames}
    others = [frame for frame in calibrate if (frame.shape, frame.tobytes()) not in proving]
    if not others:
        raise UsageError(
            "--calibrate has no picture that --verify does not show as well, and an export is "
            "proven on others than it was made with: give one of them other pictures."
        )
    return others


def _canvas_like(video: Path, loaded: LoadedModel) -> tuple[int, int]:
    """(height, width) px that torchvision's own resize gives the frames of a clip."""
    from export.frames import frame_size
    from models.letterbox import Letterbox

    own: Any = loaded.module.transform
    letterbox = Letterbox.by_sides(
        frame_size(video, "--like"), min_side=own.min_size[-1], max_side=own.max_size
    )
    width, height = letterbox.resized_size
    return height, width
