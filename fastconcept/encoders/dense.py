"""An image tower that embeds every token of one pass, beside the picture as a whole."""

from __future__ import annotations

from typing import Any, Protocol


class DenseEncoder(Protocol):
    """From pictures of any size to embeddings of their tokens.

    Attributes
    ----------
    stride : int
        Pixels per token.
    batch_size : int
        Pictures of the tower's own size at once.
    """

    stride: int
    batch_size: int

    def encode(self, pixels: Any) -> Any:
        """(n, 3, H, W) float32, sides multiples of the stride, to unit rows (n, 1 + h w, d) float32.

        The first row is the whole picture's, the others are those of its tokens in reading order, on the device where
        the pixels are.
        """
