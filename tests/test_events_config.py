"""Events of several cameras: where the configuration sends them, and what it refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import brokers
import pytest

from stream.config import Config
from stream.config_load import load_config
from stream.errors import UsageError
from stream.fleet import Fleet
from stream.redact import redact

CAMERA = "source: 'lavfi:testsrc2=size=96x64:rate=10:duration=1'"


def load(folder: Path, text: str) -> Config:
    path = folder / "cameras.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_files_start_at_the_folder_and_urls_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT", "p@ss/word")
    monkeypatch.setenv("HOOK", "a&b=c#d")
    config = load(
        tmp_path,
        f"""
defaults:
  events: ["found/{{name}}.jsonl", "mqtt://me:${{MQTT}}@broker/cameras/{{name}}#empty=skip"]
  rotate_events: 100M,1d,keep=7
cameras:
  door: {{{CAMERA}}}
  yard: {{{CAMERA}, events: "https://host/hook#secret=${{HOOK}}"}}
""",
    )
    door, yard = config.cameras["door"], config.cameras["yard"]
    assert door.events == (
        f"{tmp_path}/found/{{name}}.jsonl",
        "mqtt://me:p%40ss%2Fword@broker/cameras/{name}#empty=skip",
    )
    assert yard.events == ("https://host/hook#secret=a%26b%3Dc%23d",)
    assert "ss%2Fword" not in repr(config)
    assert redact("it was p@ss/word, or a&b=c#d") == "it was ***, or ***"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("events: ftp://host/x", "line 2: events is 'ftp://host/x': ftp://host/x: it has to begin"),
        ("events: ['mqtt://h/t#discovry=x']", "no option 'discovry'"),
        ("events: 'mqtt://h/{nam}'", "{nam} means nothing: allowed are {name} and {started}"),
        ("rotate_events: often", "give a size (100M), an age"),
        ("events: [a.jsonl, a.jsonl]", "events of d is that of d too"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f"cameras:\n  d: {{{CAMERA}, {line}}}\n")
    assert sentence in str(caught.value)
    assert "line 2" in str(caught.value)


def test_cameras_deliver_under_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_torch_thread: None
) -> None:
    monkeypatch.setenv("RCNN_LIVE_SPOOL", str(tmp_path / "spool"))
    with brokers.web_server() as server:
        fleet = Fleet(
            load(
                tmp_path,
                f"""
defaults:
  runtime: torch-eager
  canvas_side: 64
  events: ["out/{{name}}.jsonl", "{server.url("{name}")}"]
  rotate_events: 1k
cameras:
  door: {{{CAMERA}}}
  yard: {{{CAMERA}}}
""",
            ),
            lambda _: None,
        )
        deadline = time.monotonic() + 90
        try:
            while not fleet.has_ended:
                fleet.pump()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            fleet.stop()
        taken = list(server.taken)
    for name in ("door", "yard"):
        events = [json.loads(r.body) for r in taken if r.path == f"/{name}"]
        assert [event["index"] for event in events] == list(range(10))
        assert {event["source"] for event in events} == {name}
        parts = [
            *sorted((tmp_path / "out").glob(f"{name}-*.jsonl")),
            tmp_path / f"out/{name}.jsonl",
        ]
        lines = "".join(part.read_text() for part in parts).splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(10))
