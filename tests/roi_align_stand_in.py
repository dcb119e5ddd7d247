"""What NVIDIA's plugin for RoIAlign takes and gives; it computes nothing, so it needs no GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorrt_rtx_bindings as trt

NAME, VERSION = "ROIAlign_TRT", "2"
Values = dict[str, float]


class RoiAlign(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
    """One node.

    Args:
        values: its attributes, as numbers.
    """

    def __init__(self, values: Values) -> None:
        for base in RoiAlign.__bases__:
            base.__init__(self)
        self.values = values
        self.num_outputs = 1
        self.plugin_namespace, self.plugin_name, self.plugin_version = "", NAME, VERSION

    def get_capability_interface(self, kind: Any) -> Any:
        """All are in this class."""
        return self

    def get_output_data_types(self, types: list[Any]) -> list[Any]:
        """That of the features."""
        return types[:1]

    def get_output_shapes(self, inputs: Any, sizes: Any, numbers: Any) -> list[Any]:
        """(boxes, channels, height, width)."""
        (features, boxes, _), found = inputs, trt.DimsExprs(4)
        found[0], found[1] = boxes[0], features[1]
        for at, name in ((2, "output_height"), (3, "output_width")):
            found[at] = numbers.constant(int(self.values[name]))
        return [found]

    def supports_format_combination(self, at: int, ports: Any, count: int) -> bool:
        """Boxes are of the features' type, which is fp32 or fp16; pictures have int32 numbers."""
        port = ports[at].desc
        if port.format != trt.TensorFormat.LINEAR:
            return False
        if at == 0:
            return port.type in (trt.float32, trt.float16)
        return bool(port.type == (trt.int32 if at == 2 else ports[0].desc.type))

    def configure_plugin(self, inputs: Any, outputs: Any) -> None:
        """Nothing depends on the sizes."""

    def get_fields_to_serialize(self) -> Any:
        """For the engine."""
        return trt.PluginFieldCollection([_field(*item) for item in self.values.items()])

    def clone(self) -> Any:
        """TensorRT works on copies."""
        return RoiAlign(self.values)


class _Creator(trt.IPluginCreatorV3One):
    def __init__(self) -> None:
        super().__init__()
        self.name, self.plugin_version, self.plugin_namespace = NAME, VERSION, ""
        self.field_names = trt.PluginFieldCollection([])
        self.made: dict[str, Values] = {}

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
        self.made[name] = {field.name: field.data[0].item() for field in fields}
        return RoiAlign(self.made[name])


_CREATOR = _Creator()  # TensorRT keeps but a pointer to it


def stand_in() -> dict[str, Values]:
    """Puts it in the place of NVIDIA's; the attributes of each that is made are added later."""
    registry = trt.get_plugin_registry()
    (own,) = (each for each in registry.all_creators if each.name == NAME)
    assert registry.deregister_creator(own)
    assert registry.register_creator(_CREATOR, "")
    return _CREATOR.made


def _field(name: str, value: float) -> Any:
    is_real = isinstance(value, float)
    kind = trt.PluginFieldType.FLOAT32 if is_real else trt.PluginFieldType.INT32
    return trt.PluginField(name, np.array([value], np.float32 if is_real else np.int32), kind)
