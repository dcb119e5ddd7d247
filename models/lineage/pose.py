"""Pose of a single object: where the largest is, and its joints as plain numbers."""

from __future__ import annotations

import torch

from models.data.samples import LabelledPictures
from models.detections import Detections
from models.errors import UsageError
from models.letterbox import Image
from models.lineage.base import Budget, Stopwatch
from models.lineage.examples import normalised
from models.lineage.localise import Localise
from models.shapes.outlines import KEYPOINT_NAMES

_SEEN = 1.0  # the score of a joint: it is always told, and never how surely


class Pose(Localise):
    """The same network, asked for the joints of what it found as well."""

    name = "pose_shapes"

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        boxes, labels, scores = self.largest(image, clock)
        with clock.step("heads"):
            points = self.network.joints.points(normalised(image), boxes)
        joints = torch.cat([points, torch.full_like(points[..., :1], _SEEN)], 2)
        return self.detections(boxes, labels, scores, keypoints=joints)

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        if len(pictures.keypoint_names) != len(KEYPOINT_NAMES):
            raise UsageError(
                f"{self.name} learns {len(KEYPOINT_NAMES)} keypoints, and these pictures have "
                f"{len(pictures.keypoint_names)}: give a set that fits, such as shapes."
            )
        super().train(pictures, budget)
