"""Exponential moving average of a module's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class Average:
    """Moving average of parameters and batch statistics; young averages forget faster."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Move towards the module's present state."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, fresh = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                fresh.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, fresh, 1 - decay)

    @contextmanager
    def applied(self, module: torch.nn.Module) -> Iterator[None]:
        """Give the module the averaged state, for evaluation, while the block runs."""
        kept = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.state)
        module.eval()
        yield
        module.load_state_dict(kept)
        module.train()

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"updates": self.updates, "state": self.state}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.updates, self.state = saved["updates"], saved["state"]


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a state so that it appears whole or not at all."""
    torch.save(state, f"{path}.partial")
    Path(f"{path}.partial").rename(path)
