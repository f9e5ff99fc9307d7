"""A few words that add up to an embedding: SpLiCE."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ..doors import door, plain, shown
from ..encoders.decode import is_single_image
from ..encoders.pipeline import in_order
from ..errors import InputError
from ..kernels.foreign import embedding_rows
from ..sparse import decompose as sparse
from ..sparse.result import Decompositions
from ..timings import Timings
from .encoding import Encoding
from .opened import FloatArray

if TYPE_CHECKING:
    from ..encoders.decode import ImageLike
    from ..sparse.result import AverageWeights, Decomposition


class Decomposing(Encoding):
    """Words of pictures, texts and embeddings, and of whole sets of pictures."""

    @overload
    def decompose(  # type: ignore[overload-overlap]  # a path is a str, and a str is an iterable of str
        self, images: ImageLike, *, l1_penalty: float | None = ..., l0: int | None = ...
    ) -> Decomposition: ...
    @overload
    def decompose(
        self, images: Iterable[ImageLike], *, l1_penalty: float | None = ..., l0: int | None = ...
    ) -> Decompositions: ...
    @overload
    def decompose(  # type: ignore[overload-overlap]
        self, *, texts: str, l1_penalty: float | None = ..., l0: int | None = ...
    ) -> Decomposition: ...
    @overload
    def decompose(
        self, *, texts: Sequence[str], l1_penalty: float | None = ..., l0: int | None = ...
    ) -> Decompositions: ...
    @overload
    def decompose(self, *, embeddings: npt.ArrayLike, l1_penalty: float | None = ..., l0: int | None = ...) -> Any: ...
    @door
    def decompose(
        self,
        images: ImageLike | Iterable[ImageLike] | None = None,
        *,
        embeddings: npt.ArrayLike | None = None,
        texts: str | Sequence[str] | None = None,
        l1_penalty: float | None = None,
        l0: int | None = None,
    ) -> Any:
        """Which few words add up to this embedding? (SpLiCE)

        Parameters
        ----------
        images : image or iterable of images, optional
        embeddings : (d,) or (n, d) array, optional
            Image embeddings; rows are normalised.
        texts : str or sequence of str, optional
            Texts are centred by the mean of the dictionary instead of the image mean.
        l1_penalty : float, optional
            Weight of the l1 norm, as in SpLiCE; typical 0.15 to 0.35. Where ``l0`` is not given, the default is the
            engine's ``l1_penalty``: the one that its bundle names, else 0.25.
        l0 : int, optional
            About how many words to use, instead of a penalty.

        Returns
        -------
        Decomposition or Decompositions
            One for a single image, text or (d,) embedding; a batch for a sequence.

        Raises
        ------
        InputError
            If not exactly one of images, embeddings and texts is given, or a value is out of range.
        """
        if sum(item is not None for item in (images, embeddings, texts)) != 1:
            raise InputError("give exactly one of images, embeddings and texts")
        mean = self.dictionary.mean if texts is not None else self.image_mean
        notes: list[str] = []
        timings = Timings()
        if images is not None:
            parts = [codes for codes, _ in self._decomposed(images, l1_penalty, l0, timings)]
            batch = Decompositions.joined(parts).noted(notes, timings)
            return batch[0] if is_single_image(images) else batch
        with self.place:
            with timings.stage("encode"):
                if texts is not None:
                    single, rows = isinstance(texts, str), self._embed_texts(texts)
                    notes = self._text_notes([texts] if isinstance(texts, str) else texts)
                else:
                    array = embedding_rows("embeddings", embeddings)
                    single, rows = array.ndim == 1, np.atleast_2d(array)
            with timings.stage("solve"):
                batch = self._decompose(rows, mean, l1_penalty, l0)
        batch = batch.noted(notes, timings)
        return batch[0] if single else batch

    def _decomposed(
        self, images: ImageLike | Iterable[ImageLike], l1_penalty: float | None, l0: int | None, timings: Timings
    ) -> Iterator[tuple[Decompositions, list[int]]]:
        """Images batch by batch, each solved in a thread while the next is encoded; an empty batch if there are none.

        With ``num_threads=1``, or for a single image, everything happens in the caller's thread.
        """
        mean, single = self.image_mean, is_single_image(images)
        several: Any = [images] if single else images

        def solve(batch: tuple[Any, list[int]]) -> Decompositions:
            with self.place, timings.stage("solve"):
                return self._decompose(batch[0], mean, l1_penalty, l0)

        batches = timings.each("encode", self.encode_batches(several, on_device=True))
        empty = True
        for (_, positions), outcome in in_order(batches, solve, 0 if single or self.num_threads == 1 else 1, ahead=1):
            yield outcome(), positions
            empty = False
        if empty:
            yield solve((np.empty((0, self.parts.embedding_dim), np.float32), [])), []

    def penalty(self, l1_penalty: float | None, l0: int | None) -> float | None:
        """The penalty of a decomposition that is asked for like this; None where ``l0`` is given."""
        return self.l1_penalty if l1_penalty is None and l0 is None else l1_penalty

    def _decompose(self, rows: Any, mean: FloatArray, l1_penalty: float | None, l0: int | None) -> Decompositions:
        return sparse.decompose(
            rows,
            self.dictionary,
            mean,
            self.kernels,
            l1_penalty=self.penalty(l1_penalty, l0),
            l0=l0,
            num_threads=self.num_threads,
        )

    @door
    def recompose(self, weights: Mapping[str, float], *, kind: str = "image") -> FloatArray:
        """The embedding that words with weights add up to: ``norm(norm(C^T w) + mean)``.

        Parameters
        ----------
        weights : mapping of word to weight
            Words of the dictionary.
        kind : {"image", "text"}
            Which mean to add back.

        Returns
        -------
        (d,) float32, unit length
        """
        if kind not in ("image", "text"):
            raise InputError(f"kind must be image or text, got {kind!r}")
        return sparse.recompose(weights, self.dictionary, self.image_mean if kind == "image" else self.dictionary.mean)

    @door
    def average(
        self,
        images: Iterable[ImageLike],
        labels: Iterable[Hashable] | None = None,
        *,
        l1_penalty: float | None = None,
        l0: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> dict[Hashable, AverageWeights]:
        """Mean weights per class, or over a whole dataset: which words does a set of images consist of?

        Parameters
        ----------
        images : iterable of images
            Decoded batch by batch; only one batch is in memory at a time.
        labels : iterable, optional
            One per image, equal by value: scalars of NumPy or torch are their number. None puts all images under the
            label ``"all"``.
        l1_penalty, l0
            As in :meth:`decompose`.
        progress : callable, optional
            Called after each batch with the number of images done.

        Returns
        -------
        dict of label to AverageWeights
            In the order in which labels first occur.

        Raises
        ------
        InputError
            If there are fewer or more labels than images, or a label is not hashable.
        """
        timings = Timings()
        with self.place:
            averages = sparse.average_codes(
                _labelled(self._decomposed(images, l1_penalty, l0, timings), labels), self.kernels, progress
            )
        return {label: replace(mean, timings_ms=timings) for label, mean in averages.items()}


def _labelled(
    batches: Iterable[tuple[Decompositions, list[int]]], labels: Iterable[Hashable] | None
) -> Iterator[tuple[Decompositions, Sequence[Hashable]]]:
    if isinstance(labels, (set, frozenset)) or len(getattr(labels, "shape", (0,))) != 1:
        raise InputError("labels must be one per image, in their order: a list, or an array of shape (n,)")
    left, done = None if labels is None else iter(labels), 0
    for codes, positions in batches:
        chosen = ["all"] * len(positions) if left is None else [*islice(left, len(positions))]
        if len(chosen) < len(positions):
            most, least = done + len(chosen), done + len(positions)
            raise InputError(f"there are fewer labels than images: {most} for at least {least}")
        done += len(chosen)
        yield codes, [_label(label) for label in chosen]
    if left is not None and next(left, _NO_LABEL) is not _NO_LABEL:
        raise InputError(f"there are more labels than images ({done})")


_NO_LABEL = object()


def _label(value: Any) -> Hashable:
    label = plain(value)
    if not isinstance(label, Hashable) or hasattr(label, "shape"):  # tensors hash by identity
        raise InputError(f"labels must be hashable, such as numbers or strings; got {shown(value)}")
    if isinstance(label, float) and label != label:
        raise InputError("labels must not be NaN, which equals nothing; give None where there is no label")
    return label
