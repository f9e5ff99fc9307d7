"""Image towers in two parts, so that one pass over a large picture gives the embedding of every patch.

A tower that pools a feature map splits into a trunk, pixels to maps, and a head, the mean of a map to a row. Whether a
tower really is one is tried out, not believed: head(mean of trunk(pixels)) must be the whole tower's row.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from .onnx import write_module
from .parts import TowerParts

if TYPE_CHECKING:
    import torch

    from .model import Model

LARGEST_DIFFERENCE = 1e-5  # between a row of the whole tower and of its parts


@dataclass(frozen=True)
class MapSize:
    """Channels of a trunk's maps, and pixels per cell."""

    channels: int
    stride: int


def timm_parts(tower: Any) -> TowerParts | None:
    """The parts of open_clip's ``TimmModel``, as timm's own interface divides it; None for another tower.

    The head of a pooling tower (pool, norm, projection) sees a map of one cell where it is given a mean, and the pool
    of one cell is the cell.
    """
    import torch

    trunk = getattr(tower, "trunk", None)
    if not all(hasattr(trunk, name) for name in ("forward_features", "forward_head")) or not hasattr(tower, "head"):
        return None
    tower = copy.deepcopy(tower)
    if not fix_padding(tower):
        return None

    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            maps: torch.Tensor = self.tower.trunk.forward_features(pixels)
            return maps

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, means: torch.Tensor) -> torch.Tensor:
            rows = self.tower.head(self.tower.trunk.forward_head(means[:, :, None, None]))
            return torch.nn.functional.normalize(rows, dim=-1)

    return TowerParts(Trunk().eval(), Head().eval())


def fix_padding(tower: torch.nn.Module) -> bool:
    """Give TensorFlow's convolutions a padding that does not depend on the size of the picture, in place.

    TensorFlow pads by what is left over at the far end. Where the stride divides the side of a map, which it does for
    pictures whose sides are multiples of the tower's stride, that is always the same, and torch can export it for all
    of them; the general formula keeps its symbolic shapes busy for many minutes.

    Returns
    -------
    bool
        Whether all such layers are convolutions.
    """
    import torch
    from timm.layers import Conv2dSame

    class EvenlyPadded(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pads: list[int] = []
            for size, step, gap in reversed(list(zip(self.kernel_size, self.stride, self.dilation, strict=True))):
                total = max((size - 1) * gap + 1 - step, 0)
                pads += [total // 2, total - total // 2]
            x = torch.nn.functional.pad(x, pads)
            return torch.nn.functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    for module in tower.modules():
        if type(module) is Conv2dSame:
            module.__class__ = EvenlyPadded
    return not any(type(module).__name__.endswith("Same") for module in tower.modules())


def check_split(model: Model, parts: TowerParts) -> MapSize:
    """Try a split out on noise.

    Raises
    ------
    ExportError
        If the parts do not make up the tower: the reason why the bundle will have no mode "windows".
    """
    import torch

    height, width = model.preprocess.size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, height, width, generator=generator)
    try:
        with torch.inference_mode():
            maps = parts.trunk(pixels)
            if maps.ndim != 4 or height % maps.shape[2] or width % maps.shape[3]:
                raise ExportError(f"its trunk returns {tuple(maps.shape)}, which is no map of whole cells")
            difference = float((parts.head(maps.mean((2, 3))) - model.image(pixels)).abs().max())
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ExportError(f"its tower does not pool a feature map ({error})") from None
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportError(f"head(mean of trunk) is not the whole tower: rows differ by {difference:.2g}")
    stride = height // maps.shape[2]
    if width // maps.shape[3] != stride:
        raise ExportError("its cells are not square")
    return MapSize(int(maps.shape[1]), stride)


def write_split(parts: TowerParts, size: MapSize, pixels: tuple[int, int], trunk: Path, head: Path) -> None:
    """Write both parts as ONNX, the trunk for pictures of any size.

    Raises
    ------
    ExportError
        If ONNX cannot express a part at any size.
    """
    import torch

    larger = [side + step * size.stride for side, step in zip(pixels, (1, 2), strict=True)]
    axes = {0: "batch", 2: "height", 3: "width"}
    write_module(parts.trunk, torch.zeros(2, 3, *larger), trunk, "pixels", axes)
    write_module(parts.head, torch.zeros(2, size.channels), head, "means", {0: "batch"})
