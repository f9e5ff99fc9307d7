"""open_clip's own ``VisionTransformer`` taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ExportError
from .attention import Heads
from .positions import resample_positions
from .tower import Block, Embedded

if TYPE_CHECKING:
    from torch import Tensor


class OpenClipBlock:
    """A ``ResidualAttentionBlock``."""

    def __init__(self, block: Any) -> None:
        self._block, self._attention = block, block.attn
        self._scale = float(block.attn.head_dim) ** -0.5

    def whole(self, tokens: Tensor, rope: Any) -> Tensor:
        return self._block(tokens)

    def heads(self, tokens: Tensor, rope: Any, prefix: int, grid: tuple[int, int]) -> Heads:
        from torch.nn.functional import linear

        inputs, attention = self._block.ln_1(tokens), self._attention
        joint = linear(inputs, attention.in_proj_weight, attention.in_proj_bias)
        batch, count, _ = inputs.shape
        parts = joint.reshape(batch, count, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
        return Heads(parts[0], parts[1], parts[2], inputs, self._scale, prefix, grid)

    def merged(self, values: Tensor, inputs: Tensor) -> Tensor:
        joined = values.transpose(1, 2).flatten(2)
        return self._block.ls_1(self._attention.out_proj(joined))

    def fed(self, tokens: Tensor) -> Tensor:
        return self._block.ls_2(self._block.mlp(self._block.ln_2(tokens)))


class OpenClipTower:
    """See :class:`~.tower.TokenTower`."""

    prefix = 1

    def __init__(self, visual: Any) -> None:
        from open_clip.transformer import ResidualAttentionBlock

        if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
            raise ExportError("its tower pools by attention of its own, as CoCa does")
        blocks = visual.transformer.resblocks
        if not all(type(block) is ResidualAttentionBlock for block in blocks):
            raise ExportError("its blocks are not open_clip's usual ones")
        if visual.patch_size[0] != visual.patch_size[1]:
            raise ExportError("its tokens are not square")
        self.module, self.stride = visual, int(visual.patch_size[0])
        self.blocks: Sequence[Block] = [OpenClipBlock(block) for block in blocks]
        self.pools_class = visual.pool_type == "tok"

    def embed(self, pixels: Tensor) -> Embedded:
        import torch

        visual = self.module
        cells = visual.conv1(pixels)
        grid = (cells.shape[2], cells.shape[3])
        first = visual.class_embedding.expand(cells.shape[0], 1, -1)
        tokens = torch.cat([first, cells.flatten(2).transpose(1, 2)], dim=1)
        table = visual.positional_embedding
        tokens = tokens + torch.cat([table[:1], resample_positions(table[1:], visual.grid_size, grid)])
        return Embedded(visual.ln_pre(tokens), None, grid)

    def pooled(self, tokens: Tensor) -> Tensor:
        rows = self.module._pool(tokens)[0]
        return rows if self.module.proj is None else rows @ self.module.proj

    def projected(self, tokens: Tensor) -> Tensor:
        rows = self.module.ln_post(tokens)
        return rows if self.module.proj is None else rows @ self.module.proj
