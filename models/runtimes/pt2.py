"""Reads .pt2 files: what ``torch.export`` saves, with a manifest."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

from torch import nn
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive._package import load_pt2

from models.deploy.manifest import METADATA, Manifest
from models.errors import ModelError
from models.runtimes.cpu import one_thread

DETECTOR, DETAILS = "detector", "details"  # names of the programs in a file
_MANIFEST = f"extra/{METADATA}"  # where torch puts what is to go with them
_DAMAGED = "{} cannot be read by PyTorch: it is damaged or no .pt2 file; export it again."


def read_pt2(path: Path, device: str = "cpu") -> tuple[Manifest, dict[str, nn.Module]]:
    """A file's manifest, and its programs on a device.

    Raises:
        ModelError: if the file is damaged or no export.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            place = next((name for name in archive.namelist() if name.endswith(_MANIFEST)), None)
            text = "" if place is None else archive.read(place).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ModelError(_DAMAGED.format(path)) from error
    manifest = Manifest.from_json(text, str(path))
    try:
        with warnings.catch_warnings(action="ignore"), one_thread():  # of deprecations in torch
            programs = load_pt2(str(path)).exported_programs
    except Exception as error:  # torch raises what each of its parts raises
        raise ModelError(_DAMAGED.format(path)) from error
    if device != "cpu":  # constants in the programs move, too
        programs = {name: move_to_device_pass(each, device) for name, each in programs.items()}
    return manifest, {name: program.module() for name, program in programs.items()}
