"""Text to image and back, from dense embeddings and from the few words they decompose into."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset, Progress, embed_all, silent
from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import InputError
from .bootstrap import paired_bootstrap
from .metrics import recall_at
from .nulls import apply_control
from .weights import penalty_for

FloatArray = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int64]
DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalRow:
    """Recall of one kind of embedding.

    Attributes
    ----------
    kind : str
        ``dense``; ``decomposed images``; ``decomposed both``: images and texts.
    l1_penalty, l0 : float or None
        l0 is the mean number of words of the images.
    text_to_image, image_to_text : dict of k to recall@k
    null : dict of control to (text to image, image to text) recall@1
        For ``random-vocabulary`` with about as many words per image.
    lift : dict of control to (difference, low, high)
        Text to image recall@1 minus the null's, paired bootstrap over images.
    """

    kind: str
    l1_penalty: float | None
    l0: float | None
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]
    null: dict[str, tuple[float, float]]
    lift: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class RetrievalResult:
    """Result of :func:`retrieve`."""

    images: int
    captions: int
    rows: list[RetrievalRow]
    bad: list[BadRow]
    seconds: float


def retrieval_ranks(images: FloatArray, texts: FloatArray, owner: Ranks) -> tuple[Ranks, Ranks]:
    """Rank of the right image for every text, and of the best right text for every image (ties count against).

    Parameters
    ----------
    images, texts : (n, d) and (m, d) float32
    owner : (m,) integers
        Image that each text belongs to; every image has one at least.

    Returns
    -------
    text_to_image (m,), image_to_text (n,) int64

    Examples
    --------
    >>> rows = np.eye(3, dtype=np.float32)
    >>> retrieval_ranks(rows, rows[[0, 2, 1]], np.array([0, 1, 2]))
    (array([0, 2, 2]), array([0, 2, 2]))
    """
    similarities = texts @ images.T
    own = similarities[np.arange(len(texts)), owner]
    forward: Ranks = (similarities >= own[:, None]).sum(axis=1) - 1
    best = np.full(len(images), -np.inf, np.float32)
    np.maximum.at(best, owner, own)
    foreign = np.where(owner[:, None] == np.arange(len(images))[None], -np.inf, similarities)
    backward: Ranks = (foreign >= best[None]).sum(axis=0)
    return forward, backward


def retrieve(
    engine: Engine,
    dataset: Dataset,
    *,
    l1_penalties: Sequence[float] = (0.05, 0.1, 0.25),
    nulls: Sequence[str] = ("random-vocabulary", "shuffled-definitions"),
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> RetrievalResult:
    """Find images by their captions and captions by their images.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Items with captions; all captions of an item count as right.
    l1_penalties : sequence of float
        At each penalty, images alone are decomposed, then images and texts (texts are centred by the
        dictionary's mean).
    nulls, repeats, seed, progress
        As for :func:`fastconcept.evaluate.zeroshot.classify`.

    Returns
    -------
    RetrievalResult
        Recall@1, 5 and 10 both ways. An item with several captions is found if one of them is.

    Raises
    ------
    InputError
        If no item has a caption.

    Source: Bhalla et al., arXiv 2402.10376, section 5.
    """
    began = time.perf_counter()
    captioned = tuple(item for item in dataset.items if item.captions)
    bad = dataset.bad_rows()
    for item in dataset.items:
        if not item.captions:
            bad.add(item.name, "has no caption")
    if not captioned:
        raise InputError(f"no item of {dataset.name} has a caption")
    part = replace(dataset, items=captioned)
    items, images, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    owner = np.repeat(np.arange(len(items)), [len(item.captions) for item in items])
    captions = [caption for item in items for caption in item.captions]
    texts = engine.encode_text(captions)
    nulled = {}
    for control in nulls:
        null = apply_control(engine, control, seed)
        pictures = embed_all(null, part).rows if control == "random-encoder" else images
        nulled[control] = (null, pictures, null.encode_text(captions))

    def row(kind: str, penalty: float | None) -> RetrievalRow:
        (forward, backward), l0 = _ranks(engine, images, texts, owner, kind, penalty)
        hits = (forward < 1).astype(np.float64)[:, None]
        null_recalls, lift = {}, {}
        for control, (other, pictures, other_texts) in nulled.items():
            same = penalty
            if control == "random-vocabulary" and l0 is not None:
                same = penalty_for(other, pictures, l0)
            (ahead, back), _ = _ranks(other, pictures, other_texts, owner, kind, same)
            null_recalls[control] = recall_at(ahead, 1), recall_at(back, 1)
            misses = (ahead < 1).astype(np.float64)[:, None]
            lift[control] = paired_bootstrap(hits, misses, owner.tolist(), None, repeats, seed)
        there, back_again = ({k: recall_at(ranks, k) for k in DEPTHS} for ranks in (forward, backward))
        return RetrievalRow(kind, penalty, l0, there, back_again, null_recalls, lift)

    rows = [row("dense", None)]
    rows += [row(kind, penalty) for penalty in l1_penalties for kind in ("decomposed images", "decomposed both")]
    return RetrievalResult(len(items), len(captions), rows, bad.rows, time.perf_counter() - began)


def _ranks(
    engine: Engine,
    images: FloatArray,
    texts: FloatArray,
    owner: Ranks,
    kind: str,
    penalty: float | None,
) -> tuple[tuple[Ranks, Ranks], float | None]:
    if penalty is None:
        return retrieval_ranks(images, texts, owner), None
    words = engine.decompose(embeddings=images, l1_penalty=penalty)
    if kind == "decomposed both":
        texts = decompose_texts(engine, texts, penalty)
    return retrieval_ranks(words.embeddings, texts, owner), float(words.l0.mean())


def decompose_texts(engine: Engine, texts: FloatArray, penalty: float) -> FloatArray:
    """Reconstructions of text embeddings, centred by the mean of the dictionary: (m, d) float32, unit rows."""
    from ..sparse.decompose import decompose

    with engine.place:
        found = decompose(texts, engine.dictionary, engine.dictionary.mean, engine.kernels, l1_penalty=penalty)
    return found.embeddings
