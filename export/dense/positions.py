"""Positional embeddings for grids of another size than the one a tower was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SHARPNESS = -0.5  # of the cubic kernel, as Pillow and torch's antialias=True have it


def resample_positions(table: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Positional embeddings of a grid, resampled to another grid.

    The same numbers as ``torch.nn.functional.interpolate(mode="bicubic", antialias=True)``, which timm and GEM use, as
    two small matrix products: ONNX can express these for grids whose size is known only when a picture comes.

    Parameters
    ----------
    table : (old rows * old columns, c) tensor
    old, new : (int, int)
        Rows and columns of the grids.

    Returns
    -------
    (new rows * new columns, c) tensor
    """
    grid = table.reshape(old[0], old[1], -1)
    down, across = (_weights(table, *sides) for sides in zip(old, new, strict=True))
    columns = across @ grid  # (old rows, new columns, c)
    return (down @ columns.reshape(old[0], -1)).reshape(new[0] * new[1], -1)


def _weights(like: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """What each of ``old`` samples counts in each of ``new``: (new, old), rows add up to one."""
    import torch

    centres = (torch.arange(new, device=like.device).to(like.dtype) + 0.5) * (old / new) - 0.5
    away = (centres[:, None] - torch.arange(old, device=like.device).to(like.dtype)).abs()
    reach = torch.clamp(torch.full((1,), float(old), dtype=like.dtype) / new, min=1.0)  # wider where the grid shrinks
    distance, a = away / reach, _SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    taps = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return taps / taps.sum(dim=1, keepdim=True)
