"""BatchNorm with statistics that stay as they are."""

from __future__ import annotations

from torch import nn
from torchvision.ops import FrozenBatchNorm2d


def freeze_batch_norm(model: nn.Module, *, eps: float | None = None) -> None:
    """Replace every BatchNorm by torchvision's frozen form, in place.

    Args:
        model: with trained statistics.
        eps: added to the variances; each layer's own when None.
    """
    for parent in model.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _frozen(child, child.eps if eps is None else eps))


def _frozen(norm: nn.BatchNorm2d, eps: float) -> FrozenBatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, eps=eps)
    own = frozen.state_dict().keys()
    frozen.load_state_dict({n: value for n, value in norm.state_dict().items() if n in own})
    return frozen
