from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch
from evaluation_pieces import NAMES, Scene, Scenes, Told, detections
from rich.console import Console

from models.data.samples import BACKGROUND
from models.detections import Detections
from models.evaluation.crops import draw_mistake
from models.evaluation.evaluate import Evaluation, evaluate
from models.evaluation.mistakes import Box, Mistake
from models.evaluation.report import SHOWN, render_report
from models.evaluation.table import print_table

EVIL = '<script>alert("x")</script>'
SETTINGS = {
    "model": "told",
    "runtime": "fake",
    "device": "cpu",
    "precision": "fp32",
    "data": "street & co",
    "part": "val",
    "min_score": 0.05,
    "weights": None,
    "date": "2026-01-02 03:04 UTC",
}
BOXES = ((10, 10, 50, 90), (60, 20, 100, 110))


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def count(self, tag: str) -> int:
        return sum(one == tag for one, _ in self.elements)

    def pictures(self) -> list[np.ndarray]:
        """Every <img>, decoded (H,W,3) BGR."""
        found = []
        for tag, attributes in self.elements:
            if tag == "img":
                head, _, body = (attributes["src"] or "").partition(",")
                assert head == "data:image/jpeg;base64"
                jpeg = np.frombuffer(base64.b64decode(body, validate=True), np.uint8)
                picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
                assert picture is not None
                found.append(picture)
        return found


def evaluated(name: str = "a.png", class_name: str = "person") -> tuple[Evaluation, Scenes]:
    """One hit, one miss and one false alarm."""
    names = (BACKGROUND, class_name)
    found = detections((BOXES[0], (110, 5, 150, 40)), scores=[0.9, 0.75], class_names=names)
    pictures = Scenes([Scene(BOXES, name=name)], class_names=names)
    return evaluate(Told([found], class_names=names), pictures), pictures


def page_of(evaluation: Evaluation, pictures: Scenes) -> tuple[str, Page]:
    text = render_report(evaluation, pictures, SETTINGS)
    return text, Page(text)


def test_the_report_needs_nothing_else() -> None:
    text, page = page_of(*evaluated())
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
    assert "@import" not in text
    assert all(part.startswith("#") for part in text.replace("'", "").split("url(")[1:])
    assert "/secret" not in text  # file names only


def test_what_the_report_says() -> None:
    text, page = page_of(*evaluated())
    words = " ".join(page.words.split())
    for expected in (
        "told on street & co",
        "2026-01-02 03:04 UTC",
        "box AP@0.5",
        "mask AP@0.5",
        "p99",
        "person 0.75, 40x35 px",
        "person, 40x90 px",
        "1 of 1, the largest first",
        "a.png",
        "box, IoU 0.75",
    ):
        assert expected in words
    assert page.count("svg") == 2
    assert len(page.pictures()) == 2
    assert "prefers-color-scheme: dark" in text
    assert "var(--series-1)" in text
    assert "#0102" not in text  # every stand-in colour became a variable


def test_names_are_escaped() -> None:
    evaluation, pictures = evaluated(name=f"{EVIL}.png", class_name=f'"><img src=x>{EVIL}')
    text, page = page_of(evaluation, pictures)
    assert EVIL not in text
    assert page.count("script") == 0
    assert len(page.pictures()) == page.count("img") == 2
    assert EVIL in page.words  # but it can be read


def test_no_more_than_the_worst_are_shown() -> None:
    boxes = [(x, y, x + 8, y + 8) for x in range(0, 150, 10) for y in (0, 30, 60)]
    result = evaluate(Told([Detections.empty(NAMES)]), pictures := Scenes([Scene(boxes)]))
    _, page = page_of(result, pictures)
    assert len(page.pictures()) == SHOWN
    assert f"{SHOWN} of {len(boxes)}, the largest first" in page.words
    assert "None." in page.words  # no false alarm
    assert "nothing found near it" in page.words


def test_a_report_of_nothing() -> None:
    result = evaluate(Told([Detections.empty(NAMES)]), pictures := Scenes([Scene()]))
    _, page = page_of(result, pictures)
    assert page.pictures() == []
    assert page.count("svg") == 2


# --- the pictures of mistakes ---


def mistake(box: Box, *, score: float | None = None, truths: tuple[Box, ...] = ()) -> Mistake:
    return Mistake(
        picture=0,
        class_name="person",
        box=box,
        area_px=1.0,
        score=score,
        overlap=None,
        truths=truths,
        crowds=(),
        found=(),
    )


def decoded(picture: torch.Tensor, of: Mistake) -> np.ndarray:
    (pixels,) = Page(f'<img src="{draw_mistake(picture, of)}">').pictures()
    return pixels[:, :, ::-1].astype(int)  # RGB


def test_truths_and_detections_have_colours_of_their_own() -> None:
    grey = torch.full((3, 200, 300), 90, dtype=torch.uint8)
    miss = decoded(grey, mistake((100, 50, 160, 110)))
    alarm = decoded(grey, mistake((100, 50, 160, 110), score=0.9))
    assert (miss[..., 1] - miss[..., 0]).max() > 100  # turquoise
    assert (alarm[..., 0] - alarm[..., 2]).max() > 100  # orange
    assert abs(miss[..., 0] - miss[..., 2]).max() > 50


def test_the_cut_shows_the_object_with_its_surroundings() -> None:
    picture = torch.zeros(3, 200, 300, dtype=torch.uint8)
    picture[:, 60:100, 110:150] = 255  # the object
    picture[0, :, :20] = 255  # far away
    view = decoded(picture, mistake((100, 50, 160, 110)))
    assert view[view.shape[0] // 2, view.shape[1] // 2].min() > 200
    assert view[:, :3, 0].max() < 60


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (290, 190, 300, 200), (0, 0, 300, 200), (-9, -9, 0, 0), (20, 20, 20, 20)]
)
def test_cuts_at_the_rim(box: Box) -> None:
    view = decoded(torch.full((3, 200, 300), 90, dtype=torch.uint8), mistake(box, truths=(box,)))
    assert max(view.shape) == 320


# --- the terminal ---


def test_table() -> None:
    evaluation, _ = evaluated()
    console = Console(file=io.StringIO(), width=100)
    print_table(evaluation, SETTINGS, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("told (fake fp32 on cpu): 1 pictures of street & co (val), 2 obj")
    assert lines[1].startswith("AP@0.5  box 0.50")
    assert "mask 0.50" in lines[1]
    text = "\n".join(lines)
    for expected in ("AP@[.50:.95]", "AR large", "p99", " FPS", "1 found, 1 missed, 1 false alarm"):
        assert expected in text
    assert len(lines) < 30


def test_markup_in_names_is_text() -> None:
    evaluation, _ = evaluated()
    console = Console(file=io.StringIO(), width=100)
    print_table(evaluation, {**SETTINGS, "data": "[red]set[/red]"}, console)
    assert "[red]set[/red]" in console.file.getvalue()  # type: ignore[attr-defined]
