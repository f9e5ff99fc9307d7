"""What the image tower is trained for: the teacher's place in text space, and all that the teacher makes out."""

from __future__ import annotations

from typing import Any

import torch

from .crops import Batch


class Objective(torch.nn.Module):
    """Cosine to the mixed class anchors, two cross-entropies over the classes, and the teacher's raw logits.

    With probabilities p of the crop and unit rows a_k (anchor), d_k (definition), q_k (prompt) the loss of a unit
    embedding z is ``w_c (1 - z . normalise(sum_k p_k a_k)) + w_d H(p, softmax(s_d z d)) + w_p H(p, softmax(s_p z q))``
    with learned scales. The logits l of the crop, less their mean, are regressed from the tower's pooled features f:
    ``w_e |W f + b - l|^2 / |l - mean over the batch|^2``, over crops whose logits are known. Probabilities name a few
    classes; logits say of every class how far off it is, so photographs of what is no class teach as well. W and b
    serve training alone.

    Parameters
    ----------
    targets : dict of Tensor
        ``anchor``, ``definition`` and ``prompt``, each (1000, 256).
    settings : dict
        The ``image`` part of the configuration.
    features : int
        Width of the tower's pooled features.
    """

    def __init__(self, targets: dict[str, torch.Tensor], settings: dict[str, Any], features: int) -> None:
        super().__init__()
        for name, rows in targets.items():
            self.register_buffer(name, rows, persistent=False)  # a resumed run may find better ones
        self._weights = tuple(settings[f"{name}_weight"] for name in ("cosine", "definition", "prompt", "evidence"))
        self.scales = torch.nn.Parameter(torch.tensor([3.0, 3.0]))
        self.logits = torch.nn.Linear(features, 1000)

    def forward(self, features: torch.Tensor, embeddings: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss of pooled features (n, features) and embeddings (n, 256) against what the crops show."""
        found = torch.nn.functional.normalize(embeddings, dim=1)
        wanted = torch.nn.functional.normalize(batch.labels @ self.anchor, dim=1)
        cosine = 1 - (found * wanted).sum(1).mean()
        scales = self.scales.clamp(max=4.2).exp()
        cross = [
            -(batch.labels * (scale * found @ rows.T).log_softmax(1)).sum(1).mean()
            for scale, rows in ((scales[0], self.definition), (scales[1], self.prompt))
        ]
        return (
            self._weights[0] * cosine
            + self._weights[1] * cross[0]
            + self._weights[2] * cross[1]
            + self._weights[3] * self._unexplained(features[batch.known], batch.evidence)
        )

    def _unexplained(self, features: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
        """Return the share of the variance of logits that is not told from the features."""
        wanted = evidence - evidence.mean(1, keepdim=True)
        spread = (wanted - wanted.mean(0)).square().mean().clamp_min(1e-6)
        return (self.logits(features) - wanted).square().mean() / spread


def pooled_and_embedded(tower: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pooled features of an image tower and its embeddings, not normalised."""
    trunk = tower.trunk
    features = trunk.forward_head(trunk.forward_features(images), pre_logits=True)
    return features, tower.head(trunk.get_classifier()(features))
