from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from evaluation_pieces import NAMES, SIZE, Boxes, Scene, Scenes, Told, detections

from models.data.samples import BACKGROUND
from models.detections import Detections
from models.errors import DataError, UsageError
from models.evaluation.evaluate import Evaluation, evaluate
from models.evaluation.score import MEASURES, Scores
from models.evaluation.summary import summarize

# Boxes of each picture. Every mask fills its box, so that box and mask overlap alike.
SCENES: tuple[Boxes, ...] = (
    ((10, 10, 50, 90), (60, 20, 100, 110)),
    ((5, 30, 45, 110), (80, 10, 150, 60)),
)


def judge(results: list[Detections], scenes: tuple[Boxes, ...] = SCENES) -> dict[str, Scores]:
    return evaluate(Told(results), Scenes([Scene(boxes) for boxes in scenes])).scores


def test_perfect_detections() -> None:
    found = judge([detections(boxes) for boxes in SCENES])
    assert list(found) == ["box", "mask"]
    assert [found["box"].table[name] for name in ("ap", "ap50", "ap75")] == [pytest.approx(1)] * 3
    assert found["mask"].table["ap50"] == pytest.approx(1.0)
    assert (found["mask"].table["ap"] or 0) > 0.9  # a pasted mask is a pixel wider than its box
    assert found["box"].table["ap_small"] is None  # there are none
    assert tuple(found["box"].table) == MEASURES["box"]


def test_half_missing() -> None:
    found = judge([detections(boxes[:1]) for boxes in SCENES])
    assert found["box"].table["ap"] == pytest.approx(0.5, abs=0.01)
    curve = found["box"].precision50
    assert (len(curve), curve[50], curve[51]) == (101, pytest.approx(1), 0)


def test_shifted_boxes_count_at_low_thresholds_alone() -> None:
    # 80x50 px moved by 10 px: IoU 70 / 90 = 0.78, so thresholds 0.50 to 0.75 of ten
    shifted = detections(((30, 20, 110, 70),))
    found = judge([shifted], (((20, 20, 100, 70),),))["box"]
    assert (found.table["ap50"], found.table["ap75"]) == (pytest.approx(1), pytest.approx(1))
    assert found.table["ap"] == pytest.approx(0.6)
    # moved by 20 px: IoU 60 / 100, so the two curves differ
    found = judge([detections(((40, 20, 120, 70),))], (((20, 20, 100, 70),),))["box"]
    assert found.precision50 == (pytest.approx(1),) * 101
    assert found.precision75 == (0,) * 101


def test_no_detections_are_ap_0() -> None:
    found = judge([Detections.empty(NAMES)] * 2)
    assert list(found) == ["box"]
    assert (found["box"].table["ap"], found["box"].table["ar_100"]) == (0, 0)
    assert found["box"].precision50 == (0,) * 101


def test_no_objects_are_no_figure() -> None:
    found = judge([detections(SCENES[0])], ((),))["box"]
    assert set(found.table.values()) == {None}
    assert (found.precision50, found.classes["person"].ap) == ((), None)


def test_a_false_alarm_in_a_picture_without_objects_costs_precision() -> None:
    scenes = (SCENES[0], ())
    quiet = judge([detections(SCENES[0]), detections(())], scenes)["box"]
    assert quiet.table["ap"] == pytest.approx(1.0)
    alarm = detections(((20, 20, 60, 60),), scores=[0.99])
    loud = judge([detections(SCENES[0]), alarm], scenes)["box"]
    assert loud.table["ap"] == pytest.approx(2 / 3, abs=0.01)


def test_mask_shape_matters() -> None:
    half = detections(SCENES[0])
    assert half.masks is not None
    half.masks[:, 14:] = 0
    found = judge([half], SCENES[:1])
    assert found["box"].table["ap"] == pytest.approx(1.0)
    assert (found["mask"].table["ap"] or 0) < 0.3


def test_the_detector_sees_the_picture_as_rgb_rows() -> None:
    class Looks(Told):
        def preprocess(self, image):  # type: ignore[no-untyped-def]
            assert image.shape == (SIZE[1], SIZE[0], 3)
            assert image.flags.c_contiguous
            assert image[0, 0].tolist() == [0, 90, 90]
            return super().preprocess(image)

    assert evaluate(Looks([detections(SCENES[0])]), Scenes([Scene(SCENES[0])])).objects == 2


