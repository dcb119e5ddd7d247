"""How metrics are called."""

PREFIX = "rcnn_live_"
CAMERA = ("camera",)  # the label that all of a camera's have
