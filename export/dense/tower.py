"""A transformer as dense features need it: taken apart into blocks whose attention can be replaced.

Towers of open_clip and timm are taken apart in files beside this one. Whether that was done rightly is not believed but
measured: the row of the whole picture, which comes out of the same pass, has to be that of the tower itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .attention import CHANGES, Change, Heads, own_attention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Embedded:
    """A picture as tokens (n, t, c), what blocks need to know of their places, and rows and columns of its grid."""

    tokens: Tensor
    rope: Any
    grid: tuple[int, int]


class Block(Protocol):
    """One block of a transformer with pre-normalisation."""

    def whole(self, tokens: Tensor, rope: Any) -> Tensor:
        """The block as it is, (n, t, c) to (n, t, c)."""

    def heads(self, tokens: Tensor, rope: Any, prefix: int, grid: tuple[int, int]) -> Heads:
        """What the block attends with."""

    def merged(self, values: Tensor, inputs: Tensor) -> Tensor:
        """Values (n, heads, t, width), mixed by some attention, through the output projection: (n, t, c)."""

    def fed(self, tokens: Tensor) -> Tensor:
        """What the feed-forward network adds to tokens (n, t, c)."""


class TokenTower(Protocol):
    """An image tower taken apart.

    Attributes
    ----------
    module : torch.nn.Module
        The tower, which owns the weights.
    blocks : sequence of Block
    prefix : int
        Tokens before those of the picture.
    stride : int
        Pixels per token.
    pools_class : bool
        Whether the embedding of a picture is made of its first token alone.
    """

    module: Any
    blocks: Sequence[Block]
    prefix: int
    stride: int
    pools_class: bool

    def embed(self, pixels: Tensor) -> Embedded:
        """Normalised pixels (n, 3, H, W), sides multiples of the stride, to tokens with positions."""

    def pooled(self, tokens: Tensor) -> Tensor:
        """Tokens of the last block (n, t, c) to embeddings of pictures (n, d); the first token only if it pools it."""

    def projected(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, c) to embeddings (n, t, d), each as the pool would see a picture of this token alone."""


def dense_module(tower: TokenTower, name: str) -> Any:
    """A module from pixels to the embedding of the picture and of each of its tokens.

    Parameters
    ----------
    tower : TokenTower
    name : str
        One of :data:`~.attention.CHANGES`.

    Returns
    -------
    torch.nn.Module
        (n, 3, H, W) to unit rows (n, 1 + h w, d): the whole picture, then its tokens in reading order.
    """
    import torch

    change = CHANGES[name]

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = tower.module

        def forward(self, pixels: Tensor) -> Tensor:
            picture = tower.embed(pixels)
            tokens, changed = _last_blocks(tower, change, picture)
            rows = tower.projected(changed[:, tower.prefix :])
            both = torch.cat([tower.pooled(tokens)[:, None], rows], dim=1)
            return torch.nn.functional.normalize(both, dim=-1)

    return Dense().eval()


def _last_blocks(tower: TokenTower, change: Change, picture: Embedded) -> tuple[Tensor, Tensor]:
    """Tokens that the tower's pool needs, and the changed tokens."""
    tokens, count = picture.tokens, min(change.blocks, len(tower.blocks))
    for block in tower.blocks[:-count]:
        tokens = block.whole(tokens, picture.rope)
    changed = tokens
    for block in tower.blocks[-count:]:
        heads = block.heads(tokens, picture.rope, tower.prefix, picture.grid)
        attended = block.merged(change.mix(heads), heads.inputs)
        if change.keeps_rest:
            changed = tokens + attended
            changed = changed + block.fed(changed)
        else:
            changed = changed + attended if count > 1 else attended
        if tower.pools_class and block is tower.blocks[-1]:
            heads, tokens = _first(heads), tokens[:, :1]
        tokens = tokens + block.merged(own_attention(heads), heads.inputs)
        tokens = tokens + block.fed(tokens)
    return tokens, changed


def _first(heads: Heads) -> Heads:
    """The same for the first token alone, which still attends to all."""
    return Heads(
        heads.queries[:, :, :1],
        heads.keys,
        heads.values,
        heads.inputs[:, :1],
        heads.scale,
        heads.prefix,
        heads.grid,
    )
