from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from evaluation_pieces import NAMES, Scene, Scenes, Told, detections
from labelled import make_penn_fudan, people_of

from models.errors import DataError, RcnnLiveError, UsageError
from models.evaluation import command, output
from models.evaluation.command import evaluate


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A detector that finds the same two boxes everywhere takes the model's place."""
    asked: dict[str, object] = {}

    class Same(Told):
        def infer(self, canvas):  # type: ignore[no-untyped-def]
            return detections(people_of(0), scores=[0.9, 0.8])

    def runtime(flags: dict[str, object]) -> Told:
        asked.update(flags)
        return Same([], class_names=NAMES)

    monkeypatch.setattr(command, "_runtime", runtime)
    return asked


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_table_json_and_html(tmp_path: Path, found: dict[str, object]) -> None:
    data = make_penn_fudan(tmp_path / "set", 8)
    target, page = tmp_path / "out.json", tmp_path / "out.html"
    result = run(data, "--json", target, "--html", page, "--report-score", 0.85)
    assert result.exit_code == 0, result.exception
    assert result.stderr == ""  # no progress bar where there is no terminal
    assert result.stdout.startswith("told (fake fp32 on cpu): 2 pictures of set (val)")
    content = json.loads(target.read_text(encoding="utf-8"))
    assert content["settings"]["min_score"] == found["min_score"] == 0.05
    assert content["settings"]["data"] == "set"
    assert content["mistakes"]["score"] == 0.85
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert str(tmp_path) not in text + target.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json", "set"]


@pytest.mark.parametrize(("part", "count"), [("val", 2), ("train", 6), ("all", 8)])
def test_parts(tmp_path: Path, found: dict[str, object], part: str, count: int) -> None:
    data = make_penn_fudan(tmp_path / "set", 8)
    result = run(data, "--part", part, "--json", "-", "--quiet")
    assert json.loads(result.stdout)["pictures"] == count
    assert result.stderr == ""


def test_max_pictures(tmp_path: Path, found: dict[str, object]) -> None:
    data = make_penn_fudan(tmp_path / "set", 8)
    result = run(data, "--part", "all", "--max-pictures", 3, "--json", "-")
    assert json.loads(result.stdout)["pictures"] == 3  # the table is not in the way
    assert "AP@0.5" in result.stderr


def test_quiet(tmp_path: Path, found: dict[str, object]) -> None:
    result = run(make_penn_fudan(tmp_path / "set", 8), "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_part_without_pictures(monkeypatch: pytest.MonkeyPatch, found: dict[str, object]) -> None:
    monkeypatch.setattr(command, "_pictures", lambda data, flags: Scenes([]))
    assert isinstance(run("data").exception, DataError)


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_outputs_are_checked_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(command, "_pictures", lambda *given: pytest.fail("data was opened"))
    missing = run(tmp_path, option, tmp_path / "no" / "out")
    assert isinstance(missing.exception, UsageError)
    assert f"the folder {tmp_path / 'no'} does not exist" in str(missing.exception)
    folder = run(tmp_path, option, tmp_path)
    assert isinstance(folder.exception, UsageError)
    assert "is a folder" in str(folder.exception)


def test_outputs_overwrite_neither_inputs_nor_each_other(tmp_path: Path) -> None:
    annotations, same = tmp_path / "set.json", tmp_path / "out"
    annotations.write_text("{}")
    first = run(annotations, "--json", tmp_path / "." / "set.json")
    assert isinstance(first.exception, UsageError)
    assert "is read already" in str(first.exception)
    second = run(annotations, "--json", same, "--html", same)
    assert "is written by --json already" in str(second.exception)
    for option in ("--weights", "--model"):
        read = run(tmp_path, option, annotations, "--html", annotations)
        assert "is read already" in str(read.exception)
    assert annotations.read_text() == "{}"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert isinstance(run("data", "--json", tmp_path / "out.json").exception, UsageError)


def test_a_file_is_written_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.json"
    target.write_text("before")

    def full(path: Path, text: str, encoding: str) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RcnnLiveError, match=r"--json .* cannot be written: No space left"):
        output.write_text("after", target, "--json")
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_real_runtime_gets_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from models import zoo
    from models.runtimes import torch_eager

    seen: list[object] = []
    monkeypatch.setattr(zoo, "load", lambda *given: given)
    monkeypatch.setattr(
        torch_eager, "TorchEager", lambda loaded, **given: seen.append((loaded, given))
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda count: seen.append(count))
    flags = {"model": "m", "weights": Path("w"), "min_score": 0.1, "device": "cpu", "threads": 3}
    command._runtime({**flags, "canvas_side": 320, "runtime": "auto", "precision": "auto"})
    given = {"min_score": 0.1, "device": "cpu", "canvas_side": 320}
    assert seen == [3, (("m", Path("w")), given)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "them.onnx", "--canvas-side", 320), "has its weights and its canvas inside"),
        (("--model", "them.onnx", "--weights", "w.pth"), "has its weights and its canvas inside"),
        (("--precision", "bf16"), "in PyTorch eager, which computes in fp32"),
        (("--runtime", "openvino"), "is evaluated in PyTorch eager: to evaluate it in another"),
    ],
)
def test_what_would_change_nothing_is_refused(
    tmp_path: Path, options: tuple[object, ...], sentence: str
) -> None:
    ended = run(make_penn_fudan(tmp_path / "set", 4), *options)
    assert isinstance(ended.exception, UsageError)
    assert sentence in str(ended.exception)


def test_importing_the_command_does_not_import_torch() -> None:
    code = "import sys, models.evaluation.command; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_scenes_can_be_taken() -> None:
    """The fake keeps its contract."""
    part = Scenes([Scene(name="a"), Scene(name="b")]).take([1])
    assert (len(part), part.path(0).name) == (1, "b")


def test_the_part_that_training_was_told_to_hold_out(
    tmp_path: Path, found: dict[str, object]
) -> None:
    data = make_penn_fudan(tmp_path / "People", 8)
    ended = run(data, "--validation-count", 5, "--json", "-", "--quiet")
    assert json.loads(ended.stdout)["pictures"] == 5


def test_a_validation_part_without_pictures(tmp_path: Path, found: dict[str, object]) -> None:
    data = make_penn_fudan(tmp_path / "One", 1)
    ended = run(data)
    assert isinstance(ended.exception, DataError)
    assert "has no pictures: give a --validation-count, or evaluate --part all" in str(
        ended.exception
    )
    assert run(data, "--part", "all").exit_code == 0
