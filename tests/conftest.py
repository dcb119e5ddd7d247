"""What holds for every test: nothing logged at ERROR, no thread left, and who may skip."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av  # noqa: F401 - before OpenCV, or capturing the screen crashes: see stream/cli.py
import pytest
from affinity import WORKER  # before all that counts cores, as torch does when it is imported
from labelled import OpenCoco, write_coco
from pieces import Run

from models.data.coco import CocoPictures
from stream import redact

if TYPE_CHECKING:
    from runtime_cases import Exports

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Exports are made once for all tests, and kept for the next run of them
os.environ.setdefault("RCNN_LIVE_CACHE", str(Path(__file__).parents[1] / ".pytest_cache/exports"))

THREAD_GRACE_SECONDS = 2.0
# a debugger's, a test distributor's, a progress bar's of torch's exporter: not the tests' own
KNOWN_THREADS = ("pydevd.", "execnet", "tqdm_monitor")

SHARED = Path(os.environ.get("RCNN_LIVE_SHARED") or Path(__file__).parents[2] / "shared")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        _require_gpu()
    if item.get_closest_marker("real_data"):
        _require_shared()


def _require_gpu() -> None:
    import torch  # only where a test needs it: it takes seconds

    if torch.cuda.is_available():
        return
    if os.environ.get("REQUIRE_GPU") == "1":
        pytest.fail("REQUIRE_GPU=1, and CUDA is not available", pytrace=False)
    pytest.skip("CUDA is not available")


def _require_shared() -> None:
    if not (SHARED / "data").is_dir():
        pytest.skip("no real data: it is neither in ../shared nor at RCNN_LIVE_SHARED")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real data; skips where it is absent."""
    _require_shared()
    return SHARED


@pytest.fixture(autouse=True)
def no_error_log(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fails a test that logs at ERROR or above, unless it is marked ``allow_error_log``."""
    yield
    if request.node.get_closest_marker("allow_error_log"):
        return
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    errors = [
        f"{record.name}: {record.getMessage()}"
        for record in records
        if record.levelno >= logging.ERROR
    ]
    assert not errors, f"logged at ERROR: {errors}"


@pytest.fixture(autouse=True)
def no_secret_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test keeps secret, such as "word", is none of the next one's."""
    monkeypatch.setattr(redact, "_known", None)
    monkeypatch.setattr(redact, "_known_secrets", frozenset())


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fails a test after which a thread it started is still alive."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + THREAD_GRACE_SECONDS
    while (left := _threads_since(before)) and time.monotonic() < deadline:
        left[0].join(deadline - time.monotonic())
    assert not left, f"threads left alive: {[thread.name for thread in left]}"


def _threads_since(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(KNOWN_THREADS)
    ]


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Tensors as small as in tests are slower on two threads, and much slower on busy cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Files of the embedded model, each made when a test asks for it."""
    from runtime_cases import Exports  # only where a test needs it: it takes seconds

    if not WORKER:
        return Exports(tmp_path_factory.mktemp("exports"))
    shared = tmp_path_factory.getbasetemp().parent / "exports"
    shared.mkdir(exist_ok=True)
    return Exports(shared)


@pytest.fixture
def rcnn_live(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Runs the command in ``tmp_path``; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    from stream import cli

    # in the place of what would end the tests with the command, without a word
    monkeypatch.setattr(cli, "os", SimpleNamespace(_exit=sys.exit))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rcnn-live", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def open_coco(tmp_path: Path) -> OpenCoco:
    """Writes a COCO file's content, and its pictures, and opens it."""

    def write_and_open(content: dict[str, Any], *, pictures: bool = True) -> CocoPictures:
        folder = tmp_path / "images"
        file = write_coco(tmp_path / "some.json", folder, content, pictures=pictures)
        return CocoPictures.open(file, folder)

    return write_and_open
