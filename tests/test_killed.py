"""The whole program killed while it records: every file plays, and hardly a moment is missing.

``scripts/bench/kills`` does this many times over.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import Plan, kill, plans


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", plans(4, seed=1), ids=str)
def test_a_kill_leaves_a_recording_and_events_up_to_then(tmp_path: Path, plan: Plan) -> None:
    left = kill(plan, tmp_path)
    assert left.wrong == (), left
    assert left.events > 0
    assert left.files > 0
