"""An image tower in two parts, as torch has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TowerParts:
    """A trunk and a head in torch.

    Attributes
    ----------
    trunk : torch.nn.Module
        Normalised pixels (n, 3, H, W) to maps (n, c, h, w), at any size that is a multiple of its stride.
    head : torch.nn.Module
        Means (n, c) to unit rows (n, d).
    """

    trunk: torch.nn.Module
    head: torch.nn.Module
