"""Our figures against pycocotools' own, which reads both sides from files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_pieces import Scene, Scenes, Told
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.data.samples import BACKGROUND
from models.detections import Detections
from models.evaluation.evaluate import evaluate
from models.evaluation.score import COCO_NAMES
from models.roi_masks import to_rle

SIZE = 320, 240  # (width, height) px
DATA_NAMES = (BACKGROUND, "cat", "dog", "fish")
MODEL_NAMES = ("dog", "fish", BACKGROUND, "cat")  # another order, so that names must be matched
PICTURES = 12
SEED = 7


def labelled(rng: np.random.Generator) -> Scene:
    """Up to seven ellipses of all sizes, now and then a crowd."""
    count = int(rng.integers(0, 8))
    sides = rng.uniform(8, 220, (count, 2)).round()
    corner = (rng.uniform(0, 1, (count, 2)) * np.maximum(np.array(SIZE) - sides, 1)).round()
    boxes = np.hstack([corner, np.minimum(corner + sides, SIZE)])
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    masks = [
        ((x - (x0 + x1) / 2) * 2 / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) * 2 / (y1 - y0)) ** 2 <= 1
        for x0, y0, x1, y1 in boxes
    ]
    return Scene(
        boxes=boxes.tolist(),
        labels=rng.integers(1, 4, count).tolist(),
        crowd=(rng.random(count) < 0.15).tolist(),
        masks=torch.from_numpy(np.array(masks, np.uint8).reshape(-1, SIZE[1], SIZE[0])),
    )


def found_in(scene: Scene, rng: np.random.Generator) -> Detections:
    """Most objects, jittered, sometimes of another class, and a few that are not there."""
    rows = [
        (np.array(box) + rng.normal(0, 5, 4), label if rng.random() < 0.85 else 1)
        for box, label in zip(scene.boxes, scene.labels or (), strict=True)
        for _ in range(int(rng.integers(0, 3)))
    ]
    rows += [(rng.uniform(0, 200, 4), int(rng.integers(1, 4))) for _ in range(3)]
    boxes = np.array([box for box, _ in rows])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 4)
    boxes = np.clip(boxes, 0, np.array(SIZE * 2))  # as every runtime clips to the frame
    order = np.argsort(-(scores := rng.uniform(0.05, 1, len(rows))))
    y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
    disc = (1.5 - (x**2 + y**2)) / 1.1
    masks = np.clip(disc + rng.normal(0, 0.1, (len(rows), 28, 28)), 0, 1)
    names = [DATA_NAMES[label] for _, label in rows]
    labels = np.array([MODEL_NAMES.index(name) for name in names], np.int64)
    return Detections(
        boxes=boxes[order].astype(np.float32),
        labels=labels[order],
        scores=scores[order].astype(np.float32),
        class_names=MODEL_NAMES,
        masks=masks[order].astype(np.float32),
    )


def truth_file(path: Path, scenes: list[Scene]) -> None:
    """COCO's category ids have gaps: 10 times our labels."""
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, 100):
        assert scene.masks is not None
        assert scene.labels is not None
        assert scene.crowd is not None
        for number, (x0, y0, x1, y1) in enumerate(scene.boxes):
            encoded = coco_mask.encode(np.asfortranarray(scene.masks[number].numpy()))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 10 * scene.labels[number],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(coco_mask.area(encoded)),
                    "segmentation": {**encoded, "counts": encoded["counts"].decode()},
                    "iscrowd": int(scene.crowd[number]),
                }
            )
    images = [{"id": 100 + n, "width": SIZE[0], "height": SIZE[1]} for n in range(len(scenes))]
    categories = [{"id": 10 * n, "name": name} for n, name in enumerate(DATA_NAMES) if n]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))


def results_file(path: Path, results: list[Detections], kind: str) -> None:
    rows = []
    for image_id, found in enumerate(results, 100):
        assert found.masks is not None
        for number, (x0, y0, x1, y1) in enumerate(found.boxes.tolist()):
            row: dict[str, Any] = {
                "image_id": image_id,
                "category_id": 10 * DATA_NAMES.index(MODEL_NAMES[found.labels[number]]),
                "score": float(found.scores[number]),
            }
            if kind == "box":
                row["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            else:
                row["segmentation"] = to_rle(found.masks[number], found.boxes[number], SIZE)
            rows.append(row)
    path.write_text(json.dumps(rows))


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_our_figures_are_those_of_pycocotools(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(SEED)
    scenes = [labelled(rng) for _ in range(PICTURES)]
    results = [found_in(scene, rng) for scene in scenes]
    truth_file(tmp_path / "truth.json", scenes)
    results_file(tmp_path / "results.json", results, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        reference = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), COCO_NAMES[kind])
        reference.evaluate()
        reference.accumulate()
        reference.summarize()

    ours = evaluate(
        Told(results, class_names=MODEL_NAMES),
        Scenes(scenes, class_names=DATA_NAMES, size=SIZE),
    )
    assert any(any(scene.crowd or ()) for scene in scenes)
    assert ours.crowds > 0
    figures = list(ours.scores[kind].table.values())
    assert len(figures) == 12
    assert None not in figures  # the fixture has small, medium and large objects
    assert figures == pytest.approx(reference.stats.tolist(), abs=1e-6)
    assert 0.1 < reference.stats[0] < 0.9  # and is neither perfect nor hopeless

    precision = reference.eval["precision"][:, :, :, 0, -1]
    for number, name in enumerate(DATA_NAMES[1:]):
        score = ours.scores[kind].classes[name]
        assert score.ap == pytest.approx(precision[:, :, number].mean(), abs=1e-6)
        assert score.ap50 == pytest.approx(precision[0, :, number].mean(), abs=1e-6)
    assert ours.scores[kind].precision50 == pytest.approx(precision[0].mean(axis=1), abs=1e-6)
    assert ours.scores[kind].precision75 == pytest.approx(precision[5].mean(axis=1), abs=1e-6)
