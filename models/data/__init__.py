"""Labelled pictures for training and evaluation, as torchvision detection targets."""
