"""A torchvision R-CNN as one static graph: every shape is known before the first frame.

The same weights, put together so that no step depends on how much it finds: ``torch.export``,
``torch.compile(fullgraph=True)``, ONNX, OpenVINO and TensorRT take it whole. In the order of the
computation: ``prepare``, ``proposals``, ``pyramid``, ``boxes``, ``roi_heads``; ``graph`` puts them
together. All of it suppresses overlapping boxes with ``nms``.
"""
