"""The image tower: what ImageNet's classes say of a photograph, mixed with what captions taught.

Two branches end in the same space as the texts:

* *classes* (ConSE, Norouzi et al. 2014, arXiv 1312.5650): the trunk's probabilities over the 1000 ImageNet classes,
  as a weighted sum of the rows of the classes' texts;
* *captions*: a small network on the trunk's features, taught by photographs with captions, which knows people, rooms,
  streets and materials, none of which is a class.

Both count the same. Only of people the first branch knows nothing, since no class is a person, and the second one says
what it knows too quietly beside all else that captions hold: whether people are there is asked of a probe of its own.
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

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (n, 1504) around 0 and of length one per entry.

        Patches are resized to fewer pixels than photographs, which scales all features; a layer norm undoes it.
        """
        return layer_norm((features - self.mean) / self.deviation, features.shape[-1:])

    def rows(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return the unit rows (n, 256) of features that are scaled already."""
        return normalize(self.last(self.dropout(gelu(self.first(self.dropout(scaled))))), dim=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.rows(self.scaled(features))


class PeopleProbe(torch.nn.Module):
    """Scaled features (n, 1504) to how far rows go towards texts about people (n,), between -0.15 and 0.4.

    Rows of captions have about as much without and with people. On photographs of other sources than its own the probe
    is surer than it is right, and names people too often, so the logarithm of its odds is halved behind a threshold.
    """

    LEAST, MOST, THRESHOLD, SPREAD = -0.15, 0.4, 3.5, 2.0

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(FEATURES, DIM), torch.nn.Linear(DIM, 1)
        self.dropout = torch.nn.Dropout(dropout)

    def logits(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the odds (n,) that somebody is there, as trained."""
        return self.last(self.dropout(gelu(self.first(self.dropout(scaled)))))[:, 0]

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        share = ((self.logits(scaled) - self.THRESHOLD) / self.SPREAD).sigmoid()
        return self.LEAST + (self.MOST - self.LEAST) * share


def mix(classes: torch.Tensor, captions: torch.Tensor, people: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Return the unit rows (n, d) of both branches together.

    Parameters
    ----------
    classes, captions : (n, d) float32
        Unit rows of the two branches.
    people : (d,) float32
        Unit direction from texts about other things to texts about people.
    along : (n,) float32
        Component of each row along it, whatever the branches say, before rows get unit length again.

    Examples
    --------
    >>> classes, captions, people = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([0.0, 1.0])
    >>> mix(classes, captions, people, torch.tensor([0.8]))
    tensor([[0.7454, 0.6667]])
    """
    rows = normalize(captions + classes, dim=1)
    return normalize(rows + (along - rows @ people)[:, None] * people, dim=1)


class ImageTower(torch.nn.Module):
    """Pixels (n, 3, height, width), ``(value - 127) / 128``, to unit rows (n, 256).

    Parameters
    ----------
    trunk : torch.nn.Module
        Of :func:`training.builtin.trunk.load_trunk`.
    branch : CaptionBranch
    probe : PeopleProbe
    anchors : (1000, 256) float32
        Unit rows of the classes' texts.
    people : (256,) float32
        As in :func:`mix`.
    """

    anchors: torch.Tensor
    people: torch.Tensor

    def __init__(
        self, trunk: Any, branch: CaptionBranch, probe: PeopleProbe, anchors: torch.Tensor, people: torch.Tensor
    ) -> None:
        super().__init__()
        self.trunk, self.branch, self.probe = trunk, branch, probe
        self.register_buffer("anchors", anchors.clone())
        self.register_buffer("people", people.clone())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.from_features(read_features(self.trunk, pixels))

    def from_features(self, features: torch.Tensor) -> torch.Tensor:
        """Return unit rows (n, 256) of features (n, 1504)."""
        probabilities = class_probabilities(self.trunk, features)
        classes, scaled = normalize(probabilities @ self.anchors, dim=1), self.branch.scaled(features)
        return mix(classes, self.branch.rows(scaled), self.people, self.probe(scaled))


class TextAdapter(torch.nn.Module):
    """Unit rows of the text tower to unit rows (n, 256) beside photographs; without training it changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(DIM, 2 * DIM), torch.nn.Linear(2 * DIM, DIM)
        torch.nn.init.zeros_(self.last.weight)
        torch.nn.init.zeros_(self.last.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return normalize(rows + self.last(gelu(self.first(rows))), dim=1)
