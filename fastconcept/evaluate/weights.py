"""Concept weights of a whole dataset, as sparse as they are, and what tells two sets of them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..concepts.taxonomy import Taxonomy
from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, check_model, embed, silent
from ..datasets.items import BadRow, Item
from ..engine import Engine
from ..errors import ConceptError, InputError
from ..kernels.csr import Lists, SparseCodes

FloatArray = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """SpLiCE weights of n items in CSR layout.

    Attributes
    ----------
    items : list of n Item
    indptr, indices, values
        Item i has the words ``indices[indptr[i]:indptr[i + 1]]`` with those ``values`` > 0.
    embeddings : (n, d) float32
        The dense embeddings that were decomposed; d is 0 where a job has not kept them.
    cosine : (n,) float64
        Between reconstruction and embedding.
    bad : list of BadRow
        Rows of the dataset that could not be used.
    """

    items: list[Item]
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: Float
    embeddings: FloatArray
    cosine: Float
    bad: list[BadRow]

    def table(self, words: npt.NDArray[np.integer]) -> Float:
        """Weights of some words (ascending dictionary rows) as a dense (n, k) table."""
        rows = np.repeat(np.arange(len(self.items)), np.diff(self.indptr))
        places = np.searchsorted(words, self.indices)
        known = places < len(words)
        known[known] = words[places[known]] == self.indices[known]
        dense = np.zeros((len(self.items), len(words)))
        dense[rows[known], places[known]] = self.values[known]
        return dense

    def used(self, fraction: float) -> npt.NDArray[np.int64]:
        """Words that at least this fraction of the items use (and two items at least), ascending."""
        words, counts = np.unique(self.indices, return_counts=True)
        used: npt.NDArray[np.int64] = words[counts >= max(2, fraction * len(self.items))].astype(np.int64)
        return used


def decompose_dataset(
    engine: Engine,
    dataset: Dataset,
    *,
    l1_penalty: float | None = None,
    l0: int | None = None,
    dense: bool = False,
    progress: Progress = silent,
) -> Weights:
    """Decompose every item, one batch of images in memory at a time; or take what a job has computed before.

    Parameters
    ----------
    engine, dataset, progress
        See :func:`fastconcept.datasets.embed.embed`.
    l1_penalty, l0
        As for :meth:`fastconcept.engine.Engine.decompose`.
    dense : bool
        Whether the embeddings are needed; a job may have words alone.

    Raises
    ------
    InputError
        If no item can be read, or a job has words of another penalty and no embeddings.
    """
    stored = _stored(engine, dataset, l1_penalty, l0)
    if stored is not None and not (dense and dataset.embeddings is None):
        return stored
    items: list[Item] = []
    parts = []
    bad = dataset.bad_rows()
    for batch, rows, unreadable in embed(engine, dataset, progress):
        bad.extend(unreadable)
        if not batch:
            continue
        words = engine.decompose(embeddings=rows, l1_penalty=l1_penalty, l0=l0)
        items += batch
        parts.append((words.codes, rows, words.cosine))
    if not items:
        raise InputError(f"no item of {dataset.name} could be read; the first: {bad.rows[:1]}")
    return Weights(
        items,
        *SparseCodes.joined([codes for codes, _, _ in parts])[:3],
        np.concatenate([rows for _, rows, _ in parts]),
        np.concatenate([cosine for _, _, cosine in parts]),
        bad.rows,
    )


def _stored(engine: Engine, dataset: Dataset, l1_penalty: float | None, l0: int | None) -> Weights | None:
    """The words of a job, unless others are asked for."""
    stored = dataset.words
    if stored is None:
        return None
    check_model(engine, dataset)
    if (l1_penalty, l0) not in ((None, None), (stored.options["l1_penalty"], stored.options["l0"])):
        if dataset.embeddings is not None:
            return None
        raise InputError(
            f"{dataset.name} has words for {stored.options}, and no embeddings to make others from; "
            "leave the penalty out, or run the job with --embeddings"
        )
    items = list(dataset.items)
    rows = Lists(stored.indptr, np.arange(len(stored.indices))).select([item.row for item in items])
    vocabulary = np.array(engine.dictionary.rows_of(stored.words), np.int32)
    words, values = vocabulary[stored.indices[rows.indices]], stored.values[rows.indices]
    order = np.lexsort((words, rows.owners))  # ascending rows of the dictionary, as the solver gives them
    chosen = [item.row for item in items]
    none = np.empty((len(items), 0), np.float32)
    embeddings = none if dataset.embeddings is None else dataset.embeddings[chosen].astype(np.float32)
    cosine = stored.cosine[chosen]
    return Weights(items, rows.indptr, words[order], values[order], embeddings, cosine, dataset.bad_rows().rows)


def group_values(items: Sequence[Item], key: str) -> list[str | None]:
    """What each item says about ``key``.

    Parameters
    ----------
    items : sequence of Item
    key : str
        ``label``; an attribute; ``has:CONCEPT``, which is ``yes`` or ``no`` by whether a box is of that concept or
        one below it; or ``below:CONCEPT``, the same for the label.

    Returns
    -------
    list of str or None
        None where an item says nothing.

    Raises
    ------
    ConceptError
        If the concept is not one of WordNet.
    """
    kind, _, concept = key.partition(":")
    if kind not in ("has", "below") or not concept:
        return [item.value(key) for item in items]
    wordnet = Taxonomy.builtin()
    index = wordnet.resolve(concept).index
    if index is None:
        raise ConceptError(f"{concept!r} is not a concept of WordNet; give a synset such as animal.n.01")
    wanted, known = set(wordnet.subtree(index).tolist()), dict[str, bool]()

    def belongs(label: str) -> bool:
        if label not in known:
            try:
                known[label] = wordnet.resolve(label).index in wanted
            except ConceptError:
                known[label] = False
        return known[label]

    labels = [item.box_labels if kind == "has" else (item.label,) for item in items]
    return ["yes" if any(belongs(label) for label in several if label) else "no" for several in labels]
