"""timm's ``VisionTransformer`` (SigLIP among others) and ``Eva`` in open_clip's ``TimmModel``, taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ExportError
from .attention import Heads
from .positions import resample_positions
from .tower import Block, Embedded

if TYPE_CHECKING:
    from torch import Tensor


class TimmBlock:
    """A ``Block`` of timm, or an ``EvaBlock``."""

    def __init__(self, block: Any) -> None:
        self._block, self._attention = block, block.attn
        self._rotates = hasattr(block, "gamma_1")  # only blocks of EVA take rotary positions

    def whole(self, tokens: Tensor, rope: Any) -> Tensor:
        return self._block(tokens, rope=rope) if self._rotates else self._block(tokens)

    def heads(self, tokens: Tensor, rope: Any, prefix: int, grid: tuple[int, int]) -> Heads:
        from timm.layers.pos_embed_sincos import apply_rot_embed_cat

        attention, inputs = self._attention, self._block.norm1(tokens)
        queries, keys, values = self._projections(inputs)
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
        if rope is not None:
            queries, keys = (_rotated(x, rope, prefix, attention, apply_rot_embed_cat) for x in (queries, keys))
        return Heads(queries, keys, values, inputs, float(attention.scale), prefix, grid)

    def _projections(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        import torch

        attention, (batch, count, _) = self._attention, inputs.shape
        if attention.qkv is None:
            parts = [layer(inputs) for layer in (attention.q_proj, attention.k_proj, attention.v_proj)]
        else:
            joint = attention.qkv(inputs)
            if getattr(attention, "q_bias", None) is not None:
                joint = joint + torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
            parts = list(joint.chunk(3, dim=-1))
        queries, keys, values = (x.reshape(batch, count, attention.num_heads, -1).transpose(1, 2) for x in parts)
        return queries, keys, values

    def merged(self, values: Tensor, inputs: Tensor) -> Tensor:
        attention = self._attention
        joined = attention.norm(values.transpose(1, 2).flatten(2))
        if attention.gate is not None:
            joined = joined * attention.gate(inputs).sigmoid()
        return _scaled(self._block, 1, attention.proj(joined))

    def fed(self, tokens: Tensor) -> Tensor:
        return _scaled(self._block, 2, self._block.mlp(self._block.norm2(tokens)))


def _scaled(block: Any, number: int, branch: Tensor) -> Tensor:
    """The block's layer scale, where it has one."""
    layer = getattr(block, f"ls{number}", None)
    if layer is not None:
        return layer(branch)
    factor = getattr(block, f"gamma_{number}", None)
    return branch if factor is None else factor * branch


def _rotated(x: Tensor, rope: Tensor, prefix: int, attention: Any, rotate: Any) -> Tensor:
    import torch

    half = getattr(attention, "rotate_half", False)
    return torch.cat([x[:, :, :prefix], rotate(x[:, :, prefix:], rope, half=half)], dim=2)


class TimmTower:
    """See :class:`~.tower.TokenTower`."""

    def __init__(self, visual: Any) -> None:
        from timm.layers import PatchEmbed

        trunk = visual.trunk
        if not _is_known(trunk):
            raise ExportError("its blocks are not the usual ones of timm's vision transformers")
        if type(trunk.patch_embed) is not PatchEmbed or len(set(trunk.patch_embed.patch_size)) > 1:
            raise ExportError("its tokens are not squares of pixels")
        if getattr(trunk.attn_pool, "pos_embed", None) is not None:
            raise ExportError("its pool has positions of its own")
        self.module, self._trunk = visual, trunk
        self.stride, self.prefix = int(trunk.patch_embed.patch_size[0]), int(trunk.num_prefix_tokens)
        self.blocks: Sequence[Block] = [TimmBlock(block) for block in trunk.blocks]
        self.pools_class = trunk.attn_pool is None and trunk.global_pool == "token"

    def embed(self, pixels: Tensor) -> Embedded:
        import torch

        trunk = self._trunk
        cells = trunk.patch_embed.proj(pixels)
        grid = (cells.shape[2], cells.shape[3])
        tokens = trunk.patch_embed.norm(cells.flatten(2).transpose(1, 2))
        first = [x for x in (trunk.cls_token, trunk.reg_token) if x is not None]
        extra = torch.cat(first, dim=1).expand(tokens.shape[0], -1, -1) if first else tokens[:, :0]
        if trunk.pos_embed is not None:
            table = trunk.pos_embed[0]
            own = 0 if trunk.no_embed_class else self.prefix
            tokens = tokens + resample_positions(table[own:], trunk.patch_embed.grid_size, grid)
            extra = extra + table[:own] if own else extra
        if self.prefix:
            tokens = torch.cat([extra, tokens], dim=1)
        rope = getattr(trunk, "rope", None)
        turned = None if rope is None else rope._build_embed_cat(list(grid), rope.bands)
        return Embedded(trunk.norm_pre(tokens), turned, grid)

    def pooled(self, tokens: Tensor) -> Tensor:
        trunk = self._trunk
        return self.module.head(trunk.forward_head(trunk.norm(tokens)))

    def projected(self, tokens: Tensor) -> Tensor:
        trunk = self._trunk
        rows = trunk.norm(tokens)
        if trunk.attn_pool is not None:  # over one token, attention returns its value
            rows = trunk.attn_pool(rows.flatten(0, 1)[:, None]).reshape(rows.shape[0], rows.shape[1], -1)
        return self.module.head(trunk.head(trunk.head_drop(trunk.fc_norm(rows))))


def _is_known(trunk: Any) -> bool:
    """Whether a trunk is a transformer of timm whose blocks, attention and positions are written down above."""
    from timm.layers import Attention
    from timm.layers.pos_embed_sincos import RotaryEmbeddingCat
    from timm.models.eva import Eva, EvaAttention, EvaBlock
    from timm.models.vision_transformer import Block, VisionTransformer

    kinds = {VisionTransformer: (Block, Attention), Eva: (EvaBlock, EvaAttention)}
    if type(trunk) not in kinds or type(getattr(trunk, "rope", None)) not in (type(None), RotaryEmbeddingCat):
        return False
    block, attention = kinds[type(trunk)]
    return all(type(one) is block and type(one.attn) is attention for one in trunk.blocks)
