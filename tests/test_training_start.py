from __future__ import annotations

from pathlib import Path

import pytest
import torch
from labelled import KEYPOINTS, coco_content, make_coco, make_penn_fudan, write_coco
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.ops import FrozenBatchNorm2d

from models import zoo
from models.compact import FROZEN_BLOCKS, load_imagenet_body, mask_rcnn_person
from models.data.coco import CocoPictures
from models.data.penn_fudan import PennFudan
from models.errors import UsageError
from models.training.saves import save_weights
from models.training.start import start_from

MOBILE = "fasterrcnn_mobilenet_v3_large_320_fpn"
R50 = "maskrcnn_resnet50_fpn"

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def coco(root: Path, **kind: bool) -> CocoPictures:
    make_coco(root, **kind)  # type: ignore[arg-type]
    return CocoPictures.open(root / "annotations" / "instances.json", root / "images")


@pytest.fixture
def people(tmp_path: Path) -> PennFudan:
    return PennFudan.open(make_penn_fudan(tmp_path / "people"))


@pytest.fixture
def animals(tmp_path: Path) -> CocoPictures:
    content = coco_content(names=("cat", "dog", "owl"))
    file = write_coco(tmp_path / "animals.json", tmp_path / "images", content)
    return CocoPictures.open(file, tmp_path / "images")


def random_weights(path: Path, name: str, classes: int) -> Path:
    torch.manual_seed(0)
    state = zoo.build(name, num_classes=classes).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def test_the_embedded_model_keeps_what_it_knows_of_people(people: PennFudan) -> None:
    detector = start_from(zoo.EMBEDDED, people)
    embedded = zoo.load().module.state_dict()
    for name, value in detector.state_dict().items():
        torch.testing.assert_close(value, embedded[name], rtol=0, atol=0)


def test_other_classes_get_new_predictors(animals: CocoPictures) -> None:
    detector = start_from(zoo.EMBEDDED, animals)
    assert detector.roi_heads.box_predictor.cls_score.out_features == 4
    assert detector.roi_heads.box_predictor.bbox_pred.out_features == 16
    assert detector.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 4
    embedded = zoo.load().module.state_dict()
    name = "roi_heads.box_head.fc6.weight"
    torch.testing.assert_close(detector.state_dict()[name], embedded[name], rtol=0, atol=0)


def test_the_embedded_models_first_blocks_are_frozen(people: PennFudan) -> None:
    body = start_from(zoo.EMBEDDED, people).backbone.body
    trainable = [any(p.requires_grad for p in block.parameters()) for block in body.values()]
    assert trainable == [False] * FROZEN_BLOCKS + [True] * (len(trainable) - FROZEN_BLOCKS)


def test_from_scratch_nothing_is_known_and_everything_learns(animals: CocoPictures) -> None:
    detector = start_from(MOBILE, animals, from_scratch=True)
    assert detector.roi_heads.box_predictor.cls_score.out_features == 4
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())


def test_pretrained_batch_norm_is_frozen(animals: CocoPictures, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "mobile.safetensors", MOBILE, 91)
    detector = start_from(MOBILE, animals, weights)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in detector.modules())
    # the same function as before: compare the backbones
    expected = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=91
    )
    torch.manual_seed(0)
    expected.load_state_dict(zoo.build(MOBILE, num_classes=91).state_dict())
    picture = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        for name, level in expected.eval().backbone(picture).items():
            torch.testing.assert_close(detector.eval().backbone(picture)[name], level)


def test_weights_without_an_epsilon_are_the_same_detector_when_read_again(
    people: PennFudan, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = zoo.build(R50, num_classes=91)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 1e-5, 1e-4)  # so small that the epsilon matters
    path = tmp_path / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"
    torch.save(model.state_dict(), path)
    picture = torch.rand(1, 3, 64, 64)
    detector = start_from(R50, people, path).eval()
    save_weights(detector, people.class_names, tmp_path / "best.safetensors")
    with torch.inference_mode():
        original, trained, read = (
            one.backbone.body(picture)["0"]
            for one in (
                zoo.load(R50, path).module,
                detector,
                zoo.load(R50, tmp_path / "best.safetensors").module,
            )
        )
    torch.testing.assert_close(trained, original, rtol=1e-3, atol=1e-3 * float(original.std()))
    torch.testing.assert_close(read, trained, rtol=1e-4, atol=1e-4 * float(original.std()))


def test_weights_to_start_from_scratch_with(people: PennFudan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--weights and --from-scratch exclude each other"):
        start_from(zoo.EMBEDDED, people, tmp_path / "some.pth", from_scratch=True)


def test_a_resnets_stem_is_frozen(people: PennFudan, tmp_path: Path) -> None:
    weights = random_weights(tmp_path / "r50.safetensors", R50, 91)
    body = start_from(R50, people, weights).backbone.body
    learns = {
        name: any(parameter.requires_grad for parameter in layer.parameters())
        for name, layer in body.items()
        if list(layer.parameters())
    }
    assert learns == {
        "conv1": False,
        "layer1": False,
        "layer2": True,
        "layer3": True,
        "layer4": True,
    }


def test_keypoints_of_another_number_get_a_new_predictor(tmp_path: Path) -> None:
    data = coco(tmp_path / "data", keypoints=True)
    detector = start_from("keypointrcnn_resnet50_fpn", data, from_scratch=True)
    layer = detector.roi_heads.keypoint_predictor.kps_score_lowres
    assert layer.out_channels == len(KEYPOINTS)


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "ssd300_vgg16"])
def test_single_stage_detectors_are_refused(people: PennFudan, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is a single-stage detector, and only R-CNNs"):
        start_from(name, people, from_scratch=True)


def test_masks_cannot_be_learned_from_boxes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"learns masks, and the data has none"):
        start_from(zoo.EMBEDDED, coco(tmp_path / "data", masks=False))


def test_keypoints_cannot_be_learned_from_masks(people: PennFudan) -> None:
    with pytest.raises(UsageError, match=r"learns keypoints, and the data has none"):
        start_from("keypointrcnn_resnet50_fpn", people, from_scratch=True)


def test_the_body_starts_from_a_classifier() -> None:
    torch.manual_seed(1)
    classifier, model = mobilenet_v2(weights=None), mask_rcnn_person()
    for module in classifier.modules():  # statistics as a trained network has them
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    load_imagenet_body(model, classifier.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = classifier.eval().features(picture)
        found = list(model.backbone.body(picture).values())[-1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_state_dict_of_another_model_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        load_imagenet_body(mask_rcnn_person(), {})
