"""Which places of an image are embedded, and what surrounds the image while they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import InputError
from .patches import WORKING_SIZE

OCCLUSION = "occlusion"
MODES = ("crops", "windows", OCCLUSION, "dense")
POOLED = ("windows", OCCLUSION)  # modes of towers that pool a feature map
AUTO = "auto"  # the fastest mode that agrees with crops, by the numbers in the bundle
FITS = ("full", "crop")
BORDERS = ("noise", "constant", "reflect", "clip", "inside")
STRIDE, WINDOWS_STRIDE = 16, 32  # that of ConVis; and that of a trunk, between whose cells windows add nothing


@dataclass(frozen=True)
class Layout:
    """Everything that decides the evidence of an image; how it is read is a :class:`~.reading.Reading`.

    Attributes
    ----------
    mode : {"crops", "windows", "occlusion", "dense", "auto"}
        How evidence is made. ``"crops"`` embeds every patch on its own, as ConVis does; ``"windows"`` makes one pass
        per patch size over the whole image and takes patches as means over its feature map; ``"occlusion"`` makes one
        pass and leaves the cells of its map out one by one; ``"dense"`` makes one pass and takes the tokens of a
        transformer, ``"dense:gem"`` those of a change of its last blocks by name; ``"auto"`` is the fastest of them
        that agrees with crops, by numbers measured when the model was exported.
    fit : {"full", "crop"}
        The whole image at its own aspect ratio, or its central square (the reference).
    border : {"noise", "constant", "reflect", "clip", "inside"}
        Surroundings of the image, so that patches may hang over its edge: seeded uniform noise (the reference, there
        without a seed), the encoder's mean colour, the image mirrored; nothing (``"clip"``: what hangs over is cut
        off); or none, so that patches stay inside (the paper's web interface).
    sizes : tuple of int
        Sides of the square patches in pixels of the working image.
    stride : int or tuple of int, optional
        Pixels between neighbouring patches; one number, or one per size. By default 16, as in the reference, or 32 for
        windows; at most the patch size.
    short_side : int
        Short side of the working image in pixels (224 in the reference); 0 keeps the image's own size.
    seed : int
        Seed of the noise.
    class_bias : float in [0, 1]
        Dense only: how much of the row of the whole image is subtracted from the row of each token.

    Raises
    ------
    InputError
        If a value is out of range.

    Examples
    --------
    >>> Layout(sizes=96, stride=32).strides
    {96: 32}
    >>> Layout(mode="windows").strides, Layout(sizes=8).strides
    ({128: 32, 64: 32}, {8: 8})
    """

    mode: str = "crops"
    fit: str = "full"
    border: str = "noise"
    sizes: tuple[int, ...] = (128, 64)
    stride: int | tuple[int, ...] | None = None
    short_side: int = WORKING_SIZE
    seed: int = 0
    class_bias: float = 0.0

    def __post_init__(self) -> None:
        if self.maker not in (*MODES, AUTO) or (":" in str(self.mode) and self.maker != "dense"):
            raise InputError(f"mode must be one of {', '.join(MODES)}, dense:NAME or auto; got {self.mode!r}")
        for name, allowed in (("fit", FITS), ("border", BORDERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        object.__setattr__(self, "sizes", _whole_numbers("sizes", self.sizes, 4, 1024))
        if len(set(self.sizes)) != len(self.sizes):
            raise InputError(f"sizes must differ from one another, got {self.sizes}")
        steps = self._steps()
        if len(steps) != len(self.sizes):
            raise InputError(f"stride must be one number or one per patch size {self.sizes}, got {self.stride!r}")
        for size, step in zip(self.sizes, steps, strict=True):
            if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= size:
                raise InputError(f"stride must be from 1 to the patch size ({size}), got {step!r}")
        if self.stride is not None:
            object.__setattr__(self, "stride", steps[0] if len(set(steps)) == 1 else steps)
        if self.short_side != 0:
            _whole_numbers("short_side", self.short_side, 16, 4096)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed must be an integer that is not negative, got {self.seed!r}")
        if isinstance(self.class_bias, bool) or not isinstance(self.class_bias, (int, float)):
            raise InputError(f"class_bias must be a number, got {self.class_bias!r}")
        if not 0 <= self.class_bias <= 1 or (self.class_bias and self.maker != "dense"):
            raise InputError(f"class_bias must be from 0 to 1, and 0 unless the mode is dense; got {self.class_bias!r}")

    def _steps(self) -> tuple[int, ...]:
        if self.stride is None:
            step = WINDOWS_STRIDE if self.maker == "windows" else STRIDE
            return tuple(min(step, size) for size in self.sizes)
        return (self.stride,) * len(self.sizes) if isinstance(self.stride, int) else tuple(self.stride)

    @property
    def maker(self) -> str:
        """The mode without the name of a change: ``"dense"`` of ``"dense:gem"``."""
        return str(self.mode).partition(":")[0]

    @property
    def strides(self) -> dict[int, int]:
        """Patch size to stride, in the order of ``sizes``."""
        return dict(zip(self.sizes, self._steps(), strict=True))

    @property
    def inside(self) -> bool:
        """Whether patches stay inside the image."""
        return self.border == "inside"

    def describe(self) -> str:
        """The layout in one line."""
        sizes = "+".join(map(str, self.sizes))
        steps = list(self.strides.values())
        stride = "+".join(map(str, steps if len(set(steps)) > 1 else steps[:1]))
        own = "" if self.short_side == WORKING_SIZE else f", short side {self.short_side or 'as it is'}"
        return f"{self.mode} {sizes} px stride {stride}, {self.fit}, border {self.border}, seed {self.seed}{own}"


def layout_for(layout: Layout, mode: str) -> Layout:
    """A layout for another mode: without sizes, strides and borders where the mode has none.

    Examples
    --------
    >>> layout_for(Layout(sizes=64, short_side=448), "dense").sizes, layout_for(Layout(sizes=64), "windows").sizes
    ((128, 64), (64,))
    """
    if mode == OCCLUSION:
        return Layout(mode, layout.fit, short_side=layout.short_side)
    if mode.partition(":")[0] == "dense":
        return Layout(mode, layout.fit, short_side=layout.short_side, class_bias=layout.class_bias)
    return replace(layout, mode=mode, class_bias=0.0)


def _whole_numbers(name: str, values: object, least: int, most: int) -> tuple[int, ...]:
    numbers = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    if not numbers or not all(
        isinstance(number, int) and not isinstance(number, bool) and least <= number <= most for number in numbers
    ):
        raise InputError(f"{name} must be one or more integers from {least} to {most} pixels, got {values!r}")
    return numbers
