"""Engine: the one door for users. It opens a bundle and offers concepts, explain, decompose and the encoders.

Its methods lie where their idea lies: :mod:`.explaining`, :mod:`.decomposing`, :mod:`.encoding`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ..bundle import Bundle, Preprocess, find_bundle
from ..concepts.bank import ConceptBank
from ..doors import door
from ..encoders.decode import MAX_PIXELS
from ..parts import Parts
from ..timings import Timings
from ..warmup import PHRASE, checked_batch, checked_sizes, noise_picture
from .decomposing import Decomposing
from .explaining import SHOWN_CONCEPTS, Explaining

if TYPE_CHECKING:
    from ..encoders.dense import DenseEncoder
    from ..encoders.split import SplitEncoder
    from ..sparse.dictionary import Dictionary

__all__ = ["SHOWN_CONCEPTS", "Engine", "load"]


class Engine(Explaining, Decomposing):
    """A CLIP model ready to explain.

    :func:`fastconcept.load` makes one from a bundle, :meth:`from_parts` from a model in memory. Files are read when
    first needed: decomposing never opens the concept bank, explaining synsets never opens the text encoder. Threads may
    share an engine.

    Parameters
    ----------
    parts : Parts
        Encoders, concept bank, dictionary and image mean, on one device.
    """

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
            From preprocessed pixels (n, 3, h, w) float32 to embeddings (n, d). A torch module gets a tensor;
            :class:`~fastconcept.encoders.torch_module.TorchImageEncoder` runs one in half precision or faster.
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
