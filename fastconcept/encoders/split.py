"""An image tower in two parts: the trunk that makes feature maps, and the head that makes a row of their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class MapEncoder(Protocol):
    """From pictures to feature maps."""

    stride: int

    def encode(self, pixels: Any) -> Any:
        """(n, 3, H, W) float32 to (n, c, H / stride, W / stride) float32, on the device where the pixels are."""


class HeadEncoder(Protocol):
    """From means over feature maps to embeddings."""

    def encode(self, means: Any) -> Any:
        """(n, c) float32 to unit rows (n, d) float32, on the device where the means are."""


@dataclass(frozen=True)
class SplitEncoder:
    """Trunk and head of one image tower.

    Attributes
    ----------
    maps : MapEncoder
    head : HeadEncoder
    """

    maps: MapEncoder
    head: HeadEncoder
