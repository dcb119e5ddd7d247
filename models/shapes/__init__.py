"""The shapes world: drawn video whose boxes, masks, keypoints and tracks are exactly known."""
