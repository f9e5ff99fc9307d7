"""The image tower: what ImageNet's classes say of a photograph, mixed with what captions taught.

Two branches end in the same space as the texts:

* *classes* (ConSE, Norouzi et al. 2014, arXiv 1312.5650): the trunk's probabilities over the 1000 ImageNet classes,
  as a weighted sum of the rows of the classes' texts;
* *captions*: a small network on the trunk's features, taught by photographs with captions, which knows people, rooms,
  streets and materials, none of which is a class.

The more certain the trunk is of one class, the more the first branch counts; how much the second branch knows of what
it sees, it has learnt to say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, normalize

from .trunk import FEATURES, class_probabilities, read_features

DIM, HIDDEN = 256, 768
LEAST, MOST = 0.25, 0.65  # share of the caption branch where the trunk is certain of a class, and where it knows none


class CaptionBranch(torch.nn.Module):
    """Features (n, 1504) to unit rows (n, 256), and to how much they should count (n, 1), around zero."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.first, self.last = torch.nn.Linear(FEATURES, HIDDEN), torch.nn.Linear(HIDDEN, DIM)
        self.gate = torch.nn.Linear(HIDDEN, 1)
        torch.nn.init.zeros_(self.gate.weight)
        torch.nn.init.zeros_(self.gate.bias)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Patches are resized to fewer pixels than photographs, which scales all features; a layer norm undoes it.
        scaled = layer_norm((features - self.mean) / self.deviation, features.shape[-1:])
        hidden = self.dropout(gelu(self.first(self.dropout(scaled))))
        return normalize(self.last(hidden), dim=1), self.gate(hidden)


def mix(
    probabilities: torch.Tensor, classes: torch.Tensor, captions: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Return the unit rows (n, d) of both branches together.

    Parameters
    ----------
    probabilities : (n, 1000) float32
        Of the ImageNet classes.
    classes, captions : (n, d) float32
        Unit rows of the two branches.
    weight : (n, 1) float32
        Added to the log-odds of the share of the captions.

    Examples
    --------
    >>> certain, lost = torch.eye(1000)[:1], torch.full((1, 1000), 0.001)
    >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> rows = [mix(probabilities, one, other, torch.zeros(1, 1)) for probabilities in (certain, lost)]
    >>> bool(rows[0][0, 0] > 0.8), bool(rows[1][0, 1] > 0.8)
    (True, True)
    """
    share = torch.sigmoid(torch.logit(MOST - (MOST - LEAST) * probabilities.amax(1, keepdim=True)) + weight)
    return normalize(share * captions + (1 - share) * classes, dim=1)


class ImageTower(torch.nn.Module):
    """Pixels (n, 3, height, width), ``(value - 127) / 128``, to unit rows (n, 256).

    Parameters
    ----------
    trunk : torch.nn.Module
        Of :func:`training.builtin.trunk.load_trunk`.
    branch : CaptionBranch
    anchors : (1000, 256) float32
        Unit rows of the classes' texts.
    """

    anchors: torch.Tensor

    def __init__(self, trunk: Any, branch: CaptionBranch, anchors: torch.Tensor) -> None:
        super().__init__()
        self.trunk, self.branch = trunk, branch
        self.register_buffer("anchors", anchors.clone())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.from_features(read_features(self.trunk, pixels))

    def from_features(self, features: torch.Tensor) -> torch.Tensor:
        """Return unit rows (n, 256) of features (n, 1504)."""
        probabilities = class_probabilities(self.trunk, features)
        return mix(probabilities, normalize(probabilities @ self.anchors, dim=1), *self.branch(features))


class TextAdapter(torch.nn.Module):
    """Unit rows of the text tower to unit rows (n, 256) beside photographs; without training it changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(DIM, 2 * DIM), torch.nn.Linear(2 * DIM, DIM)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return normalize(rows + self.last(gelu(self.first(rows))), dim=1)
