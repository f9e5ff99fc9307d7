"""open_clip models: loading one, and writing its two towers as ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Preprocess
from ..errors import ExportError, MissingDependencyError

if TYPE_CHECKING:
    import torch

OPSET = 18
_MAX_INLINE_BYTES = 1_800_000_000  # a protobuf message ends at 2 GB; larger weights go beside the model
_EPSILON = 1e-12  # of the norm; a zero row stays zero instead of becoming NaN


@dataclass(frozen=True)
class ClipModel:
    """A loaded open_clip model with what its bundle needs to know."""

    name: str  # without the path of a local directory, which says nothing elsewhere
    pretrained: str | None
    model: Any  # torch.nn.Module in evaluation mode, float32, on the CPU
    tokenizer: Any
    preprocess: Preprocess
    transform: Any  # open_clip's own evaluation transform, from a PIL image to a tensor
    context_length: int
    embedding_dim: int
    logit_scale: float  # as a factor, not its logarithm
    dynamic_text: bool  # the text tower is exact at any length up to the context length


def load_clip(model: str, pretrained: str | None = None) -> ClipModel:
    """Load an open_clip model with its weights.

    Parameters
    ----------
    model : str
        An architecture of open_clip (``ViT-B-32``), ``hf-hub:owner/name`` or ``local-dir:path``.
    pretrained : str, optional
        A pretrained tag or a checkpoint file; needed by, and only by, an architecture's name.

    Returns
    -------
    ClipModel

    Raises
    ------
    ExportError
        If the model, its weights or its tokenizer cannot be had, or ``pretrained`` is missing.
    MissingDependencyError
        If torch or open_clip is not installed.
    """
    try:
        import open_clip
        import torch
    except ImportError as error:
        package = {"torch": "torch"}.get(error.name or "", "open_clip_torch")
        raise MissingDependencyError(package, "export") from None
    has_schema = model.startswith(("hf-hub:", "local-dir:"))
    quick_gelu = not has_schema and _check_name(open_clip, model.replace("/", "-"), pretrained)
    if has_schema and pretrained:
        raise ExportError(f"{model} brings its own weights; leave --pretrained {pretrained} out")
    try:
        with _quiet():
            network, _, transform = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, require_pretrained=True, force_quick_gelu=quick_gelu
            )
            tokenizer = open_clip.get_tokenizer(model)
    except ImportError as error:
        raise ExportError(
            f"{model} needs another package ({error}); pip install {error.name or 'transformers'}"
        ) from None
    except Exception as error:  # open_clip, the hub and torch raise many kinds
        raise ExportError(f"{model} cannot be loaded: {error}") from error
    network.eval()
    context_length = int(getattr(tokenizer, "context_length", None) or network.context_length)
    preprocess = _preprocess(open_clip.get_model_preprocess_cfg(network))
    with torch.inference_mode():
        row = network.encode_image(torch.zeros(1, 3, *preprocess.size))
        logit_scale = float(network.logit_scale.exp())
    return ClipModel(
        name=f"local-dir:{Path(model.partition(':')[2]).resolve().name}" if model.startswith("local-dir:") else model,
        pretrained=None if has_schema else Path(pretrained or "").name,
        model=network,
        tokenizer=tokenizer,
        preprocess=preprocess,
        transform=transform,
        context_length=context_length,
        embedding_dim=int(row.shape[-1]),
        logit_scale=logit_scale,
        dynamic_text=_causal_text(network) is not None,
    )


def _check_name(open_clip: Any, model: str, pretrained: str | None) -> bool:
    """Check an architecture's name and weights; returns whether the weights were trained with QuickGELU.

    Where a tag says so and the architecture does not (``ViT-B-32``, ``openai``), open_clip only warns and computes
    embeddings that are a little off; we follow the tag.
    """
    if model not in open_clip.list_models():
        raise ExportError(
            f"open_clip has no model {model!r}; see open_clip.list_models(), or use hf-hub:owner/name or local-dir:path"
        )
    if not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none; give a checkpoint file"
        raise ExportError(f"{model} is an architecture without weights; choose --pretrained from: {tags}")
    configured = bool(open_clip.get_model_config(model).get("quick_gelu", False))
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    return configured or bool(tag and tag.get("quick_gelu", False))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep chatter of other packages off the terminal; what fails raises."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _preprocess(config: dict[str, Any]) -> Preprocess:
    """open_clip's ``preprocess_cfg`` as a bundle holds it."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mean, std = ((float(v),) * 3 if isinstance(v, (int, float)) else tuple(v) for v in (config["mean"], config["std"]))
    mode = config.get("resize_mode") or "shortest"
    bilinear = config.get("interpolation") == "bilinear"
    if mode == "shortest" and height != width:
        bilinear = False  # open_clip resizes with its default there, whatever the configuration says
    return Preprocess(
        size=(height, width),
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        interpolation="bilinear" if bilinear else "bicubic",
        resize_mode=mode,
        fill_color=int(config.get("fill_color") or 0),
    )


