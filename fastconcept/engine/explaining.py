"""Where in a picture each concept is, and which concepts are there: ConVis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from ..doors import door, iterable
from ..encoders.decode import Pixels, is_single_image
from ..encoders.pipeline import decoded
from ..errors import InputError
from ..saliency.evidence import Evidence
from ..saliency.explain import embed
from ..saliency.layout import Layout
from ..saliency.patches import WORKING_SIZE
from ..saliency.reading import Reading, read
from ..saliency.survey import SeenConcepts, root_of, survey
from ..saliency.targets import resolve_targets
from ..timings import Timings
from .encoding import Encoding
from .opened import FloatArray

if TYPE_CHECKING:
    from ..encoders.decode import ImageLike
    from ..saliency.result import Explanation
    from ..saliency.targets import Target
    from ..stream.stream import Stream

SHOWN_CONCEPTS = 4  # that explain(image) maps when it is not told which


class Explaining(Encoding):
    """Evidence, its reading, and both at once: maps of a picture, or of a video."""

    @door
    def evidence(
        self,
        image: ImageLike,
        *,
        mode: str = "crops",
        fit: str = "full",
        border: str = "noise",
        sizes: int | Sequence[int] = (128, 64),
        stride: int | Sequence[int] | None = None,
        short_side: int = WORKING_SIZE,
        seed: int = 0,
        class_bias: float = 0.0,
    ) -> Evidence:
        """Embed the places of an image once; then :meth:`read` it for any concepts, in milliseconds.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 (H, W, 3)
        mode : {"crops", "windows", "occlusion", "dense", "auto"}
            How evidence is made: ``"crops"`` embeds every patch on its own, as ConVis does; ``"windows"``, tens of
            times faster and another method, makes one pass per patch size (towers that pool a feature map only);
            ``"occlusion"`` leaves the cells of the map of one pass out one by one (the same towers; read it with
            ``score="similarity"``); ``"dense"`` takes the tokens of one pass (transformers only), and ``"dense:gem"``
            those of a change of the tower's last blocks by name; ``"auto"`` takes the fastest of them that agrees with
            crops by the numbers in the bundle, and the evidence says which.
        fit : {"full", "crop"}
            The whole image at its own aspect ratio, or its central square (the reference).
        border : {"noise", "constant", "reflect", "clip", "inside"}
            Surroundings of the image; see :class:`fastconcept.saliency.layout.Layout`.
        sizes : int or sequence of int
            Sides of the square patches in pixels of the working image.
        stride : int or sequence of int, optional
            Pixels between neighbouring patches; one number, or one per size. By default 16, as in the reference, or 32
            for windows; at most the patch size.
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
        return self._evidence(partial(self.load_image, image), layout)

    def _evidence(self, load: Callable[[], Pixels], layout: Layout) -> Evidence:
        timings = Timings()
        with timings.stage("decode"):
            pixels = load()
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
        stride: int | Sequence[int] | None = ...,
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
        stride: int | Sequence[int] | None = ...,
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
        stride: int | Sequence[int] | None = None,
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
            If an image cannot be read; of several, the error names the file or the position.
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

        def explain_one(load: Callable[[], Pixels]) -> Explanation:
            evidence = self._evidence(load, layout)
            with self.place:
                wanted = targets
                if wanted is None:
                    seen = self._survey(evidence, SHOWN_CONCEPTS, None)
                    wanted = resolve_targets(seen.names, self.bank, _no_texts)
                    evidence = replace(evidence, timings_ms=seen.timings_ms)
                return read(evidence, wanted, self.prepared_bank, reading, self.kernels, self.num_threads)

        several: Any = image
        if is_single_image(image):
            return explain_one(partial(self.load_image, several))
        pictures = decoded(iterable("image", several), self.load_image, self.num_threads)
        return [explain_one(load) for _, load in pictures]

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
        stride: int | Sequence[int] | None = None,
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
        from ..stream.stream import Pace, Stream

        layout = Layout(mode, fit, border, sizes, stride, short_side, seed, class_bias)  # type: ignore[arg-type]
        reading = Reading(score, aggregate, scale_weights)
        pace = Pace(every, max_age_ms, tolerance, smoothing_ms, score_age_ms)
        with self.place:
            targets = self._targets(concepts)
        return Stream(frames, targets, self.parts, layout, reading, pace, l1_penalty)


def _no_texts(texts: Sequence[str]) -> FloatArray:
    raise AssertionError(f"concepts of the bank need no text encoder, but {texts} would")
