"""Engine: the one door for users. It opens a bundle and offers concepts, explain, decompose and the encoders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from .bundle import Bundle, Preprocess, find_bundle
from .concepts.bank import ConceptBank
from .doors import door, iterable, plain
from .encoders.decode import MAX_PIXELS, is_single_image, load_image
from .encoders.pipeline import Reader, prepared_batches
from .errors import ImageError, InputError
from .kernels import arguments
from .kernels.foreign import embedding_rows
from .parts import Parts
from .saliency.evidence import Evidence
from .saliency.explain import embed
from .saliency.layout import Layout
from .saliency.patches import WORKING_SIZE
from .saliency.reading import Reading, read
from .saliency.survey import SeenConcepts, root_of, survey
from .saliency.targets import resolve_targets
from .sparse import decompose as sparse
from .timings import Timings
from .warmup import PHRASE, checked_batch, checked_sizes, noise_picture

if TYPE_CHECKING:
    from .encoders.decode import ImageLike
    from .encoders.dense import DenseEncoder
    from .encoders.split import SplitEncoder
    from .kernels.contract import Device, Kernels, PreparedBank
    from .saliency.result import Explanation
    from .saliency.targets import Target
    from .sparse.dictionary import Dictionary
    from .sparse.result import AverageWeights, Decomposition, Decompositions
    from .stream.stream import Stream

FloatArray = npt.NDArray[np.float32]

DEFAULT_L1_PENALTY = 0.25  # of SpLiCE's own examples
_COPIED = 32  # images that are preprocessed at a time where their number is not known
SHOWN_CONCEPTS = 4  # that explain(image) maps when it is not told which


class Engine:
    """A CLIP model ready to explain.

    :func:`fastconcept.load` makes one from a bundle, :meth:`from_parts` from a model in memory. Files are read when
    first needed: decomposing never opens the concept bank, explaining synsets never opens the text encoder. Threads may
    share an engine.

    Parameters
    ----------
    parts : Parts
        Encoders, concept bank, dictionary and image mean, on one device.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        if not self.parts.from_bundle:
            return f"Engine(parts in memory, device={self.device!r})"
        return f"Engine({str(self.bundle.path)!r}, model={self.bundle.manifest.model!r}, device={self.device!r})"

    def __reduce__(self) -> tuple[type[Engine], tuple[Parts]]:
        """Copies and other processes open the bundle again."""
        return type(self), (self.parts,)

    @classmethod
    def from_parts(
        cls,
        *,
        embedding_dim: int,
        preprocess: Preprocess | None = None,
        image_encoder: Any = None,
        split_encoder: SplitEncoder | None = None,
        dense_encoder: DenseEncoder | None = None,
        text_encoder: Any = None,
        bank: ConceptBank | None = None,
        dictionary: Dictionary | None = None,
        image_mean: npt.ArrayLike | None = None,
        device: str = "cpu",
        num_threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        decode: str = "exact",
    ) -> Engine:
        """An engine of a model that lives in memory, such as a torch module; no bundle is needed.

        Parameters
        ----------
        embedding_dim : int
            Width d of the embeddings.
        preprocess : Preprocess, optional
            Input size and normalisation of the image encoder; needed with one.
        image_encoder : torch module or callable, optional
            From preprocessed pixels (n, 3, h, w) float32 to embeddings (n, d). A torch module gets a tensor.
        split_encoder : SplitEncoder, optional
            The image encoder in two parts, for ``mode="windows"``.
        dense_encoder : DenseEncoder, optional
            The image encoder with a row for every token, for ``mode="dense"``.
        text_encoder : callable, optional
            From a list of n texts to embeddings (n, d).
        bank : ConceptBank, optional
            Concepts that ranks count over; needed to explain.
        dictionary : Dictionary, optional
            Words; needed to decompose.
        image_mean : (d,) array, optional
            Mean of unit image embeddings; needed to decompose images.
        device, num_threads, max_pixels, decode
            As for :func:`fastconcept.load`.

        Raises
        ------
        InputError
            If a part has another type or width. A part that is missing is an error when it is first needed.

        Examples
        --------
        >>> import numpy as np
        >>> from fastconcept.bundle import Preprocess
        >>> from fastconcept.concepts.bank import ConceptBank
        >>> engine = Engine.from_parts(
        ...     embedding_dim=3,
        ...     preprocess=Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ...     image_encoder=lambda pixels: pixels.mean(axis=(2, 3)),
        ...     bank=ConceptBank(np.eye(3), phrases=["red", "green", "blue"]),
        ... )
        >>> picture = np.full((32, 32, 3), 9, np.uint8)
        >>> picture[:, :16, 0] = 250
        >>> seen = engine.explain(picture, "red", sizes=64, stride=32, border="inside", score="similarity")
        >>> seen["red"].cells[0].round(1).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
        """
        return cls(
            Parts.in_memory(
                embedding_dim=embedding_dim,
                preprocess=preprocess,
                image_encoder=image_encoder,
                split_encoder=split_encoder,
                dense_encoder=dense_encoder,
                text_encoder=text_encoder,
                bank=bank,
                dictionary=dictionary,
                image_mean=image_mean,
                device=device,
                num_threads=num_threads,
                max_pixels=max_pixels,
                decode=decode,
            )
        )

    # Parts ----------------------------------------------------------------------------------------------------------

    @property
    def bundle(self) -> Bundle:
        """The bundle that was opened; an :class:`InputError` for an engine made from parts in memory."""
        return self.parts.bundle

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:N"``."""
        return self.parts.device

    @property
    def encoder(self) -> str:
        """What runs the image tower: ``"onnx"``, ``"tensorrt"``, the path of a plan, or ``"in memory"``."""
        return self.parts.encoder

    @property
    def place(self) -> Device:
        """The device as the kernels know it; work with them inside ``with engine.place``."""
        return self.parts.place

    @property
    def kernels(self) -> Kernels:
        """The kernel backend of the device."""
        return self.parts.kernels

    @property
    def num_threads(self) -> int:
        """CPU threads of kernels and encoders."""
        return self.parts.num_threads

    @property
    def bank(self) -> ConceptBank:
        """The concepts that ranks count over."""
        return self.parts.bank

    @property
    def prepared_bank(self) -> PreparedBank:
        """The bank as the kernels take it; on a GPU it stays there."""
        return self.parts.prepared_bank

    @property
    def dictionary(self) -> Dictionary:
        """The words of decompositions."""
        return self.parts.dictionary

    @property
    def image_mean(self) -> FloatArray:
        """Mean of unit image embeddings over a large set of images, (d,) float32."""
        return self.parts.image_mean

    @property
    def image_encoder(self) -> Any:
        """The image tower."""
        return self.parts.image_encoder

    @property
    def text_encoder(self) -> Any:
        """The text tower with its tokenizer."""
        return self.parts.text_encoder

    # Encoders -------------------------------------------------------------------------------------------------------

    def load_image(self, image: ImageLike) -> npt.NDArray[np.uint8]:
        """Decode an image to (H, W, 3) uint8 RGB under this engine's pixel limit."""
        return load_image(image, self.parts.max_pixels)

    @door
    def preprocess(self, images: ImageLike | Iterable[ImageLike], *, out: FloatArray | None = None) -> FloatArray:
        """Images as the encoder takes them, for people who have an encoder of their own.

        Threads decode and preprocess; the pixels are those of open_clip's evaluation transform with Pillow 13.

        Parameters
        ----------
        images : image, or iterable of n images
            See :func:`fastconcept.encoders.decode.load_image`.
        out : (n, 3, h, w) float32, optional
            Array to write to, so that a caller can use one buffer again and again; for a list of images.

        Returns
        -------
        (n, 3, h, w) float32, in host memory
            ``(pixel / 255 - mean) / std``, as the bundle says; n is 1 for a single image.

        Raises
        ------
        ImageError
            If an image cannot be read; the error names its file or its position.
        InputError
            If ``out`` has another type or shape.

        Examples
        --------
        >>> import fastconcept as fc
        >>> picture = np.zeros((48, 64, 3), np.uint8)
        >>> fc.load().preprocess([picture, picture]).shape
        (2, 3, 224, 224)
        """
        several: Any = [images] if is_single_image(images) else iterable("images", images)
        count = len(several) if hasattr(several, "__len__") else None
        if out is not None:
            if count is None:
                raise InputError("out needs a list of images, whose number is known")
            out = arguments.output("out", out, (count, 3, *self.parts.preprocess.size))
        batches = [
            pixels if count is not None else pixels.copy()
            for pixels, _ in prepared_batches(several, self._reader(), max(count or _COPIED, 1), buffer=out)
        ]
        empty = np.empty((0, 3, *self.parts.preprocess.size), np.float32)
        return batches[0] if len(batches) == 1 else np.concatenate([empty, *batches])

    def encode_image(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Embed whole images, preprocessed as open_clip does.

        Parameters
        ----------
        images : image, or iterable of images
            See :func:`fastconcept.encoders.decode.load_image`. They are decoded batch by batch.

        Returns
        -------
        (n, d) float32, unit rows
        """
        with self.place:
            rows: FloatArray = self.kernels.to_host(self._embed_images(images))
        return rows

    @door
    def encode_batches(
        self,
        images: Iterable[ImageLike],
        *,
        on_error: Callable[[int, ImageError], object] | None = None,
    ) -> Iterator[tuple[FloatArray, list[int]]]:
        """Embed whole images batch by batch, so that memory does not grow with their number.

        This is the one place where images are batched. Threads read, decode and preprocess further images while the
        encoder works on a batch; ``num_threads`` of :func:`fastconcept.load` says how many.

        Parameters
        ----------
        images : iterable of images
        on_error : callable, optional
            Called with the position of an image that cannot be read and the reason; the image is left out. By default
            the error is raised, and names the file or the position of the image.

        Yields
        ------
        rows, positions
            (m, d) float32 unit rows, and which of the images they belong to.
        """
        for rows, positions in self._batches(images, on_error):
            with self.place:
                host: FloatArray = self.kernels.to_host(rows)
            yield host, positions

    def _batches(
        self, images: Iterable[ImageLike], on_error: Callable[[int, ImageError], object] | None = None
    ) -> Iterator[tuple[Any, list[int]]]:
        """As :meth:`encode_batches`, with rows on the device."""
        encoder = self.image_encoder
        for pixels, positions in prepared_batches(
            iterable("images", images), self._reader(), encoder.batch_size, on_error
        ):
            with self.place:
                rows = encoder.encode(self.kernels.upload(pixels))
            yield rows, positions

    def _reader(self) -> Reader:
        load = self.load_image
        if self.parts.decode == "fast":
            load = partial(load_image, max_pixels=self.parts.max_pixels, short_side=2 * max(self.parts.preprocess.size))
        return Reader(load, self.parts.preprocess, self.num_threads)

    def _embed_images(self, images: ImageLike | Iterable[ImageLike]) -> Any:
        """Rows of whole images, on the device."""
        several: Any = [images] if is_single_image(images) else images
        parts = [rows for rows, _ in self._batches(several)]
        return np.concatenate(parts) if parts else np.empty((0, self.parts.embedding_dim), np.float32)

    @door
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

    def _text_notes(self, texts: Sequence[str]) -> list[str]:
        """For each text, how it was understood; empty where nothing had to be decided."""
        tokenizer = getattr(self.text_encoder, "tokenizer", None)
        if tokenizer is None:
            return [""] * len(texts)
        note = f"only its first {tokenizer.context_length} tokens are read"
        return [note if cut else "" for cut in tokenizer.cut_off(texts)]

    # Explain --------------------------------------------------------------------------------------------------------

    @door
    def evidence(
        self,
        image: ImageLike,
        *,
        mode: str = "crops",
        fit: str = "full",
        border: str = "noise",
        sizes: int | Sequence[int] = (128, 64),
        stride: int | Sequence[int] = 16,
        short_side: int = WORKING_SIZE,
        seed: int = 0,
        class_bias: float = 0.0,
    ) -> Evidence:
        """Embed the places of an image once; then :meth:`read` it for any concepts, in milliseconds.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 (H, W, 3)
        mode : {"crops", "windows", "dense", "auto"}
            How evidence is made: ``"crops"`` embeds every patch on its own, as ConVis does; ``"windows"``, tens of
            times faster and another method, makes one pass per patch size (towers that pool a feature map only);
            ``"dense"`` takes the tokens of one pass (transformers only), and ``"dense:gem"`` those of a change of the
            tower's last blocks by name; ``"auto"`` takes the fastest of them that agrees with crops by the numbers in
            the bundle, and the evidence says which.
        fit : {"full", "crop"}
            The whole image at its own aspect ratio, or its central square (the reference).
        border : {"noise", "constant", "reflect", "clip", "inside"}
            Surroundings of the image; see :class:`fastconcept.saliency.layout.Layout`.
        sizes : int or sequence of int
            Sides of the square patches in pixels of the working image.
        stride : int or sequence of int
            Pixels between neighbouring patches; one number, or one per size.
        short_side : int
            Short side of the working image in pixels; 0 keeps the image's own size.
        seed : int
            Seed of the noise.
        class_bias : float in [0, 1]
            Dense only: how much of the row of the whole image is subtracted from the row of each token.

        Raises
        ------
        ImageError
            If the image cannot be read.
        InputError
            If an option is out of range, or the model does not have the mode.
        """
        layout = Layout(mode, fit, border, sizes, stride, short_side, seed, class_bias)  # type: ignore[arg-type]
        return self._evidence(image, layout)

    def _evidence(self, image: ImageLike, layout: Layout) -> Evidence:
        timings = Timings()
        with timings.stage("decode"):
            pixels = self.load_image(image)
        with self.place:
            return embed(pixels, self.parts.image_tower(layout.mode), layout, timings)

    @door
    def read(
        self,
        evidence: Evidence,
        concepts: str | Sequence[str],
        *,
        score: str = "log-rank",
        aggregate: str = "best-then-mean",
        scale_weights: str = "area",
    ) -> Explanation:
        """Saliency maps of concepts from evidence made before; parameters and result as for :meth:`explain`.

        On the CPU the first call keeps products of patches and concepts with the evidence (32 MB for the built-in
        bank; nothing where it would be more than 400 MB), so that further calls cost a few milliseconds.
        """
        if not isinstance(evidence, Evidence):
            raise InputError(f"evidence is what Engine.evidence returns, got {type(evidence).__name__}")
        reading = Reading(score, aggregate, scale_weights)
        with self.place:
            targets = self._targets(concepts)
            return read(evidence, targets, self.prepared_bank, reading, self.kernels, self.num_threads, keep=True)

    def _targets(self, concepts: str | Sequence[str]) -> list[Target]:
        return resolve_targets(concepts, self.bank, self._embed_texts, self._text_notes)

    @overload
    def explain(  # type: ignore[overload-overlap]  # a path is a str, and a str is an iterable of str
        self,
        image: ImageLike,
        concepts: str | Sequence[str] | None = None,
        *,
        mode: str = ...,
        fit: str = ...,
        border: str = ...,
        sizes: int | Sequence[int] = ...,
        stride: int | Sequence[int] = ...,
        short_side: int = ...,
        seed: int = ...,
        class_bias: float = ...,
        score: str = ...,
        aggregate: str = ...,
        scale_weights: str = ...,
    ) -> Explanation: ...
    @overload
    def explain(
        self,
        image: Iterable[ImageLike],
        concepts: str | Sequence[str] | None = None,
        *,
        mode: str = ...,
        fit: str = ...,
        border: str = ...,
        sizes: int | Sequence[int] = ...,
        stride: int | Sequence[int] = ...,
        short_side: int = ...,
        seed: int = ...,
        class_bias: float = ...,
        score: str = ...,
        aggregate: str = ...,
        scale_weights: str = ...,
    ) -> list[Explanation]: ...
    @door
    def explain(
        self,
        image: ImageLike | Iterable[ImageLike],
        concepts: str | Sequence[str] | None = None,
        *,
        mode: str = "crops",
        fit: str = "full",
        border: str = "noise",
        sizes: int | Sequence[int] = (128, 64),
        stride: int | Sequence[int] = 16,
        short_side: int = WORKING_SIZE,
        seed: int = 0,
        class_bias: float = 0.0,
        score: str = "log-rank",
        aggregate: str = "best-then-mean",
        scale_weights: str = "area",
    ) -> Explanation | list[Explanation]:
        """Where in the image is each concept? (ConVis)

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 (H, W, 3), or an iterable of them
        concepts : str or sequence of str, optional
            Synset names (``"dog.n.01"``), wnids (``"n02084071"``), words of WordNet (the first noun sense is taken
            and the result's ``note`` says so), or free phrases (ranked against the bank). By default the best four of
            :meth:`concepts`.
        mode, fit, border, sizes, stride, short_side, seed, class_bias
            Which places of the image are embedded, see :meth:`evidence`.
        score : {"log-rank", "rank", "similarity"}
            What is averaged over patches: ``log(1 + rank)``, the rank itself (the reference), or the negated cosine.
        aggregate : {"best-then-mean", "mean-then-best"}
            Best of the subtree at each patch, then the mean over patches (the reference's map code); or the mean of
            each member, then the best member (the paper's web interface).
        scale_weights : {"area", "equal"}
            Patch sizes count by area (the reference's code), or equally (the paper's text).

        Returns
        -------
        Explanation, or a list of them for several images
            ``maps`` (k, H, W) float32 in [0, 1] at working resolution, and per concept box, scores and overlay.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ConceptError
            If the list of concepts is empty or a synset is unknown; ``suggestions`` has near names.
        InputError
            If an option is out of range.

        Notes
        -----
        Memory beyond the model, the bank and the maps stays below 1 GB and 16 bytes per pixel of the decoded image
        (which has at most ``max_pixels``), whatever the image and the options; what would need more is an error.
        """
        layout = Layout(mode, fit, border, sizes, stride, short_side, seed, class_bias)  # type: ignore[arg-type]
        reading = Reading(score, aggregate, scale_weights)
        with self.place:
            targets = None if concepts is None else self._targets(concepts)

        def explain_one(one: ImageLike) -> Explanation:
            evidence = self._evidence(one, layout)
            with self.place:
                wanted = targets
                if wanted is None:
                    seen = self._survey(evidence, SHOWN_CONCEPTS, None)
                    wanted = resolve_targets(seen.names, self.bank, _no_texts)
                    evidence = replace(evidence, timings_ms=seen.timings_ms)
                return read(evidence, wanted, self.prepared_bank, reading, self.kernels, self.num_threads)

        several: Any = image
        if is_single_image(image):
            return explain_one(several)
        return [explain_one(one) for one in iterable("image", several)]

    @door
    def concepts(
        self,
        image: ImageLike | Evidence,
        top: int = 10,
        below: str | None = None,
        *,
        place: tuple[float, float] | None = None,
        mode: str = "crops",
        fit: str = "full",
        border: str = "noise",
        sizes: int | Sequence[int] = (128, 64),
        stride: int | Sequence[int] = 16,
        short_side: int = WORKING_SIZE,
        seed: int = 0,
        class_bias: float = 0.0,
    ) -> SeenConcepts:
        """What does the model see? The concepts of the bank that fit the image and its parts best; no question asked.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image, uint8 (H, W, 3), or Evidence
        top : int
            Number of concepts; none of them lies above or below another.
        below : str, optional
            Synset, wnid or word; only its sub-concepts are considered (``"animal.n.01"``).
        place : (x, y), optional
            A point of the image in pixels: only the patches that cover it count, and not the whole image.
        mode, fit, border, sizes, stride, short_side, seed, class_bias
            Which places of the image are embedded, see :meth:`evidence`.

        Returns
        -------
        SeenConcepts
            Best first, each with name, definition, score, rank and similarity; see
            :func:`fastconcept.saliency.survey.survey` for the score.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ConceptError
            If ``below`` is unknown or not in the bank.
        InputError
            If an option is out of range.
        """
        if not 1 <= top <= 1000:
            raise InputError(f"top must be from 1 to 1000 concepts, got {top!r}")
        if below is not None:
            root_of(self.bank, below)  # an unknown name costs nothing but the error
        if not isinstance(image, Evidence):
            image = self.evidence(
                image,
                mode=mode,
                fit=fit,
                border=border,
                sizes=sizes,
                stride=stride,
                short_side=short_side,
                seed=seed,
                class_bias=class_bias,
            )
        return self._survey(image, top, below, place)

    def _survey(
        self, evidence: Evidence, top: int, below: str | None, place: tuple[float, float] | None = None
    ) -> SeenConcepts:
        with self.place:
            return survey(evidence, self.bank, self.prepared_bank, self.kernels, top, below, self.num_threads, place)

    # Stream ---------------------------------------------------------------------------------------------------------

    @door
    def stream(
        self,
        frames: Any,
        concepts: str | Sequence[str],
        *,
        every: int | None = None,
        max_age_ms: float = 1000.0,
        tolerance: float = 2.0,
        smoothing_ms: float = 0.0,
        score_age_ms: float = 250.0,
        l1_penalty: float | None = None,
        mode: str = "windows",
        fit: str = "full",
        border: str = "clip",
        sizes: int | Sequence[int] = 128,
        stride: int | Sequence[int] = 32,
        short_side: int = WORKING_SIZE,
        seed: int = 0,
        class_bias: float = 0.0,
        score: str = "log-rank",
        aggregate: str = "best-then-mean",
        scale_weights: str = "area",
    ) -> Stream:
        """Where is each concept in a video, while it plays?

        Frames are read in a thread of their own. Evidence is kept while the picture does not change (with crops, that
        of the patches that did not change), and decompositions start from those of the previous frame.

        Parameters
        ----------
        frames : str, path, or iterable
            A video file, a camera (``"/dev/video0"``) or a URL such as ``"rtsp://..."``, for which PyAV is needed
            (``pip install "fastconcept[video]"``); or an iterable of images or of pairs (seconds, image).
        concepts : str or sequence of str
            As for :meth:`explain`.
        every : int, optional
            0: always the latest frame; those that come while another is worked on are dropped, and a file is read at
            the speed at which it is played. n: every n-th frame, none dropped, as fast as it goes. By default 0, and 1
            for an iterable.
        max_age_ms : float
            Bound on the age of the evidence in a map. Evidence that would be older is made again, and a frame that
            would be shown with an older map is not shown.
        tolerance : float
            How far the pixels of a square may differ, in the mean and in levels of 0 to 255, and count as unchanged.
        smoothing_ms : float
            Time constant of an exponential mean over maps, for calm pictures; 0 for none.
        score_age_ms : float
            How old the embedding of the whole picture may be, which scores, ranks and words are about; 0 for that of
            every frame. It counts for ``max_age_ms``, too.
        l1_penalty : float, optional
            Decompose every frame, too, with this penalty; see :meth:`decompose`.
        mode, fit, border, sizes, stride, short_side, seed, class_bias
            Which places of a frame are embedded, see :meth:`evidence`. The defaults are the fastest choice of these.
        score, aggregate, scale_weights
            As for :meth:`explain`.

        Returns
        -------
        Stream
            An iterator over :class:`fastconcept.StreamedFrame`. Its ``statistics`` have frame rate and latencies.

        Raises
        ------
        ImageError
            If the video cannot be opened; while it runs, if it breaks off.
        ConceptError
            If a concept is unknown.
        InputError
            If an option is out of range, or no frame can be explained within ``max_age_ms``.
        MissingDependencyError
            If PyAV is not installed.

        Examples
        --------
        >>> for frame in engine.stream("street.mp4", ["car.n.01"]):  # doctest: +SKIP
        ...     print(frame.time, frame.explanation["car.n.01"].box())
        """
        from .stream.stream import Pace, Stream

        layout = Layout(mode, fit, border, sizes, stride, short_side, seed, class_bias)  # type: ignore[arg-type]
        reading = Reading(score, aggregate, scale_weights)
        pace = Pace(every, max_age_ms, tolerance, smoothing_ms, score_age_ms)
        with self.place:
            targets = self._targets(concepts)
        return Stream(frames, targets, self.parts, layout, reading, pace, l1_penalty)

    # Warm up --------------------------------------------------------------------------------------------------------

    @door
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
        sizes, batch = checked_sizes(images, self.parts.max_pixels), checked_batch(batch)
        explains = self.parts.has("bank")
        decomposes = self.parts.has("dictionary") and self.parts.has("image_mean")
        timings = Timings()
        with timings.stage("load"):
            wanted = {
                "prepared_bank": explains,
                "dictionary": decomposes,
                "image_mean": decomposes,
                "image_encoder": self.parts.has("image_encoder"),
                "text_encoder": self.parts.has("text_encoder"),
            }
            for name in (name for name, needed in wanted.items() if needed):
                getattr(self.parts, name)
        if explains and sizes:
            phrase = [PHRASE] if self.parts.has("text_encoder") else []
            with timings.stage("explain"):
                for size in sizes:
                    self.explain(noise_picture(*size), concepts or [self.bank.names[0], *phrase], **options)
        if decomposes:
            with timings.stage("decompose"):
                _ = self.decompose([noise_picture(*(sizes or [(64, 64)])[0])] * batch, l0=l0).cosine
        return {stage: round(spent, 3) for stage, spent in timings.items()}

    # Decompose ------------------------------------------------------------------------------------------------------

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
        if sum(item is not None for item in (images, embeddings, texts)) != 1:
            raise InputError("give exactly one of images, embeddings and texts")
        mean = self.dictionary.mean if texts is not None else self.image_mean
        notes: list[str] = []
        timings = Timings()
        with self.place:
            with timings.stage("encode"):
                if images is not None:
                    single, rows = is_single_image(images), self._embed_images(images)
                elif texts is not None:
                    single, rows = isinstance(texts, str), self._embed_texts(texts)
                    notes = self._text_notes([texts] if isinstance(texts, str) else texts)
                else:
                    array = embedding_rows("embeddings", embeddings)
                    single, rows = array.ndim == 1, np.atleast_2d(array)
            with timings.stage("solve"):
                batch = self._decompose(rows, mean, l1_penalty, l0)
        batch = batch.noted(notes, timings)
        return batch[0] if single else batch

    def _decompose(self, rows: Any, mean: FloatArray, l1_penalty: float | None, l0: int | None) -> Decompositions:
        return sparse.decompose(
            rows,
            self.dictionary,
            mean,
            self.kernels,
            l1_penalty=_penalty(l1_penalty, l0),
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
        began = time.perf_counter()
        with self.place:
            averages = sparse.average(
                self._labelled_batches(images, labels, timings),
                self.dictionary,
                self.image_mean,
                self.kernels,
                l1_penalty=_penalty(l1_penalty, l0),
                l0=l0,
                num_threads=self.num_threads,
                progress=progress,
            )
        timings["solve"] = (time.perf_counter() - began) * 1e3 - timings.get("encode", 0.0)
        return {label: replace(mean, timings_ms=timings) for label, mean in averages.items()}

    def _labelled_batches(
        self, images: Iterable[ImageLike], labels: Iterable[Hashable] | None, timings: Timings
    ) -> Iterator[tuple[Any, Sequence[Hashable]]]:
        left = None if labels is None else iter(labels)
        batches, done = self._batches([images] if is_single_image(images) else images), 0  # type: ignore[list-item]
        while True:
            with timings.stage("encode"):
                rows, positions = next(batches, (None, []))
            if rows is None:
                break
            chosen = ["all"] * len(positions) if left is None else [*islice(left, len(positions))]
            if len(chosen) < len(positions):
                raise InputError(f"there are only {done + len(chosen)} labels for more than {done} images")
            done += len(chosen)
            yield rows, [_label(label) for label in chosen]
        if left is not None and next(left, _NO_LABEL) is not _NO_LABEL:
            raise InputError(f"there are more labels than images ({done})")


_NO_LABEL = object()


def _label(value: Any) -> Hashable:
    label = plain(value)
    try:
        hash(label)
    except TypeError:
        raise InputError(f"labels must be hashable, such as numbers or strings; got {type(value).__name__}") from None
    return label  # type: ignore[no-any-return]


def _penalty(l1_penalty: float | None, l0: int | None) -> float | None:
    return DEFAULT_L1_PENALTY if l1_penalty is None and l0 is None else l1_penalty


def _no_texts(texts: Sequence[str]) -> FloatArray:
    raise AssertionError(f"concepts of the bank need no text encoder, but {texts} would")


@door
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
    decode: str = "exact",
) -> Engine:
    """Open a bundle and return its engine.

    Parameters
    ----------
    bundle : str or path, optional
        A directory, the name of an installed bundle, or ``hf-hub:owner/name``; None means ``FASTCONCEPT_BUNDLE`` or
        the built-in bundle.
    device : str
        ``"cpu"`` or ``"cuda:N"``. The device asked for is the device used, or a :class:`DeviceError` says what is
        missing. On a GPU the engine has a stream of its own; bank, dictionary and encoders stay there while it lives.
    providers : sequence, optional
        ONNX Runtime execution providers, passed through unchanged; None chooses by device.
    encoder : str
        What runs the image tower: ``"onnx"``, ``"tensorrt"`` (the plan that was built for this model and this GPU),
        or the path of a plan. Texts always go through ONNX Runtime.
    bank, dictionary : str, optional
        Which concept bank and dictionary of the bundle to use; None means the first.
    num_threads : int, optional
        CPU threads of the encoders and kernels; None means all the control group grants.
    max_pixels : int
        Largest image that is decoded, in pixels.
    decode : {"exact", "fast"}
        How whole images are decoded for the encoder. ``"fast"`` decodes JPEGs far larger than its input at a half, a
        quarter or an eighth of their size: several times as fast for photographs of 12 megapixels, and embeddings that
        differ a little (docs/throughput.md). Maps of :meth:`Engine.explain` are always made exactly.

    Raises
    ------
    BundleError
        If there is no such bundle or it is damaged.
    DeviceError
        If the device, a provider or a TensorRT plan for it is not available.
    """
    return Engine(
        Parts.of_bundle(
            Bundle(find_bundle(bundle)),
            device=device,
            providers=providers,
            encoder=encoder,
            bank=bank,
            dictionary=dictionary,
            num_threads=num_threads,
            max_pixels=max_pixels,
            decode=decode,
        )
    )
