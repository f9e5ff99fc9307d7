"""Which dense passes an image tower can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import ExportError
from .attention import CHANGES
from .attention_pool import STRIDE, pool_module
from .clip_vit import ClipTower, has_clip_layout
from .open_clip_vit import OpenClipTower
from .timm_vit import TimmTower
from .tower import TokenTower, dense_module


@dataclass(frozen=True)
class DenseTower:
    """The dense passes of one tower.

    Attributes
    ----------
    stride : int
        Pixels per token.
    modules : mapping of str to callable
        The name of a change to a function that makes its module: pixels (n, 3, H, W) to unit rows (n, 1 + h w, d).
    """

    stride: int
    modules: Mapping[str, Callable[[], Any]]


def find_dense(visual: Any) -> DenseTower:
    """The dense passes of an image tower.

    Parameters
    ----------
    visual : torch.nn.Module
        The image tower of a model of open_clip.

    Raises
    ------
    ExportError
        If there is none: the reason why the bundle will have no mode "dense".
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if type(visual) is ModifiedResNet:
        return DenseTower(STRIDE, {"maskclip": partial(pool_module, visual)})
    if type(visual) is VisionTransformer:
        return _of_tokens(OpenClipTower(visual))
    if type(visual) is TimmModel and hasattr(visual.trunk, "blocks"):
        return _of_tokens(TimmTower(visual))
    raise ExportError("its image tower is no transformer of open_clip or timm and does not pool by attention")


def find_dense_inside(image: Any) -> DenseTower:
    """The dense passes of an image tower of whatever kind: those of the known transformer that it holds.

    What else a tower does, beyond one linear layer after a transformer of timm or transformers, is not known here. It
    is found out when a pass is written: its row of the whole picture has to be that of the tower.

    Parameters
    ----------
    image : torch.nn.Module
        Normalised pixels to embeddings.

    Raises
    ------
    ExportError
        If it holds none: the reason why the bundle will have no mode "dense".
    """
    import torch
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmTransformer

    for module in image.modules():  # from the outside in
        if type(module) in (ModifiedResNet, TimmModel, VisionTransformer):
            return find_dense(module)
        if type(module) in (Eva, TimmTransformer) or has_clip_layout(module):
            inside = set(module.modules())
            after = [one for one in image.modules() if isinstance(one, torch.nn.Linear) and one not in inside]
            head = after[0] if len(after) == 1 else torch.nn.Identity()
            parts = torch.nn.ModuleDict({"trunk": module, "head": head})
            return _of_tokens(ClipTower(parts) if has_clip_layout(module) else TimmTower(parts))
    raise ExportError("its image tower holds no transformer of open_clip, timm or transformers' CLIPModel")


def dense_or_reason(find: Callable[[Any], DenseTower], tower: Any) -> tuple[DenseTower | None, str]:
    """What is found, or None and why."""
    try:
        return find(tower), ""
    except ExportError as error:
        return None, str(error)


def _of_tokens(tower: TokenTower) -> DenseTower:
    return DenseTower(tower.stride, {name: partial(dense_module, tower, name) for name in CHANGES})


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a name that is no published change.

    Examples
    --------
    >>> check_names(("gem", "clearclip"))
    ('gem', 'clearclip')
    """
    for name in names:
        if name not in CHANGES:
            raise ExportError(f"dense passes are {', '.join(CHANGES)}; got {name!r}")
    return tuple(dict.fromkeys(names))
