"""``publish:`` of a camera in ``rcnn-live cameras``' file."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from stream.config_values import as_value_error, check_places, one_or_more
from stream.publish.target import PLAYLIST_SUFFIX, allowed, parse_publish_target


def _are_targets(targets: tuple[str, ...]) -> tuple[str, ...]:
    for target in targets:
        check_places(target)
        if "://" in target:
            named = target.replace("{name}", "any")
            as_value_error(partial(parse_publish_target, named, "publish"))
        elif not target.lower().endswith(PLAYLIST_SUFFIX):  # its folder is made when it runs
            raise ValueError(f"it has to be {allowed()}")
    return targets


PublishTargets = Annotated[
    tuple[str, ...], BeforeValidator(one_or_more), AfterValidator(_are_targets)
]
