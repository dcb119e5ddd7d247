"""From a model to a file."""

from __future__ import annotations

import json
from pathlib import Path

import export_case as case
import numpy as np
import onnx
import pytest
from torch import nn

from export import build
from export.files import files_of, side_file
from export.identity import weights_digest
from export.verify import verify
from models import zoo
from models.errors import ModelError, UsageError
from models.letterbox import Letterbox
from models.runtimes.base import Canvas
from models.runtimes.exported import open_exported
from models.zoo import LoadedModel


def test_only_r_cnns(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no R-CNN"):
        build.export_model(
            LoadedModel("some", nn.Linear(1, 1), ("a",)), None, canvas=(96, 128), output=tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_int8_wants_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --calibrate"):
        build.export_model(
            case.person(), None, canvas=case.CANVAS, output=tmp_path, precision="int8"
        )


def test_every_form_of_a_model_has_a_description_of_its_own() -> None:
    """Or the proof of one would be that of another, in the same folder."""
    paths = [Path("made") / f"model-96x128-fp32{suffix}" for suffix in build.SUFFIXES.values()]
    assert len({file for path in paths for file in files_of(path)}) == sum(
        len(files_of(path)) for path in paths
    )


def test_a_failure_leaves_nothing_and_the_model_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "to_onnx", lambda *_: onnx.ModelProto())
    monkeypatch.setattr(Path, "write_bytes", fails)
    before = case.person().module.roi_heads.score_thresh  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"cannot be written: No space left on device\."):
        build.export_model(case.person(), None, canvas=case.CANVAS, output=tmp_path, min_score=0.3)
    assert list(tmp_path.iterdir()) == []
    assert case.person().module.roi_heads.score_thresh == before  # type: ignore[union-attr]


def test_the_digest_is_of_the_weights() -> None:
    embedded = weights_digest(case.person(), None)
    assert embedded == weights_digest(case.person(), zoo.EMBEDDED_WEIGHTS)
    other = LoadedModel("some", nn.Linear(1, 1), ("a",))
    first = weights_digest(other, None)
    assert first == weights_digest(other, None)
    nn.init.constant_(other.module.weight, 7.0)  # type: ignore[arg-type]
    assert weights_digest(other, None) != first


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestWithAnExport:
    @pytest.mark.parametrize(("to", "suffix"), [("openvino", ".xml"), ("onnx", ".onnx")])
    def test_it_is_proven(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to: str, suffix: str
    ) -> None:
        case.untraced(monkeypatch)
        path = build.export_model(
            case.person(), None, canvas=case.CANVAS, output=tmp_path, to=to, batch=None
        )
        assert path.suffix == suffix
        assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files_of(path)}
        proof = verify(path, case.person(), case.people(), pictures="the demo")
        assert proof.failure is None
        assert json.loads(side_file(path).read_text())["proof"]["failure"] is None
        again = verify(path, case.person(), case.people(), pictures="the demo")
        assert again.failure is None

    def test_pt2_is_proven(self, tmp_path: Path) -> None:
        path = build.export_model(
            case.person(), None, canvas=case.CANVAS, output=tmp_path, to="pt2", batch=1
        )
        assert path.suffix == ".pt2"
        assert verify(path, case.person(), case.people(2), pictures="the demo").failure is None

    def test_a_file_no_runtime_can_run_is_a_failure(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = case.put(case.proto(), tmp_path / "model.onnx")
        path.write_bytes(path.read_bytes()[:-1000])
        proof = verify(path, case.person(), case.people(1), pictures="the demo")
        assert str(proof.failure).startswith("The export cannot be run by openvino")

    @pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
    def test_two_at_once_are_as_two_alone(self, tmp_path: Path, runtime: str) -> None:
        path = case.put(case.proto(), tmp_path / "model.onnx")
        with open_exported(path, runtime=runtime, min_score=0.05, precision="fp32") as opened:
            canvases = [opened.preprocess(frame) for frame in case.people(2)]
            together = opened.infer_many(canvases)
            alone = [opened.infer(canvas) for canvas in canvases]
        assert len(together[0]) > 0
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
            assert one.masks is not None
            assert other.masks is not None
            np.testing.assert_allclose(one.masks, other.masks, atol=1e-3)

    @pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
    def test_an_empty_picture_has_no_objects(self, tmp_path: Path, runtime: str) -> None:
        path = case.put(case.proto(), tmp_path / "model.onnx")
        height, width = case.CANVAS
        grey = Canvas(
            np.full((height, width, 3), 114, np.uint8),
            Letterbox((width, height), (width, height)),
        )
        with open_exported(path, runtime=runtime, min_score=0.05) as opened:
            found = opened.infer(grey)
        assert len(found) == 0
        assert found.masks is not None
        assert found.masks.shape == (0, 28, 28)

    def test_without_the_mean_it_is_refused(self, tmp_path: Path) -> None:
        model = case.proto()
        (mean,) = [
            weight for weight in model.graph.initializer if weight.name.endswith("prepare.mean")
        ]
        path = case.put(case.perturb(model, mean.name, 0.0), tmp_path / "model.onnx")
        proof = verify(path, case.person(), case.people(), pictures="the demo")
        assert "The export differs from the original" in str(proof.failure)
