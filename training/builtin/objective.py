"""What the two branches and the text adapter are asked for; every function returns one number to make small."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize


def pairs(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return CLIP's loss: among the rows of a batch, row i of each kind belongs to row i of the other.

    Parameters
    ----------
    images, texts : (n, d) float32
        Unit rows.
    scale : () float32
        Factor on cosines.

    Examples
    --------
    >>> rows = torch.eye(3)
    >>> bool(pairs(rows, rows, torch.tensor(50.0)) < 1e-6)
    True
    """
    scores, own = images @ texts.T * scale, torch.arange(len(images))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


def words_first(
    images: torch.Tensor, words: torch.Tensor, shares: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy of the words of the captions among all words, as a decomposition sees them.

    Parameters
    ----------
    images : (n, d) float32
        Unit rows.
    words : (v, d) float32
        Unit rows of the words; they are centred here, as those of a dictionary are.
    shares : (n, v) float32
        Share of an image's captions that have a word. Images without any word do not count.
    scale, bias : () and (v,) float32
        Factor on cosines, and what makes frequent words likely; neither is used after training.
    """
    centred = normalize(words - words.mean(0), dim=1)
    total = shares.sum(1, keepdim=True)
    has_words = total[:, 0] > 0
    likelihood = (images @ centred.T * scale + bias).log_softmax(1)
    return -((shares / total.clamp_min(0.2)) * likelihood).sum(1)[has_words].mean()


def kinds_apart(
    images: torch.Tensor, kinds: torch.Tensor, answers: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the loss of yes or no for each kind of thing; an answer of -1 does not count.

    Parameters
    ----------
    images : (n, d) float32
        Unit rows.
    kinds : (k, d) float32
        Unit rows of the texts that ask; what they have in common is taken away.
    answers : (n, k) float32
        1, 0 or -1.
    scale, bias : () and (k,) float32
        Not used after training.
    """
    known = answers >= 0
    scores = images @ (kinds - kinds.mean(0)).T * scale + bias
    return binary_cross_entropy_with_logits(scores[known], answers[known])


def classes_kept(images: torch.Tensor, classes: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy to the trunk's class probabilities, certain photographs first.

    Parameters
    ----------
    images : (n, d) float32
        Unit rows of both branches together.
    classes : (1000, d) float32
        Unit rows of the classes' texts.
    probabilities : (n, 1000) float32
    """
    weight = probabilities.amax(1)
    likelihood = (images @ classes.T * 20).log_softmax(1)
    return -(weight * (probabilities * likelihood).sum(1)).sum() / weight.sum()
