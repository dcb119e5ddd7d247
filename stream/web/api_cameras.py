"""Looking at cameras, and changing them while they run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from stream.control.types import LiveSettings
from stream.web.answers import CameraView, Figures, RecordingView, SettingsView
from stream.web.deck import UseDeck
from stream.web.encode import jpeg_of
from stream.web.forms import RecordingSwitch, SettingsChange, ZonesForm

router = APIRouter(prefix="/api", tags=["cameras"])
SNAPSHOT_QUALITY = 92  # of JPEG


@router.get("/cameras")
def cameras(deck: UseDeck) -> list[CameraView]:
    """All cameras."""
    return [CameraView.of(camera.describe()) for camera in deck.controls.cameras().values()]


@router.get("/cameras/{name}")
def camera(name: str, deck: UseDeck) -> CameraView:
    """One camera."""
    return CameraView.of(deck.camera(name).describe())


@router.patch("/cameras/{name}/settings")
def change_settings(name: str, change: SettingsChange, deck: UseDeck) -> SettingsView:
    """Report other objects, from the next frame on."""
    camera = deck.camera(name)
    old, given = camera.settings, change.model_fields_set
    classes = None if change.classes is None else tuple(change.classes)
    new = LiveSettings(
        score=old.score if change.score is None else change.score,
        classes=classes if "classes" in given else old.classes,
    )
    return SettingsView.of(camera.replace_settings(new))


@router.get("/cameras/{name}/zones")
def zones(name: str, deck: UseDeck) -> ZonesForm:
    """Where a camera counts."""
    return ZonesForm.of(deck.camera(name).places)


@router.put("/cameras/{name}/zones")
def replace_zones(name: str, form: ZonesForm, deck: UseDeck) -> ZonesForm:
    """Count elsewhere from the next frame on; it is kept for the next run."""
    return ZonesForm.of(deck.camera(name).replace_places(form.places()))


@router.post("/cameras/{name}/recording")
def switch_recording(name: str, switch: RecordingSwitch, deck: UseDeck) -> RecordingView:
    """Begin or end a recording."""
    return RecordingView.of(deck.camera(name).set_recording(switch.on))


@router.get(
    "/cameras/{name}/snapshot.jpg",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def snapshot(name: str, deck: UseDeck, annotated: Annotated[bool, Query()] = True) -> Response:
    """The newest frame, as a picture of its full size."""
    picture = deck.camera(name).snapshot(annotated=annotated)
    return Response(jpeg_of(picture, SNAPSHOT_QUALITY), media_type="image/jpeg")


@router.get("/metrics")
async def metrics(deck: UseDeck) -> Figures:
    """The figures of all cameras, as ``/ws/status`` sends them each second."""
    return Figures(cameras=await deck.figures())
