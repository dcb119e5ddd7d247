"""The detector that training starts from, with predictors for the data's own classes."""

from __future__ import annotations

from pathlib import Path

from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from models import zoo
from models.batch_norm import freeze_batch_norm
from models.compact import freeze_first_blocks
from models.data.samples import LabelledPictures
from models.errors import UsageError
from models.lineage.systems import SYSTEMS

# As torchvision does for a pretrained ResNet body: its first layers stay as they are
RESNET_STEM = ("conv1", "bn1", "layer1")
BUILT_EPS = 1e-5  # of every BatchNorm that zoo.build makes


def start_from(
    name: str, data: LabelledPictures, weights: Path | None = None, *, from_scratch: bool = False
) -> GeneralizedRCNN:
    """A detector to train on ``data``.

    A box predictor that tells the same classes apart is kept; another one is replaced, and the
    mask predictor with it. A keypoint predictor is kept if it has as many keypoints as the data.

    Args:
        name: an R-CNN's name in the zoo.
        data: what it is to learn.
        weights: a local file to start from; None for the zoo's own.
        from_scratch: start from random weights, every layer trainable.

    Raises:
        UsageError: if that model is no R-CNN, or needs labels that the data has not, or if there
            are weights to start from and it is to start from scratch.
        ModelError: if the weights cannot be had.
    """
    _check(name, data)
    if from_scratch and weights is not None:
        raise UsageError("--weights and --from-scratch exclude each other: leave out one.")
    if from_scratch:
        return _with_keypoints(zoo.build(name, num_classes=len(data.class_names)), data)
    loaded = zoo.load(name, weights)
    detector = loaded.module
    _freeze(name, detector)
    _standardise_eps(detector)
    if loaded.class_names != data.class_names:
        _replace_predictors(detector, len(data.class_names))
    return _with_keypoints(detector, data)


def _check(name: str, data: LabelledPictures) -> None:
    """Before anything is fetched, by the name, which in torchvision tells the kind."""
    if name in SYSTEMS:
        raise UsageError(
            f"{name} belongs to the lineage, which trains otherwise: use 'rcnn-live lineage "
            f"--system {name} --data DATA'."
        )
    if name in zoo.model_names() and "rcnn" not in name:
        raise UsageError(
            f"{name} is a single-stage detector, and only R-CNNs are trained here: use "
            f"{zoo.EMBEDDED} or one of torchvision's fasterrcnn, maskrcnn and keypointrcnn models."
        )
    if "mask" in name and not data.has_masks:
        raise UsageError(
            f"{name} learns masks, and the data has none: label polygons, or train a Faster R-CNN "
            "such as fasterrcnn_resnet50_fpn."
        )
    if "keypoint" in name and not data.keypoint_names:
        raise UsageError(
            f"{name} learns keypoints, and the data has none: give COCO keypoint annotations, or "
            "train a Faster or Mask R-CNN."
        )


def _freeze(name: str, detector: GeneralizedRCNN) -> None:
    """Early layers and BatchNorm statistics: a batch of few pictures would only harm them."""
    body = detector.backbone.body
    if name == zoo.EMBEDDED:
        freeze_first_blocks(detector)
    for layer in RESNET_STEM:
        if hasattr(body, layer):
            getattr(body, layer).requires_grad_(False)
    freeze_batch_norm(detector)


def _standardise_eps(detector: GeneralizedRCNN) -> None:
    """The same function with the epsilon that ``zoo.build`` gives BatchNorm.

    Some of torchvision's own weights go with an epsilon of 0, which is known by the file's name:
    what training leaves would be read back as another function.
    """
    for norm in detector.modules():
        if isinstance(norm, FrozenBatchNorm2d) and norm.eps == 0:
            norm.eps = BUILT_EPS
            norm.weight *= (norm.running_var + norm.eps).sqrt() / norm.running_var.sqrt()


def _replace_predictors(detector: GeneralizedRCNN, num_classes: int) -> None:
    heads = detector.roi_heads
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, num_classes)
    if heads.mask_predictor is not None:
        up = heads.mask_predictor.conv5_mask
        heads.mask_predictor = MaskRCNNPredictor(up.in_channels, up.out_channels, num_classes)


def _with_keypoints(detector: GeneralizedRCNN, data: LabelledPictures) -> GeneralizedRCNN:
    predictor = detector.roi_heads.keypoint_predictor
    if predictor is not None:
        layer, count = predictor.kps_score_lowres, len(data.keypoint_names)
        if layer.out_channels != count:
            detector.roi_heads.keypoint_predictor = KeypointRCNNPredictor(layer.in_channels, count)
    return detector
