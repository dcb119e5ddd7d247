"""One process of a training run in several, as torchrun starts it: FOLDER with the data in it."""

import sys
from pathlib import Path

import torch
from training_case import run, trainer_of

from models.data.penn_fudan import PennFudan
from models.training.processes import join_processes

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    samples = PennFudan.open(folder / "PennFudanPed")
    with join_processes("cpu") as processes:
        trainer = trainer_of(samples, batch_size=1, processes=processes)
        drawn = [draw.number for batch in trainer.batches for draw in batch]
        reports = run(trainer)
        content = {
            "drawn": drawn,
            "losses": [report.losses for report in reports],
            "weights": trainer.detector.state_dict(),
            "gathered": processes.gather([f"{processes.rank}", f"of {processes.rank}"]),
            "any": [processes.any(False), processes.any(processes.is_first)],
        }
        torch.save(content, folder / f"rank{processes.rank}.pt")
