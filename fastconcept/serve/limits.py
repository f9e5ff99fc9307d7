"""What a server takes on at most: bytes, images, patches, time."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..doors import shown
from ..errors import InputError

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server. What would go beyond one is refused before it costs anything.

    Attributes
    ----------
    max_body : int
        MiB of one request's body; a larger one is answered with 413.
    max_bodies : int
        MiB of all bodies that are being worked on; beyond it requests are answered with 429.
    max_images : int
        Images, and texts, of one request.
    max_concepts : int
        Concepts of one request.
    max_patches : int
        Patches of one image.
    max_waiting : int
        Jobs in each queue; beyond it requests are answered with 429.
    max_batch : int
        Images of several requests that are encoded together.
    batch_window : float
        Milliseconds that the first image of a batch waits for others.
    request_timeout : float
        Seconds until a request is given up with 504; its header ``X-Request-Timeout`` can ask for less.
    drain_timeout : float
        Seconds that requests have to finish after SIGTERM.
    max_store : int
        MiB of photographs, evidence and results that are remembered.

    Raises
    ------
    InputError
        If one is not positive (``batch_window`` and ``max_store`` may be 0).
    """

    max_body: int = 32
    max_bodies: int = 256
    max_images: int = 16
    max_concepts: int = 64
    max_patches: int = 4000
    max_waiting: int = 256
    max_batch: int = 32
    batch_window: float = 2.0
    request_timeout: float = 120.0
    drain_timeout: float = 30.0
    max_store: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("batch_window", "max_store") else 1e-3
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e9:
                raise InputError(f"{field.name} must be {'positive' if least else 'at least 0'}, got {shown(value)}")
