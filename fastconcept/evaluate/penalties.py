"""Images and texts as dense embeddings and as the few words they decompose into, by an engine and its null controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..engine import Engine
from ..sparse.decompose import decompose
from .bootstrap import paired_bootstrap
from .nulls import under_control

FloatArray = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Embeddings:
    """What one engine makes of images and texts.

    Attributes
    ----------
    engine : Engine
    images, texts : (n, d) and (m, d) float32, unit rows
        Dense, or what a few words add up to.
    l1_penalty, l0, cosine : float or None
        Where images are decomposed: the penalty, the mean number of words, and the mean cosine between the
        reconstruction and the dense embedding.
    """

    engine: Engine
    images: FloatArray
    texts: FloatArray
    l1_penalty: float | None = None
    l0: float | None = None
    cosine: float | None = None

    def decomposed(self, l1_penalty: float) -> Embeddings:
        """The same with images replaced by ``norm(norm(C^T w) + mu)``, what their words add up to."""
        words = self.engine.decompose(embeddings=self.images, l1_penalty=l1_penalty)
        return replace(
            self,
            images=words.embeddings,
            l1_penalty=l1_penalty,
            l0=float(words.l0.mean()),
            cosine=float(words.cosine.mean()),
        )

    def with_decomposed_texts(self) -> Embeddings:
        """The same with texts decomposed at the penalty of the images, centred by the mean of the dictionary."""
        engine = self.engine
        with engine.place:
            words = decompose(
                self.texts,
                engine.dictionary,
                engine.dictionary.mean,
                engine.kernels,
                l1_penalty=self.l1_penalty,
                num_threads=engine.num_threads,
            )
        return replace(self, texts=words.embeddings)


def penalty_sweep(
    engine: Engine,
    dataset: Dataset,
    images: FloatArray,
    embed_texts: Callable[[Engine], FloatArray],
    l1_penalties: Sequence[float],
    nulls: Sequence[str],
    seed: int,
) -> Iterator[tuple[Embeddings, dict[str, Embeddings]]]:
    """Dense embeddings first, then decomposed ones at each penalty; each time under the null controls too.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Items whose embeddings are ``images``.
    images : (n, d) float32
    embed_texts : callable
        Maps an engine to (m, d) float32.
    l1_penalties : sequence of float
    nulls, seed : sequence of str, int
        Controls of :func:`fastconcept.evaluate.nulls.apply_control`, and their seed.

    Yields
    ------
    embeddings, controls : Embeddings, dict of control to Embeddings
        ``random-vocabulary`` spreads over more words at the same penalty, so that it is decomposed at the penalty
        where it uses about as many words.
    """
    dense, controls = Embeddings(engine, images, embed_texts(engine)), {}
    for control in nulls:
        null, rows = under_control(engine, dataset, images, control, seed)
        controls[control] = Embeddings(null, rows, embed_texts(null))
    yield dense, controls
    for penalty in l1_penalties:
        words = dense.decomposed(penalty)
        coded = {}
        for control, null_dense in controls.items():
            same = penalty
            if control == "random-vocabulary" and words.l0 is not None:
                same = penalty_for(null_dense.engine, null_dense.images, words.l0)
            coded[control] = null_dense.decomposed(same)
        yield words, coded


def penalty_for(engine: Engine, embeddings: FloatArray, words: float, sample: int = 64, rounds: int = 8) -> float:
    """The l1 penalty at which embeddings use about so many words on average, by bisection on a few of them.

    Parameters
    ----------
    engine : Engine
    embeddings : (n, d) float32
    words : float
        Mean number of words wanted.
    sample, rounds : int
        Number of rows that are tried (the first ones), and of halvings of the interval from 0.01 to 2.

    Returns
    -------
    float
    """
    low, high = np.log(0.01), np.log(2.0)
    for _ in range(rounds):
        middle = (low + high) / 2
        used = engine.decompose(embeddings=embeddings[:sample], l1_penalty=float(np.exp(middle))).l0.mean()
        low, high = (middle, high) if used > words else (low, middle)
    return float(np.exp((low + high) / 2))


def top1_lift(
    ranks: Ranks, null_ranks: Ranks, groups: Sequence[object] | None, repeats: int, seed: int
) -> tuple[float, float, float]:
    """Recall@1 minus that of a null control, with its paired bootstrap interval; see ``paired_bootstrap``."""
    ours, theirs = ((each < 1).astype(np.float64)[:, None] for each in (ranks, null_ranks))
    return paired_bootstrap(ours, theirs, groups, None, repeats, seed)
