"""What is OpenVINO's own: precisions, memory that it reads while it runs, its weights' file."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_cases import Exports

from models.errors import ModelError, UsageError
from models.runtimes import openvino as openvino_module
from models.runtimes.openvino import OpenVino

# an export takes up to minutes where cores are busy
pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(900)]


@pytest.mark.slow
@pytest.mark.parametrize("share", [None, 0.3])
def test_openvino_without_all_of_its_weights(
    share: float | None, exports: Exports, tmp_path: Path
) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(exports.file(".xml").read_bytes())
    if share is not None:
        weights = exports.file(".xml").with_suffix(".bin").read_bytes()
        path.with_suffix(".bin").write_bytes(weights[: int(share * len(weights))])
    with pytest.raises(ModelError, match="cannot be read by OpenVINO"):
        OpenVino(path)


@pytest.mark.parametrize(
    ("own", "has_bf16", "asked", "chosen"),
    [
        ("fp32", True, "auto", "bf16"),
        ("fp32", False, "auto", "fp32"),
        ("fp32", True, "fp32", "fp32"),
        ("fp16", True, "auto", "fp32"),
        ("bf16", True, "auto", "bf16"),
        ("bf16", False, "auto", "fp32"),
        ("int8", True, "auto", "int8"),
        ("fp32", False, "bf16", "This processor does not compute in bf16"),
        ("fp32", True, "fp16", "OpenVINO computes in fp32 or bf16, not in fp16"),
        ("int8", True, "bf16", "This export is int8: leave out --precision bf16"),
    ],
)
def test_openvinos_precision(
    own: str, has_bf16: bool, asked: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_module, "_computes_in_bf16", lambda: has_bf16)
    if " " not in chosen:
        assert openvino_module._chosen(asked, own) == chosen
        return
    with pytest.raises(UsageError, match=chosen):
        openvino_module._chosen(asked, own)


@pytest.mark.slow
@pytest.mark.skipif(openvino_module.best_precision() != "bf16", reason="no bf16 here")
def test_where_roi_align_looks_is_no_bf16(exports: Exports) -> None:
    """bf16 has 8 bits: beyond the 512th pixel it knows every fourth one."""
    with OpenVino(exports.file(".xml"), precision="bf16", threads=1) as runtime:
        compiled = runtime._requests[0].get_compiled_model().get_runtime_model()
    pools = [node for node in compiled.get_ordered_ops() if _layer(node) == "ROIAlign"]
    assert len(pools) == 2  # of boxes, of masks
    for pool in pools:
        assert pool.input_value(0).get_element_type() == openvino_module.ov.Type.bf16
        behind = pool.input_value(1).get_node()
        while _layer(behind) in ("Reorder", "StridedSlice", "Reshape"):
            assert behind.get_output_element_type(0) == openvino_module.ov.Type.f32
            behind = behind.input_value(0).get_node()
        assert behind.get_output_element_type(0) == openvino_module.ov.Type.f32


def _layer(node: openvino_module.ov.Node) -> str:
    return str(node.get_rt_info()["layerType"].value)
