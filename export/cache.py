"""Exports that are made once and kept, so that a program can use them without being asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.files import files_of, make_folder, staging, write
from export.identity import file_digest, versions, weights_digest
from models.deploy.manifest import FORMAT, Form
from models.errors import ModelError
from models.paths import CACHE_VARIABLE
from models.paths import cache_folder as cache_folder  # where others look for it
from models.runtimes.gpu import find_gpu
from models.runtimes.heap import heap_as_before
from models.zoo import LoadedModel

DIGESTS = "sha256.json"  # of every file of an entry
PICTURES = 5
_MODELS = (".xml", ".onnx", ".pt2", ".engine")
# a change of these makes other files
_SOURCES = ("models/deploy/*.py", "models/soft_nms.py", "models/compact.py", "export/*.py")


def cached_export(
    loaded: LoadedModel,
    weights: Path | None,
    *,
    canvas: tuple[int, int],
    min_score: float,
    notice: Callable[[str], None],
    to: str = "openvino",
    batch: int | None = 1,
    precision: str = "fp32",
    form: Form = "split",
) -> Path:
    """An export, from the cache or made now and proven on the demo.

    Several processes may ask for the same one at once: the first to be done puts it there. An entry
    whose files are not what they were is made anew.

    Args:
        loaded: an R-CNN.
        weights: the file its weights are from, None for the zoo's own.
        canvas: (height, width) px.
        min_score: objects below are left out of the graph.
        notice: told in one sentence that it will take a while, and if it could not be proven.
        to: which kind of file, as ``export_model`` has it.
        batch: pictures at a time; None for any number.
        precision: as ``export_model`` has it, but for int8, which needs pictures.
        form: ``split``, or ``whole`` for GPUs.

    Returns:
        the file.

    Raises:
        UsageError: if the cache's folder takes no files.
        ModelError: if the model cannot be exported.
        ParityError: if the export is not equal to the original.
    """
    height, width = canvas
    settings = {
        "canvas": canvas,
        "min_score": min_score,
        "to": to,
        "batch": batch,
        "precision": precision,
        "form": form,
    }
    return _kept(
        f"{loaded.name}-{height}x{width}-{to}-{_key(loaded, weights, settings)}",
        lambda folder: _export(loaded, weights, folder=folder, notice=notice, **settings),
        lambda: notice(
            f"Preparing {loaded.name} for {width}x{height} px: this takes a minute or two, once "
            "for each size."
        ),
    )


def cached_engine(
    graph: Path, loaded: LoadedModel, *, device: str, notice: Callable[[str], None]
) -> Path:
    """A TensorRT engine for one picture at a time, from the cache or built now and proven there.

    Args:
        graph: of ``cached_export``, of the whole form: the engine is kept as long as it is the
            same, for each GPU and version of TensorRT.
        loaded: what that was made from.
        device: the GPU, as ``build_engine`` has it.
        notice: told in one sentence that it will take a while.

    Raises:
        ImportError: if TensorRT is not installed.
        UsageError: if there is no such GPU, or the cache's folder takes no files.
        ModelError: if TensorRT cannot build it.
        ParityError: if it is not equal to the original.
    """
    from export.tensorrt import build_engine
    from models.runtimes.tensorrt_package import VERSION

    gpu = find_gpu(device, "TensorRT")
    tied_to = json.dumps([gpu.name, gpu.capability, VERSION])

    def build(folder: Path) -> Path:
        engine = build_engine(graph, folder, batch=(1, 1, 1), device=device)
        _prove(engine, loaded, notice, device=device)
        return engine

    return _kept(
        f"{graph.parent.name}-tensorrt-{hashlib.sha256(tied_to.encode()).hexdigest()[:16]}",
        build,
        lambda: notice(
            f"Building a TensorRT {VERSION} engine for the {gpu.name}: this takes minutes, once "
            "for each size."
        ),
    )


def _kept(name: str, make: Callable[[Path], Path], announce: Callable[[], None]) -> Path:
    """The file of an entry of that name, made in a folder of its own if it is not there."""
    folder = make_folder(cache_folder(), CACHE_VARIABLE)
    entry = folder / name
    kept = _intact(entry)
    if kept is not None:
        return kept
    announce()
    with staging(folder) as made:
        new = made / "entry"
        new.mkdir()
        with heap_as_before():
            files = files_of(make(new))
        digests = {file.name: file_digest(file) for file in files}
        write(new / DIGESTS, json.dumps(digests).encode())
        return _put(new, entry)


def _export(
    loaded: LoadedModel,
    weights: Path | None,
    *,
    folder: Path,
    notice: Callable[[str], None],
    **settings: Any,
) -> Path:
    # the exporter takes seconds to import, which an entry that is there should not wait for
    from export.build import export_model

    path = export_model(loaded, weights, output=folder, **settings)
    _prove(path, loaded, notice)
    return path


def _prove(
    path: Path, loaded: LoadedModel, notice: Callable[[str], None], *, device: str | None = None
) -> None:
    """Compare a new file with the original, on the demo's photographs."""
    from export.frames import demo_frames
    from export.verify import ParityError, verify

    frames = demo_frames(PICTURES)
    proof = verify(path, loaded, frames, pictures="the demo's photographs", device=device)
    if proof.failure is not None and proof.compared:
        raise ParityError(proof.failure)
    if not proof.compared:  # such as a model of something else than people and things
        notice(
            f"{loaded.name} finds nothing in the demo's photographs, so {path.name} is not proven "
            "equal; 'rcnn-live export --verify VIDEO' does that with pictures of yours."
        )


def _key(loaded: LoadedModel, weights: Path | None, settings: dict[str, Any]) -> str:
    made_from = (loaded.name, weights_digest(loaded, weights), loaded.class_names)
    made_as = (sorted(settings.items()), versions(), FORMAT)
    digest = hashlib.sha256(json.dumps([made_from, made_as]).encode())
    root = Path(__file__).parents[1]
    for source in sorted(path for pattern in _SOURCES for path in root.glob(pattern)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _intact(entry: Path) -> Path | None:
    """The model of an entry whose files are all as they were written."""
    try:
        digests: dict[str, str] = json.loads((entry / DIGESTS).read_text(encoding="utf-8"))
        if any(file_digest(entry / name) != digest for name, digest in digests.items()):
            return None
        return next(entry / name for name in digests if Path(name).suffix in _MODELS)
    except (OSError, ValueError, AttributeError, StopIteration):
        return None


def _put(new: Path, entry: Path) -> Path:
    """Move a finished entry to its place, unless another process was first."""
    for attempt in range(3):
        with contextlib.suppress(OSError):  # there is one already
            new.rename(entry)
        if (kept := _intact(entry)) is not None:
            return kept
        with contextlib.suppress(OSError):  # damaged, and to be removed with the scratch folder
            entry.rename(new.with_name(f"damaged-{attempt}"))
    raise ModelError(f"The cache's {entry} cannot be replaced: remove it.")
