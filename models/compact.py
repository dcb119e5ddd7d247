"""A compact Mask R-CNN for real-time use on a CPU.

The structure is torchvision's own ``MaskRCNN`` (He et al., 2017, https://arxiv.org/abs/1703.06870)
over a MobileNetV2 body (Sandler et al., 2018) and a narrow feature pyramid (Lin et al., 2017). The
3x3 layers that run over whole feature maps are depthwise-separable with GroupNorm (Wu and He,
2018): at 384x512 backbone, FPN, RPN and box head together cost 4.3 GFLOPs. The mask head is
plain, because it runs only on the few boxes that were kept.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import mobilenet_v2
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from models.soft_nms import SoftRoIHeads

PERSON_CLASSES = ("__background__", "person")

BODY_TAPS = (3, 6, 13, 18)  # feature blocks of MobileNetV2 that end each stride
PYRAMID_STRIDES = (4, 8, 16, 32)
FPN_CHANNELS = 96
ANCHOR_SIZES = ((24,), (48,), (96,), (192,), (320,))
ASPECT_RATIOS = ((0.5, 1.0, 2.0, 3.0),) * len(ANCHOR_SIZES)  # height / width; people are tall
BOX_HEAD_WIDTH = 512
MASK_HEAD_WIDTHS = (128, 128, 128, 128)
MIN_SIDE, MAX_SIDE = 512, 800  # px: whatever its shape, a canvas stays below 8 GFLOPs
# Boxes that overlap more are the same person; those that overlap so much lower each other's scores
MAX_IOU, SOFT_IOU = 0.65, 0.3
FROZEN_BLOCKS = 4  # the body's first ones, at strides 2 and 4: edges and colours need no training


def separable_conv(channels: int) -> nn.Sequential:
    """A 3x3 depthwise and a 1x1 pointwise convolution, GroupNorm, ReLU: (N,C,H,W) to (N,C,H,W)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.GroupNorm(8, channels),
        nn.ReLU(inplace=True),
    )


class SeparableRPNHead(nn.Module):
    """RPN head (Ren et al., 2015) whose shared 3x3 layer is depthwise-separable.

    Args:
        channels: channels of every pyramid level.
        anchors_per_location: anchors at each place of a level.
    """

    def __init__(self, channels: int, anchors_per_location: int) -> None:
        super().__init__()
        self.conv = separable_conv(channels)
        self.cls_logits = nn.Conv2d(channels, anchors_per_location, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors_per_location * 4, 1)
        for layer in (self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits (N,A,H,W) and box deltas (N,4A,H,W) of each level."""
        shared = [self.conv(level) for level in features]
        return [self.cls_logits(level) for level in shared], [
            self.bbox_pred(level) for level in shared
        ]


def folded_mobilenet_v2(state: dict[str, Tensor] | None = None) -> nn.Sequential:
    """MobileNetV2's features, every BatchNorm folded into the convolution before it.

    The biases that come of it are not trained, as torchvision does not train a frozen BatchNorm.

    Args:
        state: torchvision's ``mobilenet_v2`` state dict; None leaves the weights random.

    Raises:
        RuntimeError: if the state dict is another model's (torch names the tensors).
    """
    classifier = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d)
    if state is not None:
        classifier.load_state_dict(state)
    features: nn.Sequential = classifier.features.eval()
    for block in [module for module in features.modules() if isinstance(module, nn.Sequential)]:
        for index in range(1, len(block)):
            if isinstance(block[index], FrozenBatchNorm2d):
                fused = fuse_conv_bn_eval(block[index - 1], block[index])  # type: ignore[type-var, arg-type]
                block[index - 1] = fused
                block[index] = nn.Identity()
    return features


def mobilenet_v2_fpn() -> BackboneWithFPN:
    """MobileNetV2 under a 96-channel separable FPN of five levels."""
    body = folded_mobilenet_v2()
    taps = OrderedDict((str(block), str(level)) for level, block in enumerate(BODY_TAPS))
    tap_channels = [24, 32, 96, 1280]
    backbone = BackboneWithFPN(body, taps, tap_channels, FPN_CHANNELS)
    backbone.fpn.layer_blocks = nn.ModuleList(separable_conv(FPN_CHANNELS) for _ in BODY_TAPS)
    return backbone


def mask_rcnn_person(*, num_classes: int = len(PERSON_CLASSES)) -> MaskRCNN:
    """The embedded default: a Mask R-CNN of 5.7 M parameters for people.

    Input and output are torchvision's: a list of float RGB pictures (3,H,W) in 0..1, in evaluation
    a list of dicts of ``boxes`` (D,4) xyxy px, ``labels``, ``scores`` and ``masks``.

    Args:
        num_classes: classes with background as class 0.

    Returns:
        A model with random heads and a random body; see ``models.zoo.load`` for trained weights.
    """
    backbone = mobilenet_v2_fpn()
    anchors = AnchorGenerator(ANCHOR_SIZES, ASPECT_RATIOS)
    levels = [str(level) for level in range(len(BODY_TAPS))]
    mask_width = MASK_HEAD_WIDTHS[-1]
    model = MaskRCNN(
        backbone,
        min_size=MIN_SIDE,
        max_size=MAX_SIDE,
        rpn_anchor_generator=anchors,
        rpn_head=SeparableRPNHead(FPN_CHANNELS, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=200,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(FPN_CHANNELS * 7 * 7, BOX_HEAD_WIDTH),
        box_predictor=FastRCNNPredictor(BOX_HEAD_WIDTH, num_classes),
        box_batch_size_per_image=128,
        box_nms_thresh=MAX_IOU,
        box_detections_per_img=50,
        mask_roi_pool=MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(FPN_CHANNELS, MASK_HEAD_WIDTHS, 1),
        mask_predictor=MaskRCNNPredictor(mask_width, mask_width, num_classes),
    )
    model.roi_heads = SoftRoIHeads.of(model.roi_heads, soft_iou=SOFT_IOU)
    return model


def load_imagenet_body(model: MaskRCNN, state: dict[str, Tensor]) -> None:
    """Start the body from a classifier: ``state`` is torchvision's ``mobilenet_v2`` state dict.

    Raises:
        RuntimeError: if the state dict is another model's (torch names the tensors).
    """
    model.backbone.body.load_state_dict(folded_mobilenet_v2(state).state_dict())


def freeze_first_blocks(model: MaskRCNN) -> None:
    """Keep the body's first blocks as they are, which saves a third of a training step."""
    for block in list(model.backbone.body.values())[:FROZEN_BLOCKS]:
        block.requires_grad_(False)
