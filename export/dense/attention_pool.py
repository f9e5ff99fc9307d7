"""open_clip's ``ModifiedResNet``, which pools its feature map by attention: a cell's row is its value, projected.

This is MaskCLIP for ResNets (Zhou et al., ECCV 2022, arXiv 2112.01071): without queries, keys and positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .positions import resample_positions

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 32  # pixels per cell of the last feature map


def pool_module(visual: Any) -> Any:
    """A module from pixels to the embedding of the picture and of each cell of its map.

    Parameters
    ----------
    visual : open_clip.modified_resnet.ModifiedResNet

    Returns
    -------
    torch.nn.Module
        (n, 3, H, W) to unit rows (n, 1 + h w, d), as :func:`~.tower.dense_module`.
    """
    import torch

    side = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    native = (side // STRIDE, side // STRIDE)

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = visual

        def forward(self, pixels: Tensor) -> Tensor:
            maps = self.module.stem(pixels)
            for layer in (self.module.layer1, self.module.layer2, self.module.layer3, self.module.layer4):
                maps = layer(maps)
            cells, pool = maps.flatten(2).transpose(1, 2), self.module.attnpool
            whole = _pooled(pool, cells, native, (maps.shape[2], maps.shape[3]))
            rows = pool.c_proj(pool.v_proj(cells))
            return torch.nn.functional.normalize(torch.cat([whole, rows], dim=1), dim=-1)

    return Dense().eval()


def _pooled(pool: Any, cells: Tensor, native: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """What the pool makes of a map (n, h w, c) of any size: (n, 1, d)."""
    import torch

    table = pool.positional_embedding
    places = torch.cat([table[:1], resample_positions(table[1:], native, grid)])
    tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1) + places
    parts = (pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.v_proj(tokens))
    queries, keys, values = (x.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for x in parts)
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    mixed = (scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
    return pool.c_proj(mixed)
