"""Attention as published for dense features: what replaces a tower's own in its last blocks.

Each function takes queries, keys and values (n, heads, t, width) of one block and returns mixed values of that shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GEM_BLOCKS = 6  # of the end of the tower; `depth=7` of gem_torch
_REACH = 5.0  # standard deviation of NACLIP's neighbourhood in tokens


@dataclass(frozen=True)
class Heads:
    """What one block attends with.

    Attributes
    ----------
    queries, keys, values : (n, heads, t, width) tensors
    inputs : (n, t, c) tensor
        What they were projected from: the normalised input of the block.
    scale : float
        Factor of products of queries and keys.
    prefix : int
        Tokens before those of the picture: class token and registers.
    grid : (int, int)
        Rows and columns of the picture's tokens.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    inputs: Tensor
    scale: float
    prefix: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class Change:
    """A published change of a tower's last blocks.

    Attributes
    ----------
    mix : callable
        From :class:`Heads` to mixed values.
    keeps_rest : bool
        Whether the last block keeps its residual and its feed-forward network; the attention alone is the row else.
    blocks : int
        How many of the last blocks are changed. Where there are several, their results add up on a path of their own,
        without feed-forward networks, beside the tower's.
    source : str
    """

    mix: Callable[[Heads], Tensor]
    keeps_rest: bool
    blocks: int
    source: str


def own_attention(heads: Heads) -> Tensor:
    """The tower's own attention: softmax of queries with keys."""
    return (heads.queries @ heads.keys.transpose(-2, -1) * heads.scale).softmax(dim=-1) @ heads.values


def _values(heads: Heads) -> Tensor:
    return heads.values


def _csa(heads: Heads) -> Tensor:
    """Correlative self-attention: softmax of queries with queries plus softmax of keys with keys."""
    parts = [(x @ x.transpose(-2, -1) * heads.scale).softmax(dim=-1) for x in (heads.queries, heads.keys)]
    return (parts[0] + parts[1]) @ heads.values


def _queries(heads: Heads) -> Tensor:
    return (heads.queries @ heads.queries.transpose(-2, -1) * heads.scale).softmax(dim=-1) @ heads.values


def _neighbours(heads: Heads) -> Tensor:
    """Keys with keys, and a Gaussian of the distance between tokens added to the logits of picture tokens."""
    import torch

    logits = heads.keys @ heads.keys.transpose(-2, -1) * heads.scale
    down, across = (_falloff(heads.keys, side) for side in heads.grid)
    near = (down[:, None, :, None] * across[None, :, None, :]).reshape(down.shape[0] * across.shape[0], -1)
    return (logits + torch.nn.functional.pad(near, (heads.prefix, 0, heads.prefix, 0))).softmax(dim=-1) @ heads.values


def _falloff(like: Tensor, side: int) -> Tensor:
    """(side, side): a Gaussian of the distance along one axis, 1 on the diagonal."""
    import torch

    place = torch.arange(side, device=like.device).to(like.dtype)
    return torch.exp(-((place[:, None] - place[None, :]) ** 2) / (2 * _REACH**2))


def _self_self(heads: Heads) -> Tensor:
    """Self-self attention of values, keys and queries, each refined by itself once, averaged.

    The temperature is the mean length of the block's input tokens.
    """
    from torch.nn.functional import normalize

    temperature = heads.inputs.norm(dim=-1).mean(dim=-1)[:, None, None, None] * heads.scale
    mixed = []
    for x in (heads.values, heads.keys, heads.queries):
        unit = normalize(x, dim=-1)
        refined = normalize((unit @ unit.transpose(-2, -1) * temperature).softmax(dim=-1) @ unit, dim=-1)
        mixed.append((refined @ refined.transpose(-2, -1) * temperature).softmax(dim=-1) @ heads.values)
    return (mixed[0] + mixed[1] + mixed[2]) / 3


CHANGES = {
    "clearclip": Change(_queries, False, 1, "Lan et al., ECCV 2024, arXiv 2407.12442"),
    "maskclip": Change(_values, True, 1, "Zhou et al., ECCV 2022, arXiv 2112.01071"),
    "sclip": Change(_csa, True, 1, "Wang et al., ECCV 2024, arXiv 2312.01597"),
    "naclip": Change(_neighbours, False, 1, "Hajimiri et al., WACV 2025, arXiv 2404.08181"),
    "gem": Change(_self_self, False, GEM_BLOCKS, "Bousselham et al., CVPR 2024, arXiv 2312.00878"),
}
