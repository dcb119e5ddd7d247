"""PyTorch's own form: both graphs as exported programs in one .pt2 archive."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch.export.pt2_archive._package import package_pt2

from export.traced import trace_details, trace_detector
from models.deploy.graph import StaticGraph
from models.deploy.manifest import METADATA, Manifest
from models.errors import ModelError
from models.runtimes.pt2 import DETAILS, DETECTOR


def write_pt2(graph: StaticGraph, manifest: Manifest, path: Path) -> None:
    """Write both programs, and the manifest as the extra file ``METADATA``.

    Raises:
        ModelError: if the file cannot be written.
    """
    programs = {DETECTOR: trace_detector(graph, manifest.batch)}
    if graph.details is not None:
        programs[DETAILS] = trace_details(graph)
    try:
        with warnings.catch_warnings(action="ignore"):  # of deprecations inside of torch
            package_pt2(
                str(path), exported_programs=programs, extra_files={METADATA: manifest.to_json()}
            )
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror}.") from error
