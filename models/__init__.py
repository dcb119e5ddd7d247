"""Pixels in, detections out: model zoo, runtimes, training and evaluation. No threads."""
