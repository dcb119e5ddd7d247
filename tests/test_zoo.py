from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from models import zoo
from models.compact import PERSON_CLASSES, mask_rcnn_person
from models.errors import ModelError, UsageError
from models.runtimes.torch_eager import TorchEager

EVERY_MODEL = pytest.mark.skipif(
    os.environ.get("EVERY_MODEL") != "1", reason="takes minutes: set EVERY_MODEL=1"
)
LIGHT = "fasterrcnn_mobilenet_v3_large_320_fpn"
LIGHT_WEIGHTS = torchvision.models.get_model_weights(LIGHT).DEFAULT


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def random_model(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **settings)
    assert isinstance(model, nn.Module)
    return model


def write_random(name: str, folder: Path, **settings: Any) -> Path:
    path = folder / f"{name}.pth"
    torch.save(random_model(name, **settings).state_dict(), path)
    return path


def model_params() -> list[Any]:
    names = zoo.detector_names()
    light = (LIGHT, "fasterrcnn_mobilenet_v3_large_fpn", "ssdlite320_mobilenet_v3_large")
    heavy = [pytest.mark.slow, EVERY_MODEL]
    return [name if name in light else pytest.param(name, marks=heavy) for name in names]


@pytest.mark.parametrize("name", model_params())
def test_every_torchvision_detector_loads_and_detects(name: str, tmp_path: Path) -> None:
    loaded = zoo.load(name, write_random(name, tmp_path))
    assert loaded.name == name
    assert not loaded.module.training
    assert "person" in loaded.class_names
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    canvas_side = None if name.startswith("ssd") else 128
    with TorchEager(loaded, device="cpu", min_score=0.0, canvas_side=canvas_side) as runtime:
        found = runtime.detect(frame)
    assert set(found.labels) <= set(range(len(loaded.class_names)))
    assert (found.masks is not None) == name.startswith("maskrcnn")
    assert (found.keypoints is not None) == name.startswith("keypointrcnn")


def test_the_embedded_model_loads_by_default() -> None:
    if not zoo.EMBEDDED_WEIGHTS.is_file():
        pytest.skip("the embedded weights are not there yet")
    loaded = zoo.load()
    assert loaded.name == "mask_rcnn_person"
    assert loaded.class_names == PERSON_CLASSES


def test_embedded_architecture_with_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "cats.safetensors"
    names = ["__background__", "cat", "dog"]
    state = mask_rcnn_person(num_classes=3).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path, classes(names))
    loaded = zoo.load(weights=path)
    assert loaded.class_names == tuple(names)


def classes(names: list[str]) -> dict[str, str]:
    return {"classes": json.dumps(names)}


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    path = write_random(LIGHT, tmp_path, num_classes=4)
    assert zoo.load(LIGHT, path).class_names == ("__background__", "class 1", "class 2", "class 3")


def test_names_of_a_single_stage_model_tell_its_class_count(tmp_path: Path) -> None:
    name, path = "ssdlite320_mobilenet_v3_large", tmp_path / "m.safetensors"
    state = random_model(name, num_classes=3).state_dict()
    save_file(state, path, classes(["__background__", "cat", "dog"]))
    assert zoo.load(name, path).class_names == ("__background__", "cat", "dog")


def test_more_names_than_classes(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(random_model(LIGHT, num_classes=2).state_dict(), path, classes(["a", "b", "c"]))
    with pytest.raises(ModelError, match="names 3 classes, but its weights tell 2 apart"):
        zoo.load(LIGHT, path)


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = write_random("ssdlite320_mobilenet_v3_large", tmp_path)
    with pytest.raises(ModelError) as raised:
        zoo.load(LIGHT, path)
    message = str(raised.value)
    assert f"does not hold weights of {LIGHT}" in message
    assert "\n" not in message
    assert raised.value.exit_code == 1


def test_missing_weights_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.pth does not exist"):
        zoo.load(LIGHT, tmp_path / "absent.pth")


def test_unknown_model_is_wrong_usage_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*maskrcnn_resnet50_fpn") as raised:
        zoo.load("mask_rcnn_resnet50")
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="did you mean mask_rcnn_person"):
        zoo.load("?")


@pytest.mark.parametrize(
    "failure",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        ConnectionResetError("peer"),
        RuntimeError("invalid hash value"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise failure

    monkeypatch.setattr("torch.hub.urlopen", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError) as raised:
        zoo.load(LIGHT)
    message = str(raised.value)
    assert f"The COCO weights of {LIGHT} could not be downloaded" in message
    assert "--weights FILE" in message
    assert "\n" not in message
    assert raised.value.exit_code == 1


def test_torchvisions_own_files_lack_step_counts(tmp_path: Path) -> None:
    """torchvision trains with frozen BatchNorm, but builds another one for untrained models."""
    model = random_model(LIGHT)
    state = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert len(state) < len(model.state_dict())
    path = tmp_path / "m.pth"
    torch.save(state, path)
    for name, parameter in zoo.load(LIGHT, path).module.named_parameters():
        torch.testing.assert_close(parameter, state[name], rtol=0, atol=0)


@pytest.mark.slow
def test_a_local_copy_of_torchvisions_weights_works_as_the_downloaded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "maskrcnn_resnet50_fpn"
    weights = torchvision.models.get_model_weights(name).COCO_V1
    path = tmp_path / Path(weights.url).name
    state = random_model(name).state_dict()
    state = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    for key in state:
        if key.endswith("running_var"):  # so small that the epsilon matters
            state[key] = torch.rand_like(state[key]) * 1e-4 + 1e-5
    torch.save(state, path)
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **settings: state)
    downloaded, local = zoo.load(name).module, zoo.load(name, path).module
    assert any(isinstance(module, FrozenBatchNorm2d) for module in downloaded.modules())
    with torch.inference_mode():
        canvas = torch.rand(1, 3, 64, 64)
        features = [model.backbone.body(canvas)["0"] for model in (downloaded, local)]
    torch.testing.assert_close(features[0], features[1])