def _causal_text(network: Any) -> Any:
    """The module that holds a causal text transformer whose result does not depend on the padding, else None.

    Under a causal mask no position sees a later one, so cutting the padding off is exact where the pooled
    position is found by its token. Pooling the last position, a class token at the end, or attention in both
    directions see the padding.
    """
    tower = getattr(network, "text", network)
    pooling = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    parts = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    if not all(hasattr(tower, part) for part in parts) or pooling not in ("argmax", "eos", "first"):
        return None
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False):
        return None
    return tower if getattr(tower, "attn_mask", None) is not None else None


def image_module(clip: ClipModel) -> torch.nn.Module:
    """The image tower as a module from pixels (batch, 3, h, w) to unit rows."""
    import torch

    class ImageTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip.model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.clip.encode_image(pixels), dim=-1, eps=_EPSILON)

    return ImageTower().eval()


def text_module(clip: ClipModel) -> torch.nn.Module:
    """The text tower as a module from tokens (batch, length) to unit rows; any length where that is exact."""
    import torch

    class TextTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip.model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            rows = self.clip.encode_text(tokens)
            return torch.nn.functional.normalize(rows, dim=-1, eps=_EPSILON)

    class CausalTextTower(torch.nn.Module):
        def __init__(self, tower: Any) -> None:
            super().__init__()
            self.tower = tower
            self.pooling = getattr(tower, "text_pool_type", None) or tower.pool_type
            self.eos = getattr(tower, "text_eos_id", None) or getattr(tower, "eos_id", None)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            tower, length = self.tower, tokens.shape[1]
            hidden = tower.token_embedding(tokens) + tower.positional_embedding[:length]
            hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
            if self.pooling == "first":
                position = torch.zeros_like(tokens[:, 0])
            elif self.pooling == "eos":
                position = (tokens == self.eos).to(torch.int64).argmax(dim=-1)
            else:
                position = tokens.argmax(dim=-1)
            pooled = tower.ln_final(hidden[torch.arange(tokens.shape[0]), position])
            projection = tower.text_projection
            if isinstance(projection, torch.nn.Linear):
                pooled = projection(pooled)
            elif projection is not None:
                pooled = pooled @ projection
            return torch.nn.functional.normalize(pooled, dim=-1, eps=_EPSILON)

    tower = _causal_text(clip.model)
    return (TextTower() if tower is None else CausalTextTower(tower)).eval()


def export_image(clip: ClipModel, path: Path) -> list[str]:
    """Write the image tower: float32 pixels (batch, 3, h, w) to unit rows (batch, d).

    Returns
    -------
    list of str
        Names of the files written: the model, and its weights where they do not fit into it.

    Raises
    ------
    ExportError
        If the architecture has an operation that ONNX cannot say.
    """
    import torch

    example = torch.zeros(2, 3, *clip.preprocess.size)
    return _export(image_module(clip), example, path, "pixels", {0: "batch"})


def export_text(clip: ClipModel, path: Path) -> list[str]:
    """Write the text tower: int64 tokens (batch, length) to unit rows (batch, d); see :func:`export_image`."""
    import torch

    length = min(8, clip.context_length) if clip.dynamic_text else clip.context_length
    example = torch.ones(2, length, dtype=torch.int64)
    axes = {0: "batch", 1: "length"} if clip.dynamic_text else {0: "batch"}
    return _export(text_module(clip), example, path, "tokens", axes)


def _export(module: torch.nn.Module, example: torch.Tensor, path: Path, name: str, axes: dict[int, str]) -> list[str]:
    """One module with one input and one output to one ONNX file."""
    import torch

    dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is a fused operator that ONNX does not know
    try:
        with torch.inference_mode(), _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[name],
                output_names=["embeddings"],
                dynamic_shapes=(dynamic,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(f"the tower of {name} cannot be written as ONNX: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    _forget_origins(program.model)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    external = weights > _MAX_INLINE_BYTES
    program.save(str(path), external_data=external)
    return [path.name, f"{path.name}.data"] if external else [path.name]


def _forget_origins(model: Any) -> None:
    """Remove the stack traces that the exporter leaves: they hold paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
