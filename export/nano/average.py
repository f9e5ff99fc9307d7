"""Exponential moving average of a module's state."""

from __future__ import annotations

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

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {"updates": self.updates, "state": self.state}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.updates, self.state = saved["updates"], saved["state"]
