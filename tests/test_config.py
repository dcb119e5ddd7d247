"""``cameras.yaml``: what it may say, and what is said of a mistake in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pieces import Run

from stream import redact as redact_module
from stream.config import Config
from stream.config_load import files_of, load_config
from stream.errors import UsageError
from stream.redact import redact

PASSWORD = "s3/cr3t@x"


@pytest.fixture(autouse=True)
def no_secrets_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact_module, "_known", None)
    monkeypatch.setattr(redact_module, "_known_secrets", frozenset())


def load(folder: Path, text: str) -> Config:
    path = folder / "cameras.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def message(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, text)
    return str(caught.value).replace(str(folder / "cameras.yaml"), "FILE")


WHOLE = """
secrets: secrets.yaml
batch_wait_ms: 5
max_batch: 4
metrics: {port: 9100, host: 0.0.0.0}
defaults:
  score: 0.6
  canvas_side: 256
  record: recordings/{name}-{started}.mp4
  reconnect: {longest_seconds: 10}
cameras:
  door:
    source: rtsp://admin:${DOOR}@10.0.0.5/stream
    canvas: 360x640
    zones:
      step: [[0.1, 0.6], [0.9, 0.6], [0.9, 1.0]]
  "0":
    source: 0
    score: 0.3
    classes: [person]
    events: "-"
    max_age_ms: 300
    input_options: {http_proxy: "${PROXY}"}
"""


def test_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(f"DOOR: {PASSWORD}\n")
    secrets.chmod(0o600)
    monkeypatch.setenv("PROXY", "http://proxy")
    config = load(tmp_path, WHOLE)
    door, webcam = config.cameras["door"], config.cameras["0"]
    assert (config.batch_wait_ms, config.max_batch) == (5, 4)
    assert config.metrics is not None
    assert (config.metrics.port, config.metrics.host) == (9100, "0.0.0.0")
    assert door.source == "rtsp://admin:s3%2Fcr3t%40x@10.0.0.5/stream"  # escaped for the URL
    assert door.record == f"{tmp_path}/recordings/{{name}}-{{started}}.mp4"
    assert (door.canvas, door.canvas_side, door.score) == ((360, 640), None, 0.6)
    assert door.zones == {"step": [(0.1, 0.6), (0.9, 0.6), (0.9, 1.0)]}
    assert (door.reconnect.first_seconds, door.reconnect.longest_seconds) == (0.5, 10)
    assert (webcam.source, webcam.score, webcam.canvas_side) == ("0", 0.3, 256)
    assert (webcam.classes, webcam.events, webcam.max_age_ms) == (("person",), ("-",), 300)
    assert webcam.source_options().input_options == {"http_proxy": "http://proxy"}
    assert files_of(tmp_path / "cameras.yaml", config) == [tmp_path / "cameras.yaml", secrets]


def test_a_password_shows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR", PASSWORD)
    config = load(tmp_path, "cameras: {d: {source: 'rtsp://a:${DOOR}@h/x'}}")
    assert "cr3t" not in repr(config)
    assert redact(f"{PASSWORD} or s3%2Fcr3t%40x, said the server") == "*** or ***, said the server"


def test_a_password_in_the_file_itself_shows_nowhere(tmp_path: Path) -> None:
    load(tmp_path, "cameras: {d: {source: 'rtsp://a:hunter22@h/x'}}")
    assert redact("401 for hunter22") == "401 for ***"
    text = message(
        tmp_path, "cameras: {d: {source: 'rtsp://a:hunter33@h/x', record: 'rtsp://a:hunter33@h/x'}}"
    )
    assert "hunter33" not in text


def test_the_secrets_file_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", "from the environment")
    (tmp_path / "s.yaml").write_text("DOOR: from_the_file\n")
    (tmp_path / "s.yaml").chmod(0o600)
    config = load(tmp_path, "secrets: s.yaml\ncameras: {d: {source: 'rtsp://a:${DOOR}@h/x'}}")
    assert config.cameras["d"].source == "rtsp://a:from_the_file@h/x"


@pytest.mark.parametrize("written", ["0123", "12:30", "yes", "1_000", "2026-03-01", "1.50"])
def test_a_secret_is_what_is_written(tmp_path: Path, written: str) -> None:
    (tmp_path / "s.yaml").write_text(f"PIN: {written}\n")
    (tmp_path / "s.yaml").chmod(0o600)
    config = load(tmp_path, "secrets: s.yaml\ncameras: {d: {source: 'rtsp://h/${PIN}'}}")
    assert config.cameras["d"].source == f"rtsp://h/{written}"


@pytest.mark.parametrize("written", ["!hunter44", "*hunter44", "hunter44: x", "[hunter44]", ""])
def test_a_secrets_file_that_is_wrong_shows_nowhere(tmp_path: Path, written: str) -> None:
    (tmp_path / "s.yaml").write_text(f"PIN: {written}\n")
    (tmp_path / "s.yaml").chmod(0o600)
    text = message(tmp_path, "secrets: s.yaml\ncameras: {d: {source: demo}}")
    assert re.search("s.yaml (line 1 is no YAML: put the value in quotes|has to hold one)", text)
    assert "hunter44" not in text


def test_a_secrets_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("DOOR: x\n")
    (tmp_path / "s.yaml").chmod(0o640)
    text = message(tmp_path, "secrets: s.yaml\ncameras: {d: {source: demo}}")
    assert "FILE line 1: s.yaml is open to others than its owner: chmod 600" in text


def test_every_mistake_has_its_line_and_what_is_allowed(tmp_path: Path) -> None:
    text = message(
        tmp_path,
        """batch_wait_ms: 10
