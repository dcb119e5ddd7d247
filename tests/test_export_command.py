"""``rcnn-live export`` as a user meets it: files, exit codes, one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import export_case as case
import onnx
import pytest
from pieces import Run

from models.deploy.manifest import METADATA, Manifest

SIZE = ("--canvas", "96x128")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either --canvas HEIGHTxWIDTH or --like VIDEO."),
        ((*SIZE, "--like", "x.mp4"), "Give either --canvas"),
        (("--canvas", "96"), "'96' is no canvas"),
        (("--canvas", "96x9999"), "32 to 4096 px"),
        ((*SIZE, "--batch", "0"), "'0' is no batch"),
        ((*SIZE, "--batch", "many"), "1 to 64, or 'dynamic'"),
        ((*SIZE, "--batch", "1:2"), "MIN:OPT:MAX such as 1:4:8"),
        ((*SIZE, "--batch", "4:2:8"), "MIN:OPT:MAX such as 1:4:8"),
        ((*SIZE, "--batch", "1:2:65"), "1 to 64, or 'dynamic'"),
        ((*SIZE, "--batch", "1:2:4"), "--batch MIN:OPT:MAX is for --to tensorrt"),
        ((*SIZE, "--workspace", "100"), "--workspace is for --to tensorrt only"),
        ((*SIZE, "--builder-level", "0"), "--builder-level is for --to tensorrt only"),
        ((*SIZE, "--builder-level", "6", "--to", "tensorrt"), "0<=x<=5"),
        ((*SIZE, "--to", "tensorrt", "--batch", "dynamic"), "give --batch MIN:OPT:MAX"),
        (("maskrcnn_resnet", *SIZE), "did you mean maskrcnn_resnet50_fpn"),
        (("fcos_resnet50_fpn", *SIZE), "is no R-CNN"),
        (("ssd300_vgg16", *SIZE), "is no R-CNN"),
        (("retinanet_resnet50_fpn", *SIZE), "use one of mask_rcnn_person"),
        ((*SIZE, "--weights", "none.pth"), "none.pth does not exist"),
        ((*SIZE, "--verify", "none.mp4"), "--verify none.mp4 does not exist"),
        (("--like", "none.mp4"), "--like none.mp4 does not exist"),
        ((*SIZE, "--labels", "none"), "none"),
        ((*SIZE, "--precision", "int8"), "give --calibrate"),
        ((*SIZE, "--calibrate", "demo"), "--calibrate is for --precision int8"),
        ((*SIZE, "--precision", "fp16", "--to", "pt2"), "A .pt2 is always fp32"),
        ((*SIZE, "-o", "/proc/exported"), "takes no files"),
    ],
)
def test_wrong_usage_is_one_sentence(
    rcnn_live: Run, arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = rcnn_live("export", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_the_output_is_a_file(rcnn_live: Run) -> None:
    Path("taken").write_text("")
    code, _, err = rcnn_live("export", *SIZE, "-o", "taken")
    assert (code, err) == (2, "rcnn-live: --output taken is a file: give a folder.\n")


def test_int8_is_not_proven_on_what_it_was_measured_on(rcnn_live: Run, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    from export.command import _pictures

    folder = tmp_path / "some"
    folder.mkdir()
    for number in range(20):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((96, 128, 3), number, np.uint8))
    frames, calibrate, _ = _pictures({"verify": folder, "calibrate": folder, "labels": None})
    proving, measuring = ({int(each[0, 0, 0]) for each in some} for some in (frames, calibrate))
    assert len(proving) == 12
    assert measuring == set(range(20)) - proving
    code, out, err = rcnn_live(
        *("export", *SIZE, "--precision", "int8"),
        *("--calibrate", folder / "00.png", "--verify", folder / "00.png"),
    )
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "--calibrate has no picture that --verify does not show as well" in err


def test_help_does_not_wait_for_torch() -> None:
    program = (
        "import sys\nfrom stream.cli import main\nsys.argv = ['rcnn-live', 'export', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'onnx', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestWithAnExport:
    def test_it_is_written_and_proven(
        self, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case.untraced(monkeypatch)
        code, out, err = rcnn_live("export", *SIZE, "--batch", "dynamic", "-o", "made")
        assert code == 0, err
        name = "mask_rcnn_person-96x128-fp32"
        assert {path.name for path in Path("made").iterdir()} == {
            f"{name}.onnx",
            f"{name}.onnx.json",
        }
        assert f"made/{name}.onnx" in out
        model = onnx.load(f"made/{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        inside = json.loads({note.key: note.value for note in model.metadata_props}[METADATA])
        beside = json.loads(Path(f"made/{name}.onnx.json").read_text(encoding="utf-8"))
        proof = beside.pop("proof")
        assert inside == beside
        assert proof["failure"] is None
        assert {item["batch"] for item in proof["cases"]} == {1, 4}
        manifest = Manifest.from_json(json.dumps(inside), "the file")
        assert (manifest.canvas, manifest.batch, manifest.kind) == ((96, 128), None, "masks")
        assert manifest.class_names[-1] == "person"
        assert len(manifest.weights_sha256) == 64

    @pytest.mark.parametrize(
        ("weight", "factor"),
        [("boxes.head.fc7.weight", 1.05), ("kept_predictor.mask_fcn_logits.weight", -1.0)],
    )
    def test_a_broken_one_is_refused(
        self, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch, weight: str, factor: float
    ) -> None:
        case.untraced(monkeypatch, lambda model: case.perturb(model, weight, factor))
        code, _, err = rcnn_live("export", *SIZE, "--batch", "dynamic", "-o", "made")
        assert code == 1
        assert "The export differs from the original" in err
        assert {path.suffix for path in Path("made").iterdir()} == {".rejected"}

    def test_a_refused_one_leaves_an_older_good_one(
        self, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = Path("made/mask_rcnn_person-96x128-fp32.onnx")
        good.parent.mkdir()
        good.write_text("older")
        case.untraced(monkeypatch, lambda model: case.perturb(model, "boxes.head.fc7.weight", 2.0))
        assert rcnn_live("export", *SIZE, "--batch", "dynamic", "-o", "made")[0] == 1
        assert good.read_text() == "older"

    def test_pictures_without_objects_prove_nothing(
        self, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import cv2
        import numpy as np

        Path("grey").mkdir()
        cv2.imwrite("grey/one.png", np.full((96, 128, 3), 128, np.uint8))
        case.untraced(monkeypatch)
        code, _, err = rcnn_live(
            "export", *SIZE, "--batch", "dynamic", "-o", "made", "--verify", "grey"
        )
        assert code == 1
        assert "Nothing could be compared" in err

    @pytest.mark.parametrize("to", ["onnx", "openvino"])
    def test_int8_passes_or_is_refused(
        self, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch, to: str
    ) -> None:
        case.untraced(monkeypatch)
        code, _, err = rcnn_live(
            "export", *SIZE, "--batch", "dynamic", "--to", to, "-o", "made",
            "--precision", "int8", "--calibrate", "demo",
        )  # fmt: skip
        suffixes = {path.suffix for path in Path("made").iterdir()}
        assert code == (1 if suffixes == {".rejected"} else 0), err
        assert code == 0 or "AP@0.5" in err


def test_like_is_what_torchvision_s_own_resize_gives(tmp_path: Path) -> None:
    import media
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    from export.command import _canvas_like
    from models.zoo import LoadedModel

    clip = media.variable_rate(tmp_path)
    module = case.person().module
    own = module.transform
    assert isinstance(own, GeneralizedRCNNTransform)
    height, width = _canvas_like(clip.path, LoadedModel("some", module, ("a",)))
    assert min(height, width) == own.min_size[-1] or max(height, width) == own.max_size
