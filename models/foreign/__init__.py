"""Detectors of other projects, as ONNX files: what they say is understood, or described."""
