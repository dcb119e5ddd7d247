"""``rcnn-live lineage``: trains or loads, measures, tells and shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pieces import Run
from torch import Tensor

from models.data.open import open_data
from models.data.samples import LabelledPictures, as_image
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import STEPS, Budget, Lineage, Stopwatch
from models.lineage.exhibits import exhibits
from models.lineage.faster_rcnn import FasterRCNN
from models.lineage.mask_rcnn import MaskRCNN
from models.lineage.measure import Measured, measure, story
from models.lineage.report import HEADINGS, render_report, rows
from models.shapes.world import CLASS_NAMES

DATA = "shapes:size=96x72,train=3,validation=2"

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def pictures() -> LabelledPictures:
    return open_data(Path(DATA)).validation


class Oracle(Lineage):
    """Knows the answers: every second object's box with its neighbours as proposals."""

    name = "fast_rcnn_shapes"

    def __init__(self, pictures: LabelledPictures) -> None:
        super().__init__(pictures.class_names)
        self.module = torch.nn.Identity()
        self._answers = {
            as_image(picture).tobytes(): target
            for picture, target in map(pictures.__getitem__, range(len(pictures)))
        }

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        raise NotImplementedError

    def propose(self, image: Image) -> Tensor:
        return self._answers[image.tobytes()]["boxes"].as_subclass(Tensor)[::2]

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        target = self._answers[image.tobytes()]
        with clock.step("heads"):
            boxes = target["boxes"].as_subclass(Tensor)
            return self.detections(boxes, target["labels"], torch.full((len(boxes),), 0.9))


def test_a_system_that_knows_everything_has_the_best_figures() -> None:
    pictures = open_data(Path("shapes:train=1,validation=3")).validation
    measured = measure(Oracle(pictures), pictures)
    assert measured.ap50 == pytest.approx(1.0)
    assert measured.mask_ap is None
    assert measured.proposals is not None
    assert measured.recall is not None
    objects = [len(pictures[index][1]["boxes"]) for index in range(3)]
    assert measured.proposals == pytest.approx(np.mean([(count + 1) // 2 for count in objects]))
    assert sum((count + 1) // 2 for count in objects) / sum(objects) <= measured.recall < 1
    assert measured.milliseconds["heads"] > 0
    assert measured.total_ms == pytest.approx(sum(measured.milliseconds.values()))


def figures(name: str, *milliseconds: float, mask_ap: float | None = None) -> Measured:
    return Measured(
        name=name,
        ap50=0.5,
        mask_ap=mask_ap,
        proposals=None,
        recall=None,
        milliseconds=dict(zip(STEPS, milliseconds, strict=True)),
        note="",
    )


def test_the_story_is_told_in_ratios() -> None:
    measured = [
        figures("rcnn_shapes", 500, 900, 80, 20),
        figures("fast_rcnn_shapes", 500, 30, 60, 10),
        figures("faster_rcnn_shapes", 5, 30, 20, 5),
        figures("mask_rcnn_shapes", 5, 30, 20, 5, mask_ap=0.6),
        figures("mask_rcnn_pool_shapes", 5, 30, 20, 5, mask_ap=0.5),
    ]
    shared, learned, align = story(measured)
    assert "R-CNN takes 1000 ms a picture and Fast R-CNN 100 ms, 10 times less" in shared
    assert "500 ms and the region proposal network 5.0 ms, 100 times less" in learned
    assert "600 ms and 60 ms, 10 times less" in learned
    assert "mask AP 0.600 instead of 0.500" in align
    assert story(measured[:1]) == []
    assert all(len(row) == len(HEADINGS) for row in rows(measured))


def test_the_report_shows_every_step(pictures: LabelledPictures) -> None:
    torch.manual_seed(0)
    systems: dict[str, Lineage] = {
        "faster_rcnn_shapes": FasterRCNN(CLASS_NAMES),
        "mask_rcnn_shapes": MaskRCNN(CLASS_NAMES),
    }
    for system in systems.values():
        system.module.eval()
    shown = exhibits(systems, pictures)
    titles = [one.title for one in shown]
    assert [title.split(":")[0] for title in titles] == [
        "Proposals",
        "Objectness of the region proposal network",
        "Non-maximum suppression",
        "RoI Pool against RoI Align",
        "Masks",
    ]
    page = render_report([figures("rcnn_shapes", 1, 2, 3, 4)], shown, ["<told>"], {"data": "a&b"})
    assert page.count("data:image/jpeg;base64,") == len(shown)
    assert "&lt;told&gt;" in page
    assert "a&amp;b" in page
    assert "2 s proposals + 47 s" in page
    assert "http" not in page.split("<body>")[1]


def test_systems_are_trained_once_and_kept(rcnn_live: Run, tmp_path: Path) -> None:
    options = ("--data", DATA, "--effort", "0.01", "--weights", "kept", "--pictures", "2")
    asked = ("--system", "faster_rcnn_shapes", "--system", "localise_shapes")
    code, out, err = rcnn_live("lineage", *options, *asked, "--train", "--json", "f.json")
    assert code == 0, err
    assert "faster_rcnn_shapes: pass 1 of 1" in err
    assert "0.2 s in all" in out
    names = [row["name"] for row in json.loads((tmp_path / "f.json").read_text())["systems"]]
    assert names == ["faster_rcnn_shapes", "localise_shapes"]
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert set(files) == {"faster_rcnn.safetensors", "localise.safetensors"}
    code, out, err = rcnn_live("lineage", *options, *asked, "--html", "report.html", "--quiet")
    assert code == 0, err
    assert err == ""
    assert files == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert "Objectness" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--system", "fastest_rcnn_shapes"), "There is no system 'fastest_rcnn_shapes'"),
        (("--data", "nowhere"), "nowhere does not exist"),
        (("--html", "no/report.html"), "the folder no does not exist"),
        (("--effort", "0"), "0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    rcnn_live: Run, options: tuple[str, str], sentence: str
) -> None:
    code, _, err = rcnn_live("lineage", *options)
    assert code == 2
    assert sentence in err
