"""Text to image and back, from dense embeddings and from the few words they decompose into."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, embed_all, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from .metrics import recall_at
from .nulls import null_columns
from .penalties import Embeddings, Ranks, penalty_sweep, top1_lift

FloatArray = npt.NDArray[np.float32]
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
    """Result of :func:`retrieval`.

    Attributes
    ----------
    images, captions : int
        Numbers of images (or embeddings) and of captions.
    rows : list of RetrievalRow
        Dense embeddings first, then two rows per penalty.
    bad : list of BadRow
    seconds : float
    """

    images: int
    captions: int
    rows: list[RetrievalRow]
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, the table, a plot of recall@5, and plain values."""
        dense = self.rows[0]
        columns = ["embedding", "l1 penalty", "words (l0)", *(f"T→I R@{k}" for k in dense.text_to_image)]
        columns += [*(f"I→T R@{k}" for k in dense.image_to_text), *null_columns("T→I R@1", dense.null)]
        rows = [
            [row.kind, row.l1_penalty, row.l0, *row.text_to_image.values(), *row.image_to_text.values()]
            + [forward for forward, _ in row.null.values()]
            + list(row.lift.values())
            for row in self.rows
        ]
        labels = [row.kind if row.l1_penalty is None else f"{row.kind} {row.l1_penalty:g}" for row in self.rows]
        series = {"text to image R@5": [row.text_to_image[5] for row in self.rows],
                  "image to text R@5": [row.image_to_text[5] for row in self.rows]}  # fmt: skip
        return Report(
            "retrieval",
            "Text-image retrieval",
            f"Among {self.images} images and {self.captions} captions, dense embeddings find the image of a caption "
            f"first in {dense.text_to_image[1]:.1%} and a caption of an image first in {dense.image_to_text[1]:.1%} "
            "of the cases.",
            settings,
            [Table("Recall both ways", columns, rows)],
            [("Recall@5", bars("recall", labels, series))],
            {"images": self.images, "captions": self.captions, "rows": [asdict(row) for row in self.rows]},
            self.bad,
            self.seconds,
        )


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


@door
def retrieval(
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
        At each penalty, images alone are decomposed, then images and texts (texts are centred by the dictionary's
        mean).
    nulls, repeats, seed, progress
        As for :func:`fastconcept.evaluate.zeroshot.zeroshot`.

    Returns
    -------
    RetrievalResult
        Recall@1, 5 and 10 both ways. An item with several captions counts if one of them is among the first.

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
    rows = []
    for embeddings, controls in penalty_sweep(
        engine, part, images, lambda any_engine: any_engine.encode_text(captions), l1_penalties, nulls, seed
    ):
        kind = "dense" if embeddings.l1_penalty is None else "decomposed images"
        rows.append(_row(kind, embeddings, controls, owner, repeats, seed))
        if embeddings.l1_penalty is not None:
            both = {control: other.with_decomposed_texts() for control, other in controls.items()}
            words = embeddings.with_decomposed_texts()
            rows.append(_row("decomposed both", words, both, owner, repeats, seed))
    return RetrievalResult(len(items), len(captions), rows, bad.rows, time.perf_counter() - began)


def _row(
    kind: str, embeddings: Embeddings, controls: Mapping[str, Embeddings], owner: Ranks, repeats: int, seed: int
) -> RetrievalRow:
    forward, backward = retrieval_ranks(embeddings.images, embeddings.texts, owner)
    null, lift = {}, {}
    for control, other in controls.items():
        null_forward, null_backward = retrieval_ranks(other.images, other.texts, owner)
        null[control] = recall_at(null_forward, 1), recall_at(null_backward, 1)
        lift[control] = top1_lift(forward, null_forward, owner.tolist(), repeats, seed)
    recalls = [{k: recall_at(ranks, k) for k in DEPTHS} for ranks in (forward, backward)]
    return RetrievalRow(kind, embeddings.l1_penalty, embeddings.l0, recalls[0], recalls[1], null, lift)
