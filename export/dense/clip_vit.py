"""The image tower of transformers' ``CLIPModel``, and whatever has its layout, taken apart.

Known by the names of its parts, so that transformers need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ExportError
from .attention import Heads, own_attention
from .positions import resample_positions
from .tower import Block, Embedded

if TYPE_CHECKING:
    from torch import Tensor


class ClipBlock:
    """A ``CLIPEncoderLayer``."""

    def __init__(self, layer: Any) -> None:
        self._layer, self._attention = layer, layer.self_attn

    def whole(self, tokens: Tensor, rope: Any) -> Tensor:
        heads = self.heads(tokens, rope, 1, (0, 0))
        tokens = tokens + self.merged(own_attention(heads), heads.inputs)
        return tokens + self.fed(tokens)

    def heads(self, tokens: Tensor, rope: Any, prefix: int, grid: tuple[int, int]) -> Heads:
        attention, inputs = self._attention, self._layer.layer_norm1(tokens)
        batch, count, width = inputs.shape
        shape = (batch, count, attention.num_heads, width // attention.num_heads)
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        queries, keys, values = (layer(inputs).reshape(shape).transpose(1, 2) for layer in layers)
        return Heads(queries, keys, values, inputs, float(shape[-1]) ** -0.5, prefix, grid)

    def merged(self, values: Tensor, inputs: Tensor) -> Tensor:
        mixed: Tensor = self._attention.out_proj(values.transpose(1, 2).flatten(2))
        return mixed

    def fed(self, tokens: Tensor) -> Tensor:
        added: Tensor = self._layer.mlp(self._layer.layer_norm2(tokens))
        return added


class ClipTower:
    """See :class:`~.tower.TokenTower`; of a module with the transformer as ``trunk`` and its projection as ``head``."""

    prefix, pools_class = 1, True

    def __init__(self, visual: Any) -> None:
        trunk, kernel = visual.trunk, visual.trunk.embeddings.patch_embedding
        if len(set(kernel.kernel_size)) > 1 or kernel.kernel_size != kernel.stride:
            raise ExportError("its tokens are not squares of pixels side by side")
        self.module, self._trunk, self.stride = visual, trunk, int(kernel.kernel_size[0])
        self.blocks: Sequence[Block] = [ClipBlock(layer) for layer in _layers(trunk)]

    def embed(self, pixels: Tensor) -> Embedded:
        import torch

        parts = self._trunk.embeddings
        cells = parts.patch_embedding(pixels)
        grid = (cells.shape[2], cells.shape[3])
        first = parts.class_embedding.expand(cells.shape[0], 1, -1)
        tokens = torch.cat([first, cells.flatten(2).transpose(1, 2)], dim=1)
        table = parts.position_embedding.weight
        side = round((len(table) - 1) ** 0.5)
        tokens = tokens + torch.cat([table[:1], resample_positions(table[1:], (side, side), grid)])
        return Embedded(self._trunk.pre_layrnorm(tokens), None, grid)

    def pooled(self, tokens: Tensor) -> Tensor:
        return self.projected(tokens[:, :1])[:, 0]

    def projected(self, tokens: Tensor) -> Tensor:
        rows: Tensor = self.module.head(self._trunk.post_layernorm(tokens))
        return rows


def _layers(trunk: Any) -> Any:
    return getattr(trunk, "encoder", trunk).layers


def has_clip_layout(module: Any) -> bool:
    """Whether a module's parts are those of ``CLIPVisionTransformer``."""
    parts, layers = getattr(module, "embeddings", None), getattr(getattr(module, "encoder", module), "layers", ())
    own = all(hasattr(module, name) for name in ("pre_layrnorm", "post_layernorm"))
    embeds = all(hasattr(parts, name) for name in ("class_embedding", "patch_embedding", "position_embedding"))
    names = ("self_attn", "layer_norm1", "layer_norm2", "mlp")
    return own and embeds and len(layers) > 0 and all(hasattr(layer, name) for layer in layers for name in names)
