"""Engine: the one door for users. It opens a bundle and offers explain, decompose and the encoders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .bundle import Bundle, find_bundle
from .encoders.preprocess import MAX_PIXELS, is_single_image, load_image, preprocess_uploaded
from .errors import InputError
from .resources import Resources
from .saliency.explain import Options, explain_image
from .saliency.result import Explanation
from .saliency.targets import resolve_targets
from .sparse import decompose as sparse
from .sparse.result import AverageWeights, Decompositions
from .warmup import warm_up

if TYPE_CHECKING:
    from .encoders.preprocess import ImageLike

FloatArray = npt.NDArray[np.float32]

DEFAULT_L1_PENALTY = 0.25  # of SpLiCE's own examples


class Engine(Resources):
    """A CLIP model ready to explain: encoders, concept bank, dictionary and image mean of one bundle.

    Files are read when first needed: decomposing never opens the concept bank, explaining synsets never opens the
    text encoder.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``"cpu"`` or ``"cuda:N"``. The device asked for is the device used, or a :class:`DeviceError` says what is
        missing. On a GPU the engine has a stream of its own; bank, dictionary and encoders stay there while it lives.
    providers : sequence, optional
        ONNX Runtime execution providers, passed through unchanged; None chooses by device.
    encoder : str
        What runs the image tower: ``"onnx"``, ``"tensorrt"`` (the engine that ``python -m fastconcept.export.tensorrt``
        built for this model and this GPU), or the path of an ``*.engine`` file. Texts always go through ONNX Runtime.
    bank, dictionary : str, optional
        Which concept bank and dictionary of the bundle to use; None means the first.
    num_threads : int, optional
        CPU threads of the encoders and kernels; None means all the control group grants.
    max_pixels : int
        Largest image that is decoded, in pixels.

    Attributes
    ----------
    bundle : Bundle
    device : str
    kernels : module
        Of the device: ``fastconcept.kernels.cpu`` or ``.cuda``.
    """

    # Encoders -------------------------------------------------------------------------------------------------------

    def load_image(self, image: ImageLike) -> npt.NDArray[np.uint8]:
        """Decode an image to (H, W, 3) uint8 RGB under this engine's pixel limit."""
        return load_image(image, self.max_pixels)

    def encode_image(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Embed whole images, preprocessed as open_clip does.

        Parameters
        ----------
        images : image, or iterable of images
            See :func:`fastconcept.encoders.preprocess.load_image`. They are decoded batch by batch.

        Returns
        -------
        (n, d) float32, unit rows
        """
        with self.place:
            rows: FloatArray = self.kernels.to_host(self._embed_images(images))
        return rows

    def _embed_images(self, images: ImageLike | Iterable[ImageLike]) -> Any:
        """Rows of whole images, on the device."""
        several: Any = [images] if is_single_image(images) else images
        parts = [embeddings for embeddings, _ in self._encode_batches(several)]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.manifest.embedding_dim), np.float32)

    def _encode_batches(self, images: Iterable[ImageLike]) -> Iterator[tuple[Any, int]]:
        """Rows of whole images and how many, batch by batch, on the device."""
        batch: list[Any] = []
        for image in images:
            pixels = self.load_image(image)
            batch.append(self._preprocessed(pixels, self.kernels.upload(pixels)))
            if len(batch) == self.image_encoder.batch_size:
                yield self.image_encoder.encode(np.stack(batch)), len(batch)
                batch = []
        if batch:
            yield self.image_encoder.encode(np.stack(batch)), len(batch)

    def _preprocessed(self, pixels: npt.NDArray[np.uint8], uploaded: Any) -> Any:
        """A decoded whole image as the encoder takes it, on the device."""
        return preprocess_uploaded(pixels, uploaded, self.bundle.manifest.preprocess, self.kernels, self.num_threads)

    def encode_text(self, texts: str | Sequence[str]) -> FloatArray:
        """Embed texts as they are, without a template.

        Returns
        -------
        (n, d) float32, unit rows
        """
        with self.place:
            rows: FloatArray = self.kernels.to_host(self._embed_texts(texts))
        return rows

    def _embed_texts(self, texts: str | Sequence[str]) -> Any:
        """Rows of texts, on the device."""
        return self.text_encoder.encode([texts] if isinstance(texts, str) else list(texts))

    # Explain --------------------------------------------------------------------------------------------------------

    def explain(self, image: ImageLike, concepts: str | Sequence[str], **options: Any) -> Explanation:
        """Where in the image is each concept? (ConVis)

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 (H, W, 3)
        concepts : str or sequence of str
            Synset names (``"dog.n.01"``), wnids (``"n02084071"``), words of WordNet (the first noun sense is taken
            and the result's ``note`` says so), or free phrases (ranked against the bank).
        **options
            Fields of :class:`fastconcept.saliency.explain.Options`: fit, border, aggregate, scale_weights, score,
            sizes, stride, seed.

        Returns
        -------
        Explanation
            ``maps`` (k, H, W) float32 in [0, 1] at working resolution, and per concept box, scores and overlay.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ConceptError
            If no concept is given or a synset is unknown; ``suggestions`` has near names.
        InputError
            If an option is unknown or out of range.
        """
        chosen = Options.from_keywords(options)
        timings: dict[str, float] = {}
        with self.place:
            targets = resolve_targets(concepts, self.bank, self._embed_texts)
            began = time.perf_counter()
            pixels = self.load_image(image)
            timings["decode"] = (time.perf_counter() - began) * 1e3
            began = time.perf_counter()
            uploaded = self.kernels.upload(pixels)
            whole = self.image_encoder.encode(self._preprocessed(pixels, uploaded)[None])
            timings["encode"] = (time.perf_counter() - began) * 1e3
            return explain_image(
                pixels,
                targets,
                self.prepared_bank,
                whole,
                self.image_encoder,
                self.bundle.manifest.preprocess,
                chosen,
                self.kernels,
                self.num_threads,
                timings,
                uploaded=uploaded,
            )

    # Warm up --------------------------------------------------------------------------------------------------------

    def warmup(
        self,
        images: Sequence[tuple[int, int]] = ((480, 640),),
        *,
        concepts: str | Sequence[str] | None = None,
        batch: int = 1,
        l0: int | None = None,
        **options: Any,
    ) -> dict[str, float]:
        """Open everything and run each method once, so that the first request is as fast as those after it.

        Loads what the bundle has: encoders, bank and dictionary (on a GPU they also go there). Then explains one
        synthetic image of every size and decomposes a batch. What depends on sizes (memory, plans of the encoder's
        batches) is ready for those sizes; another size works too, a little slower the first time.

        Parameters
        ----------
        images : sequence of (int, int)
            Height and width of images to come, in pixels.
        concepts : str or sequence of str, optional
            What to look for; the bank's first concept and a phrase by default, so that the text encoder is opened.
        batch : int
            Images decomposed at once.
        l0 : int, optional
            Warm up ``decompose(l0=...)`` instead of the default penalty.
        **options
            As for :meth:`explain`.

        Returns
        -------
        dict of str to float
            Milliseconds of ``"load"``, and of ``"explain"`` and ``"decompose"`` where the bundle has what they need.

        Raises
        ------
        InputError
            If a size or the batch is not positive, or larger than this engine takes.
        DeviceError
            If a part of the device is missing.
        """
        return warm_up(self, images, concepts, batch, l0, options)

    # Decompose ------------------------------------------------------------------------------------------------------

    def decompose(
        self,
        images: ImageLike | Sequence[ImageLike] | None = None,
        *,
        embeddings: npt.ArrayLike | None = None,
        texts: str | Sequence[str] | None = None,
        l1_penalty: float | None = None,
        l0: int | None = None,
    ) -> Any:
        """Which few words add up to this embedding? (SpLiCE)

        Parameters
        ----------
        images : image or sequence of images, optional
        embeddings : (d,) or (n, d) array, optional
            Image embeddings; rows are normalised.
        texts : str or sequence of str, optional
            Texts are centred by the mean of the dictionary instead of the image mean.
        l1_penalty : float, optional
            Weight of the l1 norm, as in SpLiCE; typical 0.15 to 0.35. The default is 0.25 where ``l0`` is not given.
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
        given = [item is not None for item in (images, embeddings, texts)]
        if sum(given) != 1:
            raise InputError("give exactly one of images, embeddings and texts")
        mean = self.dictionary.mean if texts is not None else self.image_mean
        with self.place:
            if images is not None:
                single, rows = is_single_image(images), self._embed_images(images)
            elif texts is not None:
                single, rows = isinstance(texts, str), self._embed_texts(texts)
            else:
                array = np.asarray(embeddings, np.float32)
                single, rows = array.ndim == 1, np.atleast_2d(array)
            found = self._decompose(rows, mean, l1_penalty, l0)
        return found[0] if single else found

    def _decompose(self, rows: Any, mean: FloatArray, l1_penalty: float | None, l0: int | None) -> Decompositions:
        penalty = DEFAULT_L1_PENALTY if l1_penalty is None and l0 is None else l1_penalty
        return sparse.decompose(
            rows,
            self.dictionary,
            mean,
            self.kernels,
            l1_penalty=penalty,
            l0=l0,
            num_threads=self.num_threads,
        )

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

    def average(
        self,
        images: Iterable[ImageLike],
        labels: Sequence[Hashable] | None = None,
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
        labels : sequence, optional
            One per image; None puts all images under the label ``"all"``.
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
            If there are fewer labels than images.
        """
        penalty = DEFAULT_L1_PENALTY if l1_penalty is None and l0 is None else l1_penalty
        with self.place:
            return sparse.average(
                self._labelled_batches(images, labels),
                self.dictionary,
                self.image_mean,
                self.kernels,
                l1_penalty=penalty,
                l0=l0,
                num_threads=self.num_threads,
                progress=progress,
            )

    def _labelled_batches(
        self, images: Iterable[ImageLike], labels: Sequence[Hashable] | None
    ) -> Iterator[tuple[Any, Sequence[Hashable]]]:
        start = 0
        for embeddings, count in self._encode_batches(images):
            chosen = ["all"] * count if labels is None else labels[start : start + count]
            if len(chosen) < count:
                raise InputError(f"there are only {len(labels or ())} labels for more than {start} images")
            yield embeddings, chosen
            start += count


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    providers: Sequence[Any] | None = None,
    encoder: str = "onnx",
    bank: str | None = None,
    dictionary: str | None = None,
    num_threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Engine:
    """Open a bundle and return its engine.

    Parameters
    ----------
    bundle : str or path, optional
        A directory, the name of an installed bundle, or ``hf-hub:owner/name``; None means ``FASTCONCEPT_BUNDLE`` or
        the built-in bundle.
    device, providers, encoder, bank, dictionary, num_threads, max_pixels
        See :class:`Engine`.

    Raises
    ------
    BundleError
        If there is no such bundle or it is damaged.
    DeviceError
        If the device, a provider or a TensorRT engine for it is not available.
    """
    return Engine(
        Bundle(find_bundle(bundle)),
        device=device,
        providers=providers,
        encoder=encoder,
        bank=bank,
        dictionary=dictionary,
        num_threads=num_threads,
        max_pixels=max_pixels,
    )
