"""States and checkpoints of a training, and what a power loss leaves of them: the old one or the new one, whole."""

from pathlib import Path

import torch

from capfilt.models.training.state import load_state, save_state
from power_loss import Step, losses, recorded


def test_a_state_is_the_old_or_the_new_one_after_a_power_loss(tmp_path: Path) -> None:
    disk, after = tmp_path / "disk", tmp_path / "after"
    disk.mkdir()
    with recorded(disk) as steps:
        for step in range(3):
            save_state(disk / "state.pt", {"step": step, "weights": torch.full((100,), float(step))})
            steps.append(Step("written", str(disk / "state.pt"), (disk / "state.pt").read_bytes()))
    assert {step.kind for step in steps} == {"sync", "rename", "sync_dir", "written"}
    for loss in losses(steps, seeds=4):
        assert not loss.broken
        for data in loss.files.values():
            after.write_bytes(data)
            state = load_state(after)
            assert state["weights"].eq(state["step"]).all()
