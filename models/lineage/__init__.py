"""The way from the sliding window to Mask R-CNN: each system trained on shapes, each measured."""
