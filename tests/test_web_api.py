"""Every endpoint, by a client that follows the OpenAPI and by one that does not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from web_case import CHANGE, Case, serving, until

TRIANGLE = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]


def test_a_camera_is_what_runs(tmp_path: Path) -> None:
    with serving(tmp_path, names=("door", "yard")) as case, case.client() as client:
        until(lambda: case.controls.cameras()["door"].frames.newest, "a frame is there")
        assert [one["name"] for one in client.get("/api/cameras").json()] == ["door", "yard"]
        door = client.get("/api/cameras/door").json()
        assert (door["width"], door["height"], door["model"]) == (64, 48, "one_box")
        assert door["classes"] == ["person"]
        assert door["settings"] == {"score": 0.0, "classes": None}
        assert door["recording"]["on"] is False
        assert door["zones"] == {"zones": [], "lines": []}
        missing = client.get("/api/cameras/none")
        assert (missing.status_code, missing.json()["detail"]) == (
            404,
            "There is no camera of that name.",
        )


def test_settings_hold_from_the_next_frame_on(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        place = "/api/cameras/door/settings"
        assert client.patch(place, json={"classes": []}).json() == {"score": 0.0, "classes": []}
        until(lambda: client.get("/api/cameras/door").json()["counts"] == {}, "nobody is left")
        assert client.patch(place, json={"score": 0.2}).json() == {"score": 0.2, "classes": []}
        back = client.patch(place, json={"classes": None, "score": 0})
        assert back.json() == {"score": 0.0, "classes": None}
        until(lambda: client.get("/api/cameras/door").json()["counts"], "somebody is back")
        for change, words in (
            ({"score": 2}, "less than or equal"),
            ({"classes": ["unicorn"]}, "unicorn"),
            ({"colour": "red"}, "colour"),
        ):
            wrong = client.patch(place, json=change)
            assert wrong.status_code == 422, wrong.text
            assert words in wrong.json()["detail"]
        wrong = client.patch(place, content=b"{score", headers={"Content-Type": "application/json"})
        assert (wrong.status_code, wrong.json()["detail"]) == (422, "The request has to be JSON.")


def test_zones_are_stored_and_count(tmp_path: Path) -> None:
    whole = {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "classes": None}
    line = {"name": "gate", "from": [0, 0.5], "to": [1, 0.5], "classes": ["person"]}
    with serving(tmp_path) as case, case.client() as client:
        place = "/api/cameras/door/zones"
        form = {"zones": [whole], "lines": [line]}
        assert client.put(place, json=form).json() == form
        assert client.get(place).json() == form
        counted = {"all": {"person": 1}}
        until(
            lambda: client.get("/api/metrics").json()["cameras"]["door"]["zones"] == counted,
            "the person is counted",
        )
        assert (tmp_path / "zones.yaml").read_text().count("all")
        for wrong in (
            {"zones": [whole, whole]},
            {"zones": [{**whole, "polygon": [[0, 0], [1, 1], [0, 1], [1, 0]]}]},
            {"zones": [{**whole, "polygon": [[0, 0], [2, 1], [0, 1]]}]},
            {"zones": [{**whole, "classes": ["unicorn"]}]},
            {"lines": [{**line, "to": [0, 0.5]}]},
        ):
            assert client.put(place, json=wrong).status_code == 422, wrong
        assert client.get(place).json() == form


def test_a_recording_is_made_listed_played_and_removed(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        switch = "/api/cameras/door/recording"
        assert client.post(switch, json={"on": True}).json()["on"] is True
        until(lambda: client.get("/api/cameras/door").json()["recording"]["written"] > 20, "it is")
        (growing,) = client.get("/api/recordings?camera=door").json()
        assert growing["is_growing"] is True
        assert client.delete(f"/api/recordings/{growing['id']}").status_code == 409
        whole = client.get(growing["url"])  # of a file that grows meanwhile
        assert whole.status_code == 200
        assert client.post(switch, json={"on": False}).json()["on"] is False
        (entry,) = until(
            lambda: [one for one in client.get("/api/recordings").json() if not one["is_growing"]],
            "it is finished",
        )
        assert entry["camera"] == "door"
        video = client.get(entry["url"])
        assert video.headers["content-type"] == "video/mp4"
        assert len(video.content) == entry["bytes"]
        part = client.get(entry["url"], headers={"Range": "bytes=4-11"})
        assert (part.status_code, part.content) == (206, video.content[4:12])
        (tmp_path / "copy.mp4").write_bytes(video.content)
        with av.open(tmp_path / "copy.mp4") as container:
            assert sum(1 for _ in container.decode(video=0)) > 20
        assert client.get("/api/recordings?camera=yard").json() == []
        assert client.delete(f"/api/recordings/{entry['id']}").status_code == 204
        assert client.get("/api/recordings").json() == []
        assert client.get(entry["url"]).status_code == 404


def test_a_snapshot_is_clean_or_annotated(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        until(lambda: case.controls.cameras()["door"].frames.newest, "a frame is there")
        pictures = []
        for query in ("", "?annotated=0"):
            answer = client.get(f"/api/cameras/door/snapshot.jpg{query}")
            assert answer.headers["content-type"] == "image/jpeg"
            pictures.append(cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1))
        assert np.ptp(pictures[0]) > 50
        assert np.ptp(pictures[1]) <= 4


def test_events_come_newest_first_with_pictures(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        events = until(lambda: client.get("/api/events?label=person").json(), "one is told")
        assert events[0]["camera"] == "door"
        assert events[0]["kind"] == "appeared"
        shown = until(
            lambda: client.get("/api/events?label=person").json()[-1]["thumbnail"], "its picture"
        )
        assert client.get(shown).headers["content-type"] == "image/jpeg"
        assert client.get(f"/api/events?before={events[-1]['id']}&label=person").json() == []
        assert client.get("/api/events/999999/thumbnail.jpg").status_code == 404
        assert client.get("/api/events?limit=1000").status_code == 422


def test_the_documentation_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        page = client.get("/docs").text
        assert "http" not in page
        for asset in ("/docs/static/swagger-ui-bundle.js", "/docs/start.js"):
            assert f'src="{asset}"' in page
            assert client.get(asset).headers["content-type"].startswith("text/javascript")
        assert client.get("/docs/static/swagger-ui.css").status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
        assert {"/api/cameras/{name}/settings", "/stream/{name}.mjpg", "/api/login"} <= set(paths)
        for path in paths.values():
            assert all("summary" in one and "description" in one for one in path.values())


@pytest.mark.slow
def test_nothing_that_is_sent_brings_the_server_down(tmp_path: Path) -> None:
    """Schemathesis sends what the OpenAPI allows, and what it does not: no answer is a 500."""
    with serving(tmp_path) as case:
        schema = schemathesis.openapi.from_url(f"{case.url}/openapi.json")
        sent: Counter[int] = Counter()
        for found in schema.exclude(path="/stream/{name}.mjpg").get_all_operations():
            for mode in GenerationMode:
                if mode is GenerationMode.POSITIVE or found.ok().body:
                    fuzz(case, found.ok(), mode, sent)
        assert sent[200] > 5
        assert sent[404] > 5
        assert sent[422] > 5
        with case.client() as client:
            assert client.get("/api/cameras").status_code == 200


def fuzz(case: Case, operation: Any, mode: GenerationMode, sent: Counter[int]) -> None:
    """Some requests to one endpoint, of the camera that is there."""

    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(request: Any) -> None:
        if "name" in (request.path_parameters or {}):
            request.path_parameters["name"] = "door"
        answer = request.call(base_url=case.url, headers=CHANGE, timeout=20)
        sent[answer.status_code] += 1
        assert answer.status_code < 500, (request.as_curl_command(), answer.text)

    send()
