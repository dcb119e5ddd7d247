"""Every name of TensorRT's that our code uses is in the oldest and the newest version we run on."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorrt_names as names

Wheels = list[tuple[str, list[str], names.Classes]]


@pytest.fixture(scope="module")
def wheels() -> Wheels:
    cache = names.ROOT / ".pytest_cache" / "tensorrt"
    try:
        return [names.read(names.wheel(each, cache)) for each in names.WHEELS]
    except names.Unavailable as error:
        pytest.skip(str(error))


def test_the_double_has_what_both_wheels_have(wheels: Wheels) -> None:
    oldest, newest = (classes for _, _, classes in wheels)
    assert names.known() == names.common(oldest, newest)


def test_they_are_the_versions_we_say(wheels: Wheels) -> None:
    oldest, newest = (version for version, _, _ in wheels)
    assert oldest.startswith("10.8.")
    assert newest.startswith("11.")


@pytest.mark.parametrize("path", names.USERS, ids=lambda path: path.name)
def test_what_we_use_is_in_both(wheels: Wheels, path: Path) -> None:
    for version, modules, classes in wheels:
        missing = {
            name for name in names.used(path, classes) if not names.exists(name, modules, classes)
        }
        assert not missing, f"TensorRT {version} lacks them"


def test_weak_typing_is_seen_to_be_gone(wheels: Wheels, tmp_path: Path) -> None:
    """What the newest one has lost is found, through an object's class, too."""
    file = tmp_path / "old.py"
    file.write_text(
        "import tensorrt as trt\n"
        "def build(builder: trt.Builder, engine: trt.ICudaEngine):\n"
        "    config = builder.create_builder_config()\n"
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    config.int8_calibrator = None\n"
        "    return engine.device_memory_size\n"
    )
    expected = {
        "BuilderFlag.FP16",
        "IBuilderConfig.int8_calibrator",
        "ICudaEngine.device_memory_size",
    }
    for (_, modules, classes), lost in zip(wheels, (set(), expected), strict=True):
        used = names.used(file, classes)
        assert expected <= used
        assert {name for name in used if not names.exists(name, modules, classes)} == lost


@pytest.mark.parametrize(
    ("path", "few"),
    [
        ("export/tensorrt.py", {"Builder.build_serialized_network", "OnnxParser.parse"}),
        ("export/tensorrt_progress.py", {"IProgressMonitor.step_complete"}),
        ("models/runtimes/tensorrt.py", {"IExecutionContext.execute_async_v3", "nptype"}),
        ("models/runtimes/tensorrt_package.py", {"ILogger.Severity.ERROR", "__version__"}),
    ],
)
def test_names_are_found_in_our_code(path: str, few: set[str]) -> None:
    found = names.used(names.ROOT / path, names.known())
    assert few <= found
    assert {file.name for file in names.ROOT.glob("*/**/*tensorrt*.py")} >= {Path(path).name}


def test_all_files_that_import_it_are_looked_at() -> None:
    importing = {
        file
        for folder in ("export", "models", "stream", "scripts")
        for file in (names.ROOT / folder).rglob("*")
        if file.is_file()
        and file.suffix in ("", ".py")
        and "import tensorrt" in file.read_text(encoding="utf-8")
    }
    assert importing == set(names.USERS)
