from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_page import LIMIT_SECONDS, Served, Watch, browser, require, served
from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, expect
from rtsp_server import RtspServer, rtsp_server

from stream.control.controls import Controls
from stream.control.zone_store import ZoneStore
from stream.web.server import PageServer
from stream.web.settings import ServeSettings

pytestmark = pytest.mark.timeout(400)
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
TOKEN = "a token for the tests"
EVIL = "<img src=x onerror=\"window.hacked = 'yes'\"><script>hacked = 1</script>"

# Pixels of the picture, as one number; taken twice in one task, no frame can come between
PIXELS = """() => {
    const canvas = document.querySelector(".main-column canvas");
    const { width, height } = canvas;
    const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7);
}"""
SWITCHED = f"""(name) => {{
    const pixels = {PIXELS};
    const box = document.querySelector(`.switches [name=${{name}}]`);
    const before = pixels();
    box.click();
    const after = pixels();
    box.click();
    return [before !== after, before === pixels()];
}}"""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    require()
    with rtsp_server(tmp_path_factory.mktemp("street")) as server:
        yield server


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, street: RtspServer) -> Iterator[Served]:
    """Two cameras: people who move, and one that can be killed."""
    folder = tmp_path_factory.mktemp("live")
    cameras = {
        "defaults": {"runtime": "torch-eager", "canvas_side": 64, "threads": 1, "score": 0.3},
        "cameras": {
            "demo": {
                "source": "demo:live",
                "zones": {"left": [[0.02, 0.1], [0.5, 0.1], [0.5, 0.98], [0.02, 0.98]]},
            },
            "street": {"source": street.url()},
        },
    }
    (folder / "cameras.yaml").write_text(json.dumps(cameras), encoding="utf-8")
    with served(folder, "cameras", "cameras.yaml") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, and fails the test for what none may do."""
    pages: list[tuple[Page, Watch]] = []

    def open_one(
        url: str, size: ViewportSize = DESKTOP, prepare: Callable[[Page], None] = lambda _: None
    ) -> Page:
        page = chromium.new_context(viewport=size, locale="en-GB").new_page()
        page.set_default_timeout(LIMIT_SECONDS * 1000)
        pages.append((page, Watch(page, url.partition("#")[0])))
        prepare(page)
        page.goto(url)
        return page

    expect.set_options(timeout=LIMIT_SECONDS * 1000)
    yield open_one
    for page, watch in pages:
        page.context.close()
        assert not watch.wrong


@pytest.fixture
def demo(live: Served, open_page: Callable[..., Page]) -> Page:
    """One camera's page, once somebody is in the picture."""
    page = open_page(live.url + "#/camera/demo")
    expect(card(page, "Objects")).to_contain_text(re.compile(r"[1-9]\d* shown"))
    return page


@pytest.fixture
def no_camera(tmp_path: Path) -> Iterator[PageServer]:
    """A server without one."""
    controls = Controls(tmp_path, ZoneStore(tmp_path / "zones.yaml"))
    with PageServer(ServeSettings(address="127.0.0.1:0"), controls) as server:
        yield server


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def test_picture_moves(demo: Page) -> None:
    for switch in demo.locator(".switches input").all():
        demo.evaluate("box => box.click()", switch.element_handle())
    first = demo.evaluate(PIXELS)
    demo.wait_for_function(f"first => ({PIXELS})() !== first", arg=first)


def test_grid_shows_every_camera_and_leads_to_it(live: Served, open_page: Any) -> None:
    page = open_page(live.url)
    for name in ("demo", "street"):
        tile = page.get_by_role("link", name=name)
        expect(tile).to_contain_text("FPS")
        expect(tile.locator(".screen")).not_to_have_class(re.compile("empty"))
    page.get_by_role("link", name="street").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("street")
    expect(page.locator(".facts")).to_contain_text(re.compile("128.96"))


@pytest.mark.parametrize("layer", ["masks", "boxes", "labels", "zones"])
def test_overlays_are_drawn_over_the_same_picture(demo: Page, layer: str) -> None:
    assert demo.evaluate(SWITCHED, layer) == [True, True]


def test_switches_are_remembered(demo: Page) -> None:
    demo.locator(".switch", has_text="Boxes").click()
    demo.reload()
    expect(demo.get_by_role("checkbox", name="Boxes")).not_to_be_checked()
    expect(demo.get_by_role("checkbox", name="Masks")).to_be_checked()


