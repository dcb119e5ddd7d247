"""How fast TensorRT's kernels were, kept from one build of an engine to the next."""

from __future__ import annotations

import logging
import re

import tensorrt as trt

from export.cache import cache_folder
from export.files import staging, write
from models.errors import ModelError
from models.runtimes.gpu import Gpu
from models.runtimes.tensorrt_package import VERSION

_log = logging.getLogger(__name__)


class Timings:
    """How fast each kernel was in earlier builds on such a GPU, so that this one is quicker.

    Args:
        gpu: that builds.
        config: of the build.
    """

    def __init__(self, gpu: Gpu, config: trt.IBuilderConfig) -> None:
        gpu_name = re.sub(r"\W+", "-", gpu.name)
        self.path = cache_folder() / f"tensorrt-{VERSION}-{gpu_name}-{gpu.capability}.timings"
        self.config: trt.IBuilderConfig = config
        kept = self._read()
        if not self._use(kept) and kept:
            self._use(b"")  # damaged, or of another driver

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:  # most often, there are none so far
            return b""

    def _use(self, kept: bytes) -> bool:
        cache = self.config.create_timing_cache(kept)
        return cache is not None and self.config.set_timing_cache(cache, ignore_mismatch=False)

    def keep(self) -> None:
        """Write them for the next build, that of another process too.

        Where that fails, the engine is there all the same.
        """
        cache: trt.ITimingCache = self.config.get_timing_cache()
        if cache is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with staging(self.path.parent) as folder:
                made = folder / self.path.name
                write(made, bytes(cache.serialize()))
                made.replace(self.path)
        except (OSError, ModelError) as error:
            _log.warning("the next build will take as long, as nothing is kept of this: %s", error)
