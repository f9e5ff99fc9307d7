"""The image tower: what ImageNet's classes say of a photograph, mixed with what captions taught.

Two branches end in the same space as the texts:

* *classes* (ConSE, Norouzi et al. 2014, arXiv 1312.5650): the trunk's probabilities over the 1000 ImageNet classes,
  as a weighted sum of the rows of the classes' texts;
* *captions*: a small network on the trunk's features, taught by photographs with captions, which knows people, rooms,
  streets and materials, none of which is a class.

Both count the same. Only of people the first branch knows nothing, since no class is a person: whether people are there
is left to the second branch alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, normalize

from .trunk import FEATURES, class_probabilities, read_features

DIM, HIDDEN = 256, 768


class CaptionBranch(torch.nn.Module):
    """Features (n, 1504) to unit rows (n, 256)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.first, self.last = torch.nn.Linear(FEATURES, HIDDEN), torch.nn.Linear(HIDDEN, DIM)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Patches are resized to fewer pixels than photographs, which scales all features; a layer norm undoes it.
        scaled = layer_norm((features - self.mean) / self.deviation, features.shape[-1:])
        hidden = self.dropout(gelu(self.first(self.dropout(scaled))))
        return normalize(self.last(hidden), dim=1)


def mix(classes: torch.Tensor, captions: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
    """Return the unit rows (n, d) of both branches together.

    Parameters
    ----------
    classes, captions : (n, d) float32
        Unit rows of the two branches.
    people : (d,) float32
        Unit direction from texts about other things to texts about people. Along it, rows are those of the captions.

    Examples
    --------
    >>> classes, captions, people = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([0.0, 1.0])
    >>> mix(classes, captions, people)
    tensor([[0.7454, 0.6667]])
    """
    rows = normalize(captions + classes, dim=1)
    return normalize(rows + ((captions - rows) @ people)[:, None] * people, dim=1)


class ImageTower(torch.nn.Module):
    """Pixels (n, 3, height, width), ``(value - 127) / 128``, to unit rows (n, 256).

    Parameters
    ----------
    trunk : torch.nn.Module
        Of :func:`training.builtin.trunk.load_trunk`.
    branch : CaptionBranch
    anchors : (1000, 256) float32
        Unit rows of the classes' texts.
    people : (256,) float32
        As in :func:`mix`.
    """

    anchors: torch.Tensor
    people: torch.Tensor

    def __init__(self, trunk: Any, branch: CaptionBranch, anchors: torch.Tensor, people: torch.Tensor) -> None:
        super().__init__()
        self.trunk, self.branch = trunk, branch
        self.register_buffer("anchors", anchors.clone())
        self.register_buffer("people", people.clone())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.from_features(read_features(self.trunk, pixels))

    def from_features(self, features: torch.Tensor) -> torch.Tensor:
        """Return unit rows (n, 256) of features (n, 1504)."""
        probabilities = class_probabilities(self.trunk, features)
        return mix(normalize(probabilities @ self.anchors, dim=1), self.branch(features), self.people)


class TextAdapter(torch.nn.Module):
    """Unit rows of the text tower to unit rows (n, 256) beside photographs; without training it changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(DIM, 2 * DIM), torch.nn.Linear(2 * DIM, DIM)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return normalize(rows + self.last(gelu(self.first(rows))), dim=1)
