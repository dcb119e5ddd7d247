"""Training: any torchvision R-CNN or the compact one, on any labelled pictures."""
