"""Everything an engine opens: encoders, concept bank, dictionary and image mean of one bundle, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels as backends
from .bundle import Bundle
from .concepts.bank import ConceptBank
from .encoders.onnx import device_providers
from .encoders.opening import check_encoder, open_image_encoder, open_text_encoder
from .encoders.preprocess import MAX_PIXELS
from .errors import BundleError
from .kernels.threads import check_num_threads
from .sparse.dictionary import Dictionary

FloatArray = npt.NDArray[np.float32]


class Resources:
    """Files of a bundle, read when first needed and kept; parameters as for :class:`fastconcept.engine.Engine`.

    Attributes
    ----------
    place : Device
        Of the kernels. Work with them inside ``with engine.place``: on a GPU, its device and
        the engine's stream.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "cpu",
        providers: Sequence[Any] | None = None,
        encoder: str = "onnx",
        bank: str | None = None,
        dictionary: str | None = None,
        num_threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.bundle = bundle
        self.device = device
        self.num_threads = check_num_threads(num_threads)
        self.max_pixels = max_pixels
        self.providers = list(providers) if providers is not None else device_providers(device)
        self.encoder = check_encoder(encoder, device)
        self.kernels = backends.backend(device.split(":")[0])
        self.place = self.kernels.open_device(device)
        self._bank_name, self._dictionary_name = bank, dictionary

    def __repr__(self) -> str:
        return f"Engine({str(self.bundle.path)!r}, model={self.bundle.manifest.model!r}, device={self.device!r})"

    @cached_property
    def image_encoder(self) -> Any:
        """The image tower."""
        return open_image_encoder(self.bundle, self.place, self.providers, self.encoder, self.num_threads)

    @cached_property
    def text_encoder(self) -> Any:
        """The text tower with its tokenizer."""
        return open_text_encoder(self.bundle, self.place, self.providers, self.num_threads)

    @cached_property
    def bank(self) -> ConceptBank:
        """The concepts that ranks count over."""
        bank = ConceptBank.load(self.bundle.bank(self._bank_name))
        self._check_dim(bank.embeddings)
        return bank

    @cached_property
    def prepared_bank(self) -> Any:
        """The bank as the kernels take it; on a GPU it stays there."""
        with self.place:
            return self.kernels.prepare_bank(self.bank.embeddings)

    @cached_property
    def dictionary(self) -> Dictionary:
        """The vocabulary as SpLiCE uses it: words and centred unit rows."""
        dictionary = Dictionary.load(self.bundle.dictionary(self._dictionary_name))
        self._check_dim(dictionary.embeddings)
        return dictionary

    @cached_property
    def image_mean(self) -> FloatArray:
        """Mean of unit image embeddings over a large set of images, (d,) float32."""
        name = self.bundle.manifest.image_mean
        if name is None:
            raise BundleError(f"{self.bundle.path} has no image mean; export with --mean-images or --image-mean")
        from safetensors.numpy import load_file

        mean = load_file(self.bundle.file(name)).get("mean")
        if mean is None or mean.shape != (self.bundle.manifest.embedding_dim,) or not np.isfinite(mean).all():
            raise BundleError(f"{self.bundle.path / name} does not hold a finite mean of the model's dimension")
        return np.ascontiguousarray(mean, np.float32)

    def _check_dim(self, embeddings: FloatArray) -> None:
        dim = self.bundle.manifest.embedding_dim
        if embeddings.shape[1] != dim:
            raise BundleError(f"{self.bundle.path}: embeddings are {embeddings.shape[1]} wide, the model's are {dim}")
