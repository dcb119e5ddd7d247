from __future__ import annotations

import pytest

from models import zoo
from models.arithmetic import count_gflops
from models.compact import MAX_SIDE, MIN_SIDE, mask_rcnn_person


def test_the_embedded_model_keeps_to_its_budget() -> None:
    model = mask_rcnn_person().eval()
    for width in (MIN_SIDE * 4 // 3, MAX_SIDE):
        work = count_gflops(model, (width, MIN_SIDE))
        assert work.total < 8
        assert work.total == pytest.approx(work.backbone + work.rpn + work.box_head)
        assert work.mask < 0.3
    assert zoo.EMBEDDED_WEIGHTS.stat().st_size <= 12e6


def test_counts_of_known_layers() -> None:
    model = mask_rcnn_person().eval()
    work = count_gflops(model, (512, 384))
    heads, proposals = model.roi_heads, model.rpn.post_nms_top_n()
    layers = (
        heads.box_head.fc6,
        heads.box_head.fc7,
        heads.box_predictor.cls_score,
        heads.box_predictor.bbox_pred,
    )
    expected = sum(2 * layer.weight.numel() for layer in layers) * proposals / 1e9
    assert work.box_head == pytest.approx(expected)


def test_work_grows_with_the_canvas_and_not_with_padding() -> None:
    model = mask_rcnn_person().eval()
    small, padded, large = (count_gflops(model, (side, 256)) for side in (256, 250, 512))
    assert padded == small
    assert large.backbone == pytest.approx(2 * small.backbone, rel=0.01)
    assert large.box_head == small.box_head