def test_slider_and_classes_change_the_count(demo: Page) -> None:
    shown = card(demo, "Objects")
    demo.get_by_role("slider").press("End")
    expect(shown).to_contain_text("0 shown")
    demo.wait_for_function(_camera("settings.score === 1 && !counts.person"))
    demo.get_by_role("slider").press("Home")
    demo.wait_for_function(_camera("settings.score < 0.2 && counts.person > 0"))
    expect(shown).to_contain_text(re.compile(r"[1-9]\d* shown"))
    demo.get_by_role("button", name="None").click()
    demo.wait_for_function(_camera("settings.classes?.length === 0 && !counts.person"))
    demo.get_by_role("checkbox", name="person").check()
    demo.wait_for_function(_camera("settings.classes === null && counts.person > 0"))


def _camera(condition: str) -> str:
    """Whether the server itself says so of the camera."""
    return f"""async () => {{
        const {{ settings, counts }} = await (await fetch("/api/cameras/demo")).json();
        return {condition};
    }}"""


def test_recording_starts_and_plays(demo: Page, live: Served) -> None:
    demo.get_by_role("button", name="Record", exact=True).click()
    stop = demo.get_by_role("button", name="Stop recording")
    expect(stop).to_be_visible()
    expect(demo.locator(".told")).to_contain_text(re.compile(r"\b\d{2,} frames"))
    stop.click()
    expect(demo.get_by_role("button", name="Record", exact=True)).to_be_enabled()
    demo.get_by_role("link", name="Recordings").click()
    demo.locator("a.recording").first.click()
    video = demo.locator("video")
    demo.wait_for_function("() => document.querySelector('video')?.currentTime > 0")
    middle = video.evaluate("""async (video) => {
        const sought = new Promise((resolve) => { video.onseeked = resolve; });
        video.pause();
        video.currentTime = video.duration / 2;
        await sought;
        return [video.currentTime / video.duration, video.videoWidth, video.error];
    }""")
    assert middle == [pytest.approx(0.5, abs=0.1), 854, None]
    name = live.ask("/api/recordings?camera=demo")[0]["file"]
    demo.once("dialog", lambda dialog: dialog.accept())
    demo.get_by_role("button", name=f"Delete {name}").click()
    expect(demo.get_by_text("There is no recording yet")).to_be_visible()


def test_events_show_what_happened(live: Served, open_page: Any) -> None:
    page = open_page(live.url + "#/events?camera=demo")
    first = page.locator(".event").filter(has=page.locator("img")).first
    expect(first).to_contain_text("person")
    page.wait_for_function("() => document.querySelector('.event img')?.naturalWidth > 0")
    page.get_by_label("Camera").select_option("street")
    expect(page.locator(".event").filter(has_text="demo")).to_have_count(0)


