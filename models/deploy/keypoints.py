"""From keypoint heatmaps over boxes to points of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from models.detections import Floats


def keypoints_of(maps: Floats, boxes: Floats) -> Floats:
    """Where each heatmap is highest, as torchvision's ``heatmaps_to_keypoints`` finds it.

    Each map is resized to its box in whole pixels, rounded up, and the middle of its highest pixel
    is the point (He et al., 2017). OpenCV's cubic resize is PyTorch's but for the last digits, and
    takes half the time.

    Args:
        maps: (R,K,56,56) float32 logits over each box.
        boxes: (R,4) xyxy px.

    Returns:
        (R,K,3) float32: x px, y px and the logit there.
    """
    found = np.empty((*maps.shape[:2], 3), np.float32)
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)  # an empty box counts as one pixel
    for row, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        whole = np.ceil(size).astype(int)
        for point, heatmap in enumerate(maps[row]):
            resized = cv2.resize(heatmap, whole.tolist(), interpolation=cv2.INTER_CUBIC)
            y, x = np.unravel_index(resized.argmax(), resized.shape)
            found[row, point, :2] = box[:2] + (np.array([x, y]) + 0.5) * (size / whole)
            found[row, point, 2] = resized[y, x]
    return found
