"""OpenVINO's own form, .xml and .bin: it loads in a fraction of the time that ONNX takes."""

from __future__ import annotations

from pathlib import Path

import onnx

from models.deploy.manifest import METADATA, Manifest
from models.errors import ModelError
from models.runtimes.openvino_package import ov


def write_openvino(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write an ONNX model as .xml, and its weights as .bin beside it.

    As bf16 it is stored in fp32: OpenVINO converts when it loads, where the processor can.

    Args:
        model: of ``export.onnx``.
        manifest: goes into the file.
        path: of the .xml.

    Raises:
        ModelError: if OpenVINO cannot read the model or write the files.
    """
    try:
        # not openvino.convert_model, which tells Intel about every call
        converted = ov.Core().read_model(model.SerializeToString(), b"")
        converted.set_rt_info(manifest.to_json(), METADATA)
        ov.save_model(converted, path, compress_to_fp16=manifest.precision == "fp16")
    except RuntimeError as error:
        raise ModelError(f"{path.name} could not be made by OpenVINO: {error}.") from error
