"""A core for each of the processes that run tests side by side.

Teams of threads that outnumber the cores wait for each other most of the time: with two on one
core, PyTorch took fifty times as long.
"""

from __future__ import annotations

import os

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # such as gw0; empty where there is one process

if WORKER and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(WORKER.removeprefix("gw")) % len(_cores)]})
