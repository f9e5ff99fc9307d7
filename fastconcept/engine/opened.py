"""What every method of an engine starts from: its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..bundle import Bundle
from ..concepts.bank import ConceptBank
from ..parts import Parts

if TYPE_CHECKING:
    from ..kernels.contract import Device, Kernels, PreparedBank
    from ..sparse.dictionary import Dictionary

FloatArray = npt.NDArray[np.float32]


class Opened:
    """An engine's parts under their own names.

    Parameters
    ----------
    parts : Parts
        Encoders, concept bank, dictionary and image mean, on one device.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

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
    def l1_penalty(self) -> float:
        """Penalty of decompositions that are not asked for another."""
        return self.parts.l1_penalty

    @property
    def image_encoder(self) -> Any:
        """The image tower."""
        return self.parts.image_encoder

    @property
    def text_encoder(self) -> Any:
        """The text tower with its tokenizer."""
        return self.parts.text_encoder