defaults:
  score: 3
  recrod: x.mp4
cameras:
  door:
    source: rtsp://admin:${NOT_THERE}@10.0.0.5/stream
    zones:
      step: [[0.1, 0.6], [0.9, 1.6], [0.9, 1.0]]
  yard:
    model: maskrcnn_resnet50_fpm
    clases: [person, dog]
    canvas: 3x5
  side:
    source: 0
    rtsp_transport: upd
    reconnect: {first: 3}
    record: "{nam}.mp4"
""",
    )
    assert text.splitlines() == [
        "FILE has 11 mistakes:",
        "  line 3: defaults.score is '3': it has to be less than or equal to 1.",
        "  line 4: there is no key 'recrod': did you mean 'record'?",
        "  line 7: ${NOT_THERE} is neither in the environment nor in a secrets file: set it, or "
        "name the file with 'secrets: FILE'.",
        "  line 9: zones.step.1.1 is '1.6': it has to be less than or equal to 1.",
        "  line 10: cameras.yard has no source.",
        "  line 11: model is 'maskrcnn_resnet50_fpm': there is no such model, did you mean "
        "maskrcnn_resnet50_fpn or maskrcnn_resnet50_fpn_v2.",
        "  line 12: there is no key 'clases': did you mean 'classes'?",
        "  line 13: canvas is '3x5': it has to be HEIGHTxWIDTH in px, such as 360x640.",
        "  line 16: rtsp_transport is 'upd': it has to be 'tcp' or 'udp'.",
        "  line 17: there is no key 'first': allowed are first_seconds, longest_seconds.",
        "  line 18: record is '{nam}.mp4': {nam} means nothing: allowed are {name} and {started}.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "FILE is empty"),
        ("- a", "FILE is empty"),
        ("cameras: {}", "FILE line 1: cameras: it needs one camera at least"),
        ("metrics: {port: 1}", "the file has no cameras."),
        ("a: [", "FILE line 1 is no YAML"),
        ("cameras:\n  d: {source: demo}\n  d: {source: x}", "line 3: 'd' stands in line 2 already"),
        ("cameras: {../x: {source: demo}}", "line 1: cameras: the name '../x' is not allowed"),
        ("cameras: {d: demo}", "line 1: d is 'demo': it has to be"),
        ("cameras: {d: {source: demo, record: x.avi}}", "it has to end in .mp4"),
        ("cameras: {d: {source: demo, segment: x}}", "segment 'x': give a length (30s, 10m, 1h)"),
        ("cameras: {d: {source: demo, keep: 7d}}", "keep removes old segments: give segment, too"),
        ("cameras: {d: {source: demo, min_free: 1m}}", "min_free '1m': give a size, such as 2GB"),
        ("cameras: {d: {source: a, record: '{started}.mp4', segment: 1m}}", "leave out {started}"),
        ("cameras: {d: {source: demo, zones: {z: [[0, 0], [1, 1], [0, 0]]}}}", "enclose an area"),
        ("cameras: {d: {source: demo, canvas: 360x640, canvas_side: 64}}", "either canvas or"),
        ("defaults: {record: x.mp4}\ncameras: {a: {source: demo}, b: {source: x}}", "put {name}"),
        ("&a cameras: {d: *a}", "FILE"),
        ("? [1, 2]\n: 3", "line 1: a key has to be a plain name"),
        ("secrets: 5\ncameras: {d: {source: demo}}", "line 1: secrets"),
        ("secrets: gone.yaml\ncameras: {d: {source: demo}}", "line 1: gone.yaml cannot be read"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    told = message(tmp_path, text)
    assert expected in told
    assert "\n" not in told


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_config(tmp_path / "no.yaml")


def test_check_only_checks(rcnn_live: Run, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("cameras: {door: {source: demo}, yard: {source: demo}}")
    assert rcnn_live("cameras", "--check", "good.yaml")[:2] == (
        0,
        "good.yaml: 2 cameras: door, yard.\n",
    )
    (tmp_path / "bad.yaml").write_text("cameras: {door: {sorce: demo}}")
    code, _, err = rcnn_live("cameras", "--check", "bad.yaml")
    assert code == 2
    assert "line 1: there is no key 'sorce': did you mean 'source'?" in err