def test_zone_is_drawn_stored_and_counts(demo: Page, live: Served) -> None:
    zones = card(demo, "Zones and lines")
    zones.get_by_role("button", name="Draw zone").click()
    zones.get_by_label("Name").fill("everywhere")
    frame = demo.locator(".editor").bounding_box()
    assert frame is not None
    for x, y in ((0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        demo.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
    zones.get_by_role("button", name="Store").click()
    row = zones.get_by_role("listitem").filter(has_text="everywhere")
    expect(row).to_contain_text(re.compile(r"[1-9]\d* person inside"))
    stored = live.ask("/api/cameras/demo/zones")["zones"]
    assert [zone["name"] for zone in stored] == ["left", "everywhere"]
    assert stored[1]["polygon"][2] == [pytest.approx(0.99, abs=0.01)] * 2
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert len(live.ask("/api/cameras/demo/zones")["zones"]) == 1


def test_line_is_dragged(demo: Page, live: Served) -> None:
    zones = card(demo, "Zones and lines")
    zones.get_by_role("button", name="Draw line").click()
    zones.get_by_label("Name").fill("gate")
    frame = demo.locator(".editor").bounding_box()
    assert frame is not None
    demo.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.5 * frame["height"])
    demo.mouse.down()
    demo.mouse.move(frame["x"] + 0.8 * frame["width"], frame["y"] + 0.6 * frame["height"])
    demo.mouse.up()
    zones.get_by_role("button", name="Store").click()
    row = zones.get_by_role("listitem").filter(has_text="gate")
    expect(row).to_contain_text("in")
    (line,) = live.ask("/api/cameras/demo/zones")["lines"]
    assert line["from"] == [pytest.approx(0.2, abs=0.01), pytest.approx(0.5, abs=0.01)]
    assert line["to"] == [pytest.approx(0.8, abs=0.01), pytest.approx(0.6, abs=0.01)]
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_what_is_no_zone_is_told_and_not_lost(demo: Page, open_page: Any) -> None:
    zones = card(demo, "Zones and lines")
    zones.get_by_role("button", name="Draw zone").click()
    zones.get_by_label("Name").fill("crossed")
    points = zones.get_by_label("Points, parts of width and height")
    points.fill("0.1,0.1 0.9")
    points.press("Enter")
    expect(zones.get_by_role("alert")).to_contain_text("pairs of numbers from 0 to 1")
    points.fill("0.1,0.1 0.9,0.9 0.9,0.1")
    demo.keyboard.press("Escape")
    expect(zones.get_by_role("button", name="Draw zone")).to_be_visible()


def test_keyboard_alone(live: Served, open_page: Any) -> None:
    page = open_page(live.url)
    expect(page.get_by_role("link", name="demo")).to_contain_text("FPS")
    tab_to(page, "demo")
    page.keyboard.press("ArrowRight")
    assert "street" in focused(page)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("demo")
    page.keyboard.press("m")
    expect(page.get_by_role("checkbox", name="Masks")).not_to_be_checked()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("snapshot")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    tab_to(page, "Draw zone")
    page.keyboard.press("Enter")
    page.keyboard.type("typed")
    tab_to(page, "Add corner")
    page.keyboard.press("Enter")  # a shape in the middle, its first corner in focus
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    zones = card(page, "Zones and lines")
    expect(zones.get_by_role("listitem").filter(has_text="typed")).to_be_visible()
    stored = live.ask("/api/cameras/demo/zones")["zones"][-1]
    assert (stored["name"], stored["polygon"][0]) == ("typed", [0.29, 0.3])
    tab_to(page, "Delete typed")
    page.keyboard.press("Enter")
    expect(zones.get_by_role("listitem").filter(has_text="typed")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="street")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of that name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if name in focused(page):
            return
    raise AssertionError(f"Tab does not reach {name}")


def focused(page: Page) -> str:
    """Name of what has the focus."""
    name: str = page.evaluate(
        "(document.activeElement.ariaLabel ?? '') + document.activeElement.textContent"
    )
    return name


@pytest.mark.parametrize("place", ["", "#/camera/demo", "#/recordings", "#/events"])
def test_phone_needs_no_sideways_scrolling(live: Served, open_page: Any, place: str) -> None:
    page = open_page(live.url + place, PHONE)
    page.wait_for_function("() => document.querySelector('main').innerText.length > 20")
    expect(page.get_by_role("navigation")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_reconnecting_is_shown_and_spoken(
    live: Served, open_page: Any, street: RtspServer, tmp_path: Path
) -> None:
    page = open_page(live.url + "#/camera/street")
    expect(page.locator(".state")).to_have_text("live")
    street.kill()
    expect(page.locator(".screen .message")).to_contain_text(re.compile(r"attempt [1-9]"))
    expect(page.locator(".for-readers")).to_contain_text("street: Reconnecting, attempt")
    with rtsp_server(tmp_path, port=street.port):
        expect(page.locator(".state")).to_have_text("live")
        expect(page.locator(".screen .message")).to_be_hidden()


def test_picture_comes_as_mjpeg_where_websockets_fail(live: Served, open_page: Any) -> None:
    page = open_page(live.url + "#/camera/demo", prepare=without_sockets("/ws/live/"))
    expect(page.get_by_label("How the picture comes")).to_have_value("mjpeg")
    page.wait_for_function("() => document.querySelector('.other img')?.naturalWidth > 0")
    expect(page.get_by_role("checkbox", name="Masks")).to_be_disabled()


def without_sockets(path: str) -> Callable[[Page], None]:
    """For a network that does not let them through."""
    return lambda page: page.route_web_socket(re.compile(path), lambda socket: socket.close())


def test_picture_comes_by_webrtc(demo: Page) -> None:
    demo.get_by_label("How the picture comes").select_option("webrtc")
    demo.wait_for_function("() => document.querySelector('.other video')?.videoWidth > 0")


def test_a_server_that_is_gone_is_told(live: Served, open_page: Any) -> None:
    page = open_page(live.url, prepare=without_sockets("/ws/status"))
    expect(page.locator(".connection")).to_contain_text("No connection to the server")


def test_scripts_in_names_do_nothing(live: Served, open_page: Any) -> None:
    event = {"id": 1, "camera": EVIL, "time": "2026-01-01T00:00:00Z", "kind": "appeared"}
    event |= {"label": EVIL, "score": 0.5, "text": EVIL, "thumbnail": None, "clip": None}
    event["recording"] = None
    camera = live.ask("/api/cameras/demo") | {"name": EVIL, "source": EVIL, "classes": [EVIL]}
    zone = {"name": EVIL, "polygon": [[0, 0], [1, 0], [1, 1]], "classes": None}
    camera["zones"] = {"zones": [zone], "lines": []}

    def answer_evil(page: Page) -> None:
        page.route_web_socket(re.compile("/ws/live/"), lambda socket: None)  # opens, says nothing
        page.route("**/api/events*", lambda route: route.fulfill(json=[event]))
        page.route("**/api/cameras", lambda route: route.fulfill(json=[camera]))
        page.route("**/api/cameras/demo", lambda route: route.fulfill(json=camera))

    page = open_page(live.url, prepare=answer_evil)
    for place, where in (("", ".tile"), ("#/camera/demo", ".places"), ("#/events", ".event")):
        page.goto(live.url + place)
        expect(page.locator(where).first).to_contain_text(EVIL)
    assert page.evaluate("window.hacked") is None


def test_a_list_that_grows_keeps_the_focus(no_camera: PageServer, open_page: Any) -> None:
    event = {"camera": "door", "time": "2026-01-01T00:00:00Z", "kind": "appeared", "label": "dog"}
    event |= {"score": 0.5, "thumbnail": None, "clip": None}
    recording = {"camera": "door", "started": "2026-01-01T00:00:00Z", "seconds": 1.0, "bytes": 1}
    recording |= {"is_growing": False}
    asked: Counter[str] = Counter()

    def answer_more(page: Page) -> None:
        def more(kind: str, row: Callable[[int], dict[str, Any]]) -> Callable[[Route], None]:
            def answer(route: Route) -> None:
                asked[kind] += 1
                route.fulfill(json=[row(number) for number in range(asked[kind], 0, -1)])

            return answer

        def happened(number: int) -> dict[str, Any]:
            moment = {"id": "x", "at_seconds": number}
            return event | {"id": number, "text": f"event {number}", "recording": moment}

        def recorded(number: int) -> dict[str, Any]:
            file = f"file {number}"
            return recording | {"id": str(number), "file": file, "url": f"/{number}"}

        page.route("**/api/events*", more("events", happened))
        page.route("**/api/recordings*", more("recordings", recorded))

    for place, row, control in (
        ("events", "a.event", "a.event"),
        ("recordings", "a.recording", "button[aria-label='Delete file 1']"),
    ):
        page = open_page(f"{no_camera.url}#/{place}", prepare=answer_more)
        page.locator(control).last.focus()
        name = focused(page)
        assert name
        expect(page.locator(row)).not_to_have_count(1)
        assert focused(page) == name


def test_failures_are_told_in_full_and_a_held_key_counts_once(
    no_camera: PageServer, open_page: Any
) -> None:
    reason = "The disk has less left than --min-free wants, so that nothing is written for now."
    recording = {"on": True, "possible": True, "reason": reason, "file": None}
    recording |= {"written": 0, "dropped": 0}
    door = {"name": "door", "source": "rtsp://***@door", "model": "one", "width": 64, "height": 48}
    door |= {"state": "live", "sentence": "live", "attempt": 0, "classes": [], "lowest_score": 0.1}
    door |= {"settings": {"score": 0.5, "classes": None}, "zones": {"zones": [], "lines": []}}
    door |= {"recording": recording}

    def answer_door(page: Page) -> None:
        page.route_web_socket(re.compile("/ws/live/"), lambda socket: None)
        page.route("**/api/cameras/door", lambda route: route.fulfill(json=door))
        wrong = {"sdp": "nonsense", "type": "answer"}
        page.route("**/api/cameras/door/webrtc", lambda route: route.fulfill(json=wrong))

    page = open_page(no_camera.url + "#/camera/door", prepare=answer_door)
    told = page.locator(".told")
    expect(told).to_have_text(reason)
    assert told.evaluate("told => told.scrollWidth <= told.clientWidth")  # all of it
    stop = page.get_by_role("button", name="Stop recording")
    assert stop.get_attribute("aria-pressed") is None  # "stop, pressed" would say the opposite
    masks = page.get_by_role("checkbox", name="Masks")
    expect(masks).to_be_checked()
    for _ in range(4):
        page.keyboard.down("m")  # held: the last three are repeats
    expect(masks).not_to_be_checked()
    way = page.get_by_label("How the picture comes")
    way.select_option("webrtc")
    expect(page.locator(".note.bad")).to_be_visible()
    expect(way).to_have_value("websocket")


def test_who_has_no_token_stays_outside(chromium: Browser, open_page: Any, tmp_path: Path) -> None:
    settings = ServeSettings(address="127.0.0.1:0", token=TOKEN)
    with PageServer(settings, Controls(tmp_path, ZoneStore(tmp_path / "zones.yaml"))) as server:
        page = open_page(server.url)
        page.get_by_label("Password or token").fill("guessed")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert").first).to_contain_text("The token is wrong.")
        page.get_by_label("Password or token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("There is no camera yet.")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
