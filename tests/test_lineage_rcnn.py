"""The oldest systems of the lineage: what each computes, on small worlds and few passes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import box_iou, roi_pool

from models.data.open import open_data
from models.data.samples import LabelledPictures
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.lineage.base import STEPS, Budget, Lineage, Stopwatch
from models.lineage.examples import Example, match, normalised
from models.lineage.fast_rcnn import FastNetwork
from models.lineage.linear_models import Regressions
from models.lineage.rcnn import SIDE, warped
from models.lineage.regions import sample_regions
from models.lineage.runtime import CANVAS_SIDES, open_system
from models.lineage.selective_search import MODES, SelectiveSearch
from models.lineage.sliding_window import (
    SIDES,
    FullyConvolutional,
    SlidingWindow,
    WindowClassifier,
    window_counts,
)
from models.lineage.systems import SYSTEMS, load_system, system_class, train_system
from models.shapes.world import CLASS_NAMES, World

OWN = ("sliding_window_shapes", "fully_convolutional_shapes", "rcnn_shapes", "fast_rcnn_shapes")
TAUGHT = tuple(name for name in OWN if name != "fully_convolutional_shapes")  # as its brother is
SMALL = Path("shapes:size=96x72,train=2,validation=2")

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def pictures() -> LabelledPictures:
    return open_data(SMALL).train


@pytest.fixture(scope="module")
def image() -> Image:
    return World(3, size=(96, 72)).draw(0)


def random_classifier() -> WindowClassifier:
    """With statistics of its own, so that nothing is all zeros."""
    torch.manual_seed(0)
    module = WindowClassifier(len(CLASS_NAMES))
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 75, 91))
    return module.eval()


# --- sliding window ---


def test_one_pass_scores_each_place_as_its_window_alone() -> None:
    windows = SlidingWindow(CLASS_NAMES)
    windows.module = random_classifier()
    pixels = torch.randn(1, 3, 107, 131)
    with torch.inference_mode():
        alone = windows.scores(pixels, Stopwatch())
        at_once = FullyConvolutional.of(windows).scores(pixels, Stopwatch())
    assert alone.shape == at_once.shape == (1, len(CLASS_NAMES), 9, 12)
    assert float(alone.std()) > 0.01
    torch.testing.assert_close(alone, at_once, rtol=1e-4, atol=1e-4)


def test_one_pass_finds_the_same_with_a_fraction_of_the_arithmetic(image: Image) -> None:
    windows = SlidingWindow(CLASS_NAMES)
    windows.module = random_classifier()
    once = FullyConvolutional.of(windows)
    found, same = windows.detect(image), once.detect(image)
    assert len(found) > 0
    np.testing.assert_allclose(found.boxes, same.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, same.scores, atol=1e-4)
    assert operations(windows, image) > 5 * operations(once, image) > 0


def operations(system: Lineage, image: Image) -> int:
    with FlopCounterMode(display=False) as counter:
        system.detect(image)
    return counter.get_total_flops()


def test_the_number_of_windows_is_known(image: Image) -> None:
    system = FullyConvolutional(CLASS_NAMES)
    counted: list[int] = []

    def count(pixels: torch.Tensor, clock: Stopwatch) -> torch.Tensor:
        scores = FullyConvolutional.scores(system, pixels, clock)
        counted.append(scores[0, 0].numel())
        return scores

    system.scores = count  # type: ignore[method-assign]
    system.detect(image)
    expected = list(window_counts((96, 72)))
    assert len(expected) == len(SIDES)
    assert counted == [number for number in expected if number]


# --- selective search ---


@pytest.mark.parametrize("mode", MODES)
def test_proposals_cover_the_objects(mode: str) -> None:
    search = SelectiveSearch(mode)  # type: ignore[arg-type]
    overlaps = []
    for seed in range(2):
        drawn, truth = World(seed, size=(160, 120)).frame(0)
        boxes = search(drawn)
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([160, 120, 160, 120])).all()
        assert len(boxes) == len(boxes.unique(dim=0)) <= 2000
        overlaps += box_iou(torch.from_numpy(truth.boxes), boxes).amax(1).tolist()
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.8


def test_quality_proposes_more_than_fast_and_both_the_same_again(image: Image) -> None:
    fast, quality = (SelectiveSearch(mode) for mode in MODES)
    assert len(quality(image)) > len(fast(image))
    assert torch.equal(fast(image), fast(image))
    few = SelectiveSearch(count=30)(image)
    assert len(few) == 30
    assert {tuple(box) for box in few.tolist()} <= {tuple(box) for box in fast(image).tolist()}


def test_proposals_are_kept_on_disk(image: Image, tmp_path: Path) -> None:
    search = SelectiveSearch(cache=tmp_path)
    boxes = search(image)
    (file,) = tmp_path.rglob("*.npy")
    search._search = None  # what is kept needs no search
    assert torch.equal(search(image), boxes)
    assert torch.equal(torch.from_numpy(np.load(file)).float(), boxes)


def test_without_contrib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(UsageError, match=r"--no-deps opencv-contrib-python==\d"):
        SelectiveSearch()


def test_without_scikit_learn_it_says_what_to_install(
    pictures: LabelledPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    system = system_class("rcnn_shapes")(CLASS_NAMES)
    with pytest.raises(UsageError, match="pip install scikit-learn"):
        system.train(pictures.take([0]), Budget(effort=0.01))


# --- regions ---


def test_regions_have_the_label_of_the_object_they_fit() -> None:
    drawn, truth = World(1).frame(0)
    example = Example(drawn, torch.from_numpy(truth.boxes), torch.from_numpy(truth.labels))
    generator = torch.Generator().manual_seed(0)
    proposals = torch.rand(400, 4, generator=generator) * 60
    proposals[:, 2:] += proposals[:, :2] + 10
    regions, labels, boxes = sample_regions(
        example, proposals, count=64, object_share=0.25, generator=generator
    )
    assert len(regions) == len(labels) == len(boxes) <= 64
    with_object = labels > 0
    assert 0 < with_object.sum() <= 16
    overlap, which = match(regions, example.boxes)
    assert (overlap[with_object] >= 0.5).all()
    assert (overlap[~with_object] < 0.5).all()
    assert torch.equal(labels[with_object], example.labels[which[with_object]])
    assert torch.equal(boxes[with_object], example.boxes[which[with_object]])


def test_a_picture_without_objects_teaches_background(image: Image) -> None:
    nothing = Example(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    proposals = torch.tensor([[0.0, 0, 20, 20], [30, 30, 60, 50]])
    regions, labels, _ = sample_regions(
        nothing, proposals, count=8, object_share=0.5, generator=torch.Generator()
    )
    assert len(regions) == 2
    assert labels.tolist() == [0, 0]


def test_a_proposal_is_warped_with_what_is_around_it() -> None:
    picture = np.zeros((100, 120, 3), np.uint8)
    picture[20:60, 30:50] = 255  # a tall white box
    cut = warped(normalised(picture), torch.tensor([[30.0, 20, 50, 60]]))[0, 0]
    assert cut.shape == (SIDE, SIDE)
    white, black = 2.0, -2.0
    assert float(cut[6:-6, 6:-6].min()) == pytest.approx(white)
    assert float(cut[:2].max()) == pytest.approx(black)
    assert float(cut[:, -2:].max()) == pytest.approx(black)
    outside = warped(normalised(picture), torch.tensor([[-40.0, -40, -10, -10]]))
    assert float(outside.abs().max()) == 0  # the mean of all pictures


def test_fast_rcnn_pools_whole_places_of_the_map() -> None:
    torch.manual_seed(0)
    network = FastNetwork(3).eval()
    shared = torch.randn(1, 96, 12, 16)
    regions = torch.tensor([[3.0, 5, 61, 70], [40, 8, 120, 90]])
    expected = roi_pool(shared, [regions], 5, 1 / 8)
    assert torch.equal(network.pool(shared, [regions]), expected)
    moved = network.pool(shared, [regions + 0.4])  # less than half a place: quantised away
    assert torch.equal(moved[0], expected[0])


def test_each_class_has_a_regression_of_its_own() -> None:
    regressions = Regressions(2, 3)
    regressions.weight[1] = 1.0
    regressions.bias[0] = 5.0
    found = regressions(torch.ones(3, 3), torch.tensor([1, 0, 1]))
    assert found.tolist() == [[3] * 4, [5] * 4, [3] * 4]


# --- every system ---


@pytest.mark.parametrize("name", TAUGHT)
def test_a_system_learns_is_kept_and_finds_the_same(
    name: str, pictures: LabelledPictures, image: Image, tmp_path: Path
) -> None:
    said: list[str] = []
    file = tmp_path / "weights.safetensors"
    budget = Budget(effort=0.01, cache=tmp_path / "cache", tell=said.append)
    system = train_system(name, pictures, budget, file)
    assert any("pass 1 of 1" in line for line in said)
    assert file.stat().st_size < 1e6
    kept = load_system(name, file)
    assert type(kept) is system_class(name)
    assert kept.class_names == CLASS_NAMES
    found, same = system.detect(image), kept.detect(image)
    # weights are kept as fp16: the scores differ in the third place
    assert abs(len(found) - len(same)) <= 0.2 * max(len(found), 10)
    timings = kept.timings.milliseconds
    assert set(timings) == set(STEPS)
    assert timings["features"] > 0
    with safe_open(file, framework="pt") as written:
        assert float(written.metadata()[f"gflops {name}"]) > 0


def test_a_seed_is_a_training(pictures: LabelledPictures, tmp_path: Path) -> None:
    once, again, other = (
        train_system(
            "fast_rcnn_shapes",
            pictures,
            Budget(effort=0.01, seed=seed, cache=tmp_path),
            tmp_path / "weights.safetensors",
        ).module.state_dict()
        for seed in (1, 1, 2)
    )
    for name, value in once.items():
        torch.testing.assert_close(value, again[name])
    assert not torch.equal(once["classifier.weight"], other["classifier.weight"])


def test_frames_are_seen_at_the_size_of_the_world(tmp_path: Path) -> None:
    file = tmp_path / "random.safetensors"
    system_class("fast_rcnn_shapes")(CLASS_NAMES).save(file)
    with open_system("fast_rcnn_shapes", file) as runtime:
        canvas = runtime.preprocess(np.zeros((480, 640, 3), np.uint8))
        assert canvas.pixels.shape == (CANVAS_SIDES[0], 320, 3)


@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"runtime": "onnxruntime"}, {"precision": "fp16"}]
)
def test_what_a_system_cannot_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="leave out --"):
        open_system("rcnn_shapes", **options)  # type: ignore[arg-type]


def test_unknown_names_and_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fast_rcnn_shapes"):
        load_system("fastrcnn_shapes")
    file = tmp_path / "other.safetensors"
    system_class("fast_rcnn_shapes")(CLASS_NAMES).save(file)
    with pytest.raises(ModelError, match="does not hold weights of rcnn_shapes"):
        load_system("rcnn_shapes", file)
    with pytest.raises(UsageError, match="does not exist"):
        load_system("rcnn_shapes", tmp_path / "none.safetensors")


def test_a_run_and_an_evaluation_by_name(
    rcnn_live: object, pictures: LabelledPictures, tmp_path: Path
) -> None:
    file = tmp_path / "random.safetensors"
    system_class("fast_rcnn_shapes")(CLASS_NAMES).save(file)
    model = ("--model", "fast_rcnn_shapes", "--weights", file, "--canvas-side", "72", "--quiet")
    code, _, err = rcnn_live(  # type: ignore[operator]
        "run", "shapes:size=96x72,frames=3", *model, "--record", "out.mp4", "--events", "e.jsonl"
    )
    assert code == 0, err
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "out.mp4").stat().st_size > 500
    code, out, err = rcnn_live("eval", SMALL, *model, "--json", "-")  # type: ignore[operator]
    assert code == 0, err
    assert '"circle"' in out


def test_names_say_which_world_they_know() -> None:
    assert set(OWN) <= set(SYSTEMS)
    assert all(name.endswith("_shapes") for name in SYSTEMS)
