"""Training in several processes, one a GPU, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.errors import UsageError

# The others wait for the first one's validation; torch would give up after 10 minutes. One that
# failed is noticed by torchrun, which ends the others
LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its peers.

    Attributes:
        rank: number of this process; 0 evaluates, saves and reports.
        count: how many there are.
        device: where this one computes.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this is the process that evaluates, saves and reports."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        if self.count == 1:
            return network
        ids = [torch.device(self.device)] if self.device.startswith("cuda") else None
        return DistributedDataParallel(network, device_ids=ids)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.count
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, so that all of them stop together."""
        if self.count == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def gather(self, values: list[str]) -> list[str]:
        """The values of all processes, one process after the other."""
        if self.count == 1:
            return values
        every: list[list[str]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(every, values)
        return [value for own in every for value in own]


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Meet the other processes of this run; alone, when torchrun did not start this one.

    Args:
        device: ``cpu`` or ``cuda``; each process takes the GPU of its local rank.

    Raises:
        UsageError: if there are more processes than GPUs, or if it is another device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=device)
        return
    if device == "mps":
        raise UsageError("Several processes train on GPUs of NVIDIA's or on --device cpu, not mps.")
    if device.startswith("cuda"):
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise UsageError(
                f"There are {gpus} GPUs here, one for a process: use --nproc-per-node {gpus}."
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield Processes(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
