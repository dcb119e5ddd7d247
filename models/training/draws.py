"""Which picture is drawn when, and the randomness that goes with it.

Everything random in a run is a function of the seed, the epoch and the picture's number, or of the
seed and the step. So the number of reading processes changes nothing, and a resumed run sees what
the uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2

from models.data.samples import Sample
from models.errors import DataError


class Draw(NamedTuple):
    """A picture's number, and the epoch it is drawn in."""

    epoch: int
    number: int


def seed_of(*numbers: int) -> int:
    """One seed from several numbers; close ones give unrelated seeds."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


class DrawnBatches(Sampler[list[Draw]]):
    """One process's batches of an epoch, in an order of their own each epoch.

    Every process gets as many batches as the others; to that end a few pictures may be drawn twice.

    Args:
        count: pictures in the set.
        batch_size: pictures a batch.
        seed: of the order.
        rank: number of this process.
        processes: how many share the work.
    """

    def __init__(
        self, count: int, batch_size: int, *, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch = 0
        self.first_batch = 0

    def start_at(self, epoch: int, first_batch: int = 0) -> None:
        """The next iteration gives this epoch's batches, from this one on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        own = -(-self.count // self.processes)
        return -(-own // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        own = [
            Draw(self.epoch, order[at % self.count])
            for at in range(self.rank, self.count + -self.count % self.processes, self.processes)
        ]
        for batch in range(self.first_batch, len(self)):
            yield own[batch * self.batch_size : (batch + 1) * self.batch_size]


class DrawnSamples(Dataset[Sample]):
    """A set read by draws: each passes through a transform with randomness of its own.

    Args:
        samples: pictures and targets by number.
        transform: takes and gives a picture and its target.
        seed: of the transform.
    """

    def __init__(self, samples: Dataset[Sample], transform: v2.Transform, *, seed: int) -> None:
        self.samples, self.transform, self.seed = samples, transform, seed

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Sample:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, *draw))
            picture, target = self.transform(*self.samples[draw.number])
        return picture, {**target, "image_id": torch.tensor(draw.number)}

    def __getitems__(self, draws: list[Draw]) -> list[Sample] | DataError:
        """A batch, or what is wrong with its data.

        Raised in a reading process, the sentence would come wrapped in that process's traceback.
        """
        try:
            return [self[draw] for draw in draws]
        except DataError as error:
            return error


def collate(
    batch: list[Sample] | DataError,
) -> tuple[list[Tensor], list[dict[str, Tensor]]] | DataError:
    """Pictures keep their sizes: two lists instead of two tensors. An error stays one."""
    if isinstance(batch, DataError):
        return batch
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)
