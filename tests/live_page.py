"""A running ``rcnn-live … --serve`` and a real browser that looks at its page."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
# a browser that asks nobody for anything, on a machine without a GPU and as root
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS, LIMIT_SECONDS = 90.0, 60.0
_URL = re.compile(r"http://127\.0\.0\.1:\d+/")


@functools.cache
def missing() -> str | None:
    """Why no browser can run here, or None if one can."""
    return None if Path(CHROMIUM).exists() else f"there is no {CHROMIUM}"


def require() -> None:
    """Skip the test if no browser can run here; fail it if REQUIRE_SERVERS=1."""
    if reason := missing():
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {reason}")
        pytest.skip(reason)


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's chromium, without a window."""
    require()
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield made
        finally:
            made.close()


@dataclass(frozen=True)
class Served:
    """A running command that serves the page.

    Attributes:
        url: of the page.
        log: what it has told.
    """

    url: str
    log: Path

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What its API answers, as a program would ask."""
        request = urllib.request.Request(
            self.url + path.lstrip("/"),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Requested-With": "rcnn-live", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
            return json.load(response)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Served]:
    """Run ``rcnn-live ARGUMENTS --serve`` in a folder until the end of the block."""
    log = folder / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "stream", *arguments, "--serve", "127.0.0.1:0"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        try:
            yield Served(_url_told(process, log), log)
        finally:
            process.kill()


def _url_told(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the command tells as soon as it serves."""
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.1)):
        found = _URL.search(log.read_text())
        if found:
            return found[0]
        assert process.poll() is None, log.read_text()
        pause.wait(0.1)
    raise AssertionError(f"it serves nothing: {log.read_text()}")


class Watch:
    """Keeps what a page should not do: errors on its console, requests to other machines."""

    def __init__(self, page: Page, url: str) -> None:
        self.wrong: list[str] = []
        self._origin = url.removeprefix("http").rstrip("/")
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"{error}: {error.stack}"))
        page.on("request", self._request)
        page.on("websocket", lambda socket: self._check(socket.url.removeprefix("ws")))

    def _console(self, message: ConsoleMessage) -> None:
        # a login that is refused is told of there, too
        if message.type == "error" and "status of 401" not in message.text:
            self.wrong.append(f"{message.text} ({message.location})")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("blob:", "data:")):
            self._check(request.url.removeprefix("http"))

    def _check(self, url: str) -> None:
        if not url.startswith(self._origin + "/"):
            self.wrong.append(f"it asks {url}")