def test_crowds_are_neither_right_nor_wrong() -> None:
    scene = Scene(SCENES[0], crowd=[False, True])
    # two alarms on the crowd, nothing else wrong
    found = detections((SCENES[0][0], (62, 22, 90, 80), (65, 40, 99, 100)))
    result = evaluate(Told([found]), Scenes([scene]))
    assert result.scores["box"].table["ap"] == pytest.approx(1.0)
    assert (result.objects, result.crowds) == (1, 1)
    assert result.scores["box"].classes["person"].objects == 1
    mistakes = result.mistakes
    assert (mistakes.hits, mistakes.miss_count, mistakes.false_alarm_count) == (1, 0, 0)


# --- classes ---


def by_class(model: tuple[str, ...], data: tuple[str, ...], *, labels: list[int]) -> Evaluation:
    """Both boxes of a picture labelled 1 and 2, and found as ``labels``."""
    found = detections(SCENES[0], labels=labels, class_names=model)
    return evaluate(
        Told([found], class_names=model),
        Scenes([Scene(SCENES[0], labels=[1, 2])], class_names=data),
    )


def test_classes_are_matched_by_name() -> None:
    data = (BACKGROUND, "cat", "dog")
    right = by_class((BACKGROUND, "N/A", "dog", "N/A", "cat"), data, labels=[4, 2])
    assert right.scores["box"].table["ap50"] == pytest.approx(1.0)
    assert (right.class_names, right.model_only, right.data_only) == (("cat", "dog"), (), ())
    same_numbers = by_class((BACKGROUND, "dog", "cat"), data, labels=[1, 2])
    assert same_numbers.scores["box"].table["ap50"] == 0


def test_only_common_classes_are_scored() -> None:
    result = by_class((BACKGROUND, "bird", "dog"), (BACKGROUND, "cat", "dog"), labels=[1, 2])
    assert (result.class_names, result.model_only, result.data_only) == (
        ("dog",),
        ("bird",),
        ("cat",),
    )
    assert result.objects == 1
    assert result.scores["box"].table["ap50"] == pytest.approx(1.0)
    assert result.mistakes.false_alarm_count == 0  # a bird is not wrong where none are labelled


def test_figures_of_each_class() -> None:
    names = (BACKGROUND, "cat", "dog", "fish")
    classes = by_class(names, names, labels=[1, 1]).scores["box"].classes
    assert [(name, score.objects, score.ap50) for name, score in classes.items()] == [
        ("cat", 1, pytest.approx(1.0)),
        ("dog", 1, 0),
        ("fish", 0, None),
    ]


def test_no_class_in_common() -> None:
    many = (BACKGROUND, *(f"kind{number}" for number in range(9)))
    with pytest.raises(UsageError, match=r"finds bird, the data labels kind0, .*kind4 and 4 more"):
        by_class((BACKGROUND, "bird"), many, labels=[1, 1])


def test_no_pictures() -> None:
    with pytest.raises(DataError, match="no pictures"):
        evaluate(Told([]), Scenes([]))


# --- kinds ---


@pytest.mark.parametrize(("of_model", "of_data"), [(True, False), (False, True), (False, False)])
def test_masks_need_both_sides(of_model: bool, of_data: bool) -> None:
    found = [detections(boxes, masks=of_model) for boxes in SCENES]
    result = evaluate(Told(found), Scenes([Scene(boxes) for boxes in SCENES], has_masks=of_data))
    assert list(result.scores) == ["box"]
    assert result.scores["box"].table["ap50"] == pytest.approx(1.0)
    side = "data" if of_model else "model"
    expected = (f"Masks are not scored: the {side} has none.",) if of_model or of_data else ()
    assert result.notes == expected


def keypoint_evaluation(count: int, *, off_px: float = 0.0) -> Evaluation:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, count, 3, generator=generator) * 40 + 20
    points[..., 2] = 2
    points[1, 1:, 2] = 0  # all but one are not labelled: where they are found does not matter
    found = detections(SCENES[0])
    placed = points.numpy().copy()
    placed[..., 0] += off_px
    placed[1, 1:, :2] += 500
    found = Detections(
        boxes=found.boxes,
        labels=found.labels,
        scores=found.scores,
        class_names=NAMES,
        keypoints=placed.astype(np.float32),
    )
    names = tuple(f"point{number}" for number in range(count))
    scene = Scene(SCENES[0], keypoints=points)
    return evaluate(Told([found]), Scenes([scene], has_masks=False, keypoint_names=names))


