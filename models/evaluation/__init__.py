"""How good and how fast a detector is on labelled pictures: ``rcnn-live eval``."""