def test_keypoints() -> None:
    right, wrong = keypoint_evaluation(17), keypoint_evaluation(17, off_px=80)
    assert right.scores["keypoints"].table["ap"] == pytest.approx(1.0)
    assert tuple(right.scores["keypoints"].table) == MEASURES["keypoints"]
    assert right.scores["keypoints"].classes["person"].objects == 2
    assert wrong.scores["keypoints"].table["ap"] == 0
    assert wrong.scores["box"].table["ap"] == pytest.approx(1.0)


def test_other_keypoints_are_left_out() -> None:
    result = keypoint_evaluation(5)
    assert list(result.scores) == ["box"]
    assert result.notes == (
        "Keypoints are not scored: COCO's measure is defined for 17 keypoints, the model has 5 "
        "and the data 5.",
    )


# --- mistakes ---


def test_mistakes() -> None:
    small, large, missed = (10, 10, 20, 20), (60, 20, 100, 110), (110, 5, 140, 50)
    doubtful = (61, 21, 101, 111)
    nowhere = (5, 60, 40, 100)
    found = detections((nowhere, (112, 5, 160, 70), small, doubtful), scores=[0.95, 0.8, 0.7, 0.4])
    scenes = [Scene(()), Scene((small, large, missed), name="b.png")]
    result = evaluate(Told([detections(()), found]), Scenes(scenes)).mistakes
    assert (result.hits, result.miss_count, result.false_alarm_count) == (1, 2, 2)
    assert (result.precision, result.recall) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    first, second = result.misses
    assert (first.box, second.box) == (large, missed)  # the largest first
    assert (first.picture, first.area_px, first.score) == (1, 3600, None)
    assert first.overlap is not None
    assert first.overlap.score == pytest.approx(0.4)  # found, but not surely enough
    assert first.overlap.iou > 0.9
    assert [alarm.score for alarm in result.false_alarms] == [
        pytest.approx(0.95),
        pytest.approx(0.8),
    ]
    assert [alarm.overlap is None for alarm in result.false_alarms] == [True, False]
    assert len(result.false_alarms[0].found) == 3
    assert result.false_alarms[0].truths == (small, large, missed)


def test_a_lower_score_turns_a_miss_into_a_hit() -> None:
    found = detections(SCENES[0], scores=[0.9, 0.3])
    pictures = Scenes([Scene(SCENES[0])])
    strict = evaluate(Told([found]), pictures, report_score=0.5).mistakes
    lenient = evaluate(Told([found]), pictures, report_score=0.2).mistakes
    assert (strict.hits, strict.miss_count) == (1, 1)
    assert (lenient.hits, lenient.miss_count) == (2, 0)


def test_the_second_detection_of_an_object_is_a_false_alarm() -> None:
    found = detections(((10, 10, 50, 90), (11, 11, 51, 91)), scores=[0.8, 0.9])
    result = evaluate(Told([found]), Scenes([Scene(SCENES[0][:1])])).mistakes
    # COCO lets the surer one have the object, though the other fits better
    assert [alarm.score for alarm in result.false_alarms] == [pytest.approx(0.8)]
    assert result.hits == 1


def test_summary_is_json() -> None:
    found = detections((SCENES[0][0], (100, 5, 140, 40)), scores=[0.9, 0.6])
    pictures = Scenes([Scene(SCENES[0], name="street.png")])
    text = json.dumps(
        summarize(evaluate(Told([found]), pictures), {"model": "told"}), allow_nan=False
    )
    content = json.loads(text)
    assert content["settings"] == {"model": "told"}
    assert (content["pictures"], content["objects"], content["classes"]) == (1, 2, ["person"])
    assert content["scores"]["box"]["ap50"] == pytest.approx(0.5, abs=0.01)
    assert content["scores"]["box"]["ap_small"] is None
    assert content["scores"]["mask"]["classes"]["person"]["objects"] == 2
    assert len(content["scores"]["box"]["precision_recall"]["iou50"]) == 101
    assert content["latency"]["infer"]["p95_ms"] >= 0
    assert content["fps"] > 0
    (miss,) = content["mistakes"]["largest_misses"]
    assert (miss["picture"], miss["box_px"]) == ("street.png", [60, 20, 100, 110])
    assert "/secret" not in text
