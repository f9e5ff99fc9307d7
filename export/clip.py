"""Loads a model of open_clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Preprocess
from ..encoders.providers import first_line
from ..errors import ExportError, MissingDependencyError
from .dense.find import dense_or_reason, find_dense
from .model import Model, row_width, unit_rows
from .onnx import quiet
from .split import timm_parts
from .tokenizer import original_tokens

if TYPE_CHECKING:
    import torch


def load_clip(model: str, pretrained: str | None = None) -> Model:
    """Load an open_clip model with its weights.

    Parameters
    ----------
    model : str
        An architecture of open_clip (``ViT-B-32``), ``hf-hub:owner/name`` or ``local-dir:path``.
    pretrained : str, optional
        A pretrained tag or a checkpoint file; needed by, and only by, an architecture's name.

    Returns
    -------
    Model

    Raises
    ------
    ExportError
        If the model, its weights or its tokenizer cannot be had, or ``pretrained`` is missing.
    MissingDependencyError
        If torch or open_clip is not installed.
    """
    try:
        import open_clip
        import torch  # noqa: F401 (if it is missing, the error says so)
    except ImportError as error:
        package = {"torch": "torch"}.get(error.name or "", "open_clip_torch")
        raise MissingDependencyError(package, "export") from None
    has_schema = model.startswith(("hf-hub:", "local-dir:"))
    quick_gelu = not has_schema and _check_name(open_clip, model.replace("/", "-"), pretrained)
    if has_schema and pretrained:
        raise ExportError(f"{model} brings its own weights; leave --pretrained {pretrained} out")
    try:
        with quiet():
            network, _, transform = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, require_pretrained=True, force_quick_gelu=quick_gelu
            )
    except ImportError as error:
        raise ExportError(
            f"{model} needs another package ({error}); pip install {error.name or 'transformers'}"
        ) from None
    except Exception as error:  # open_clip, the hub and torch raise many kinds
        hint = _offline(error)
        hint = (hint and _text_tower_hint(model)) or hint
        raise ExportError(f"{model} cannot be loaded: {_one_line(error)}{hint}") from error
    tokenizer = _tokenizer(open_clip, model)
    network.eval()
    try:
        return _model_of(open_clip, model, pretrained if not has_schema else None, network, tokenizer, transform)
    except ExportError:
        raise
    except Exception as error:  # a class of open_clip that is laid out in another way
        raise ExportError(f"{model} is not laid out as other models of open_clip are: {_one_line(error)}") from error


def _tokenizer(open_clip: Any, model: str) -> Any:
    """The tokenizer of a model; if it cannot be had, the error says which files are missing."""
    try:
        with quiet():
            tokenizer = open_clip.get_tokenizer(model)
            tokenizer(["a dog"])  # one that is made of tokenizer.json alone does not know how to pad
            return tokenizer
    except Exception as error:  # transformers and the hub raise many kinds
        needed = "tokenizer.json and tokenizer_config.json, or the vocabulary of its class"
        place = "the cache of the hub"
        if (folder := _local(model)) is not None:
            there = {path.name for path in folder.iterdir()}
            missing = [name for name in ("tokenizer.json", "tokenizer_config.json") if name not in there]
            place = str(folder)
            needed += f"; {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing" if missing else ""
        raise ExportError(
            f"the tokenizer of {model} cannot be loaded from {place}: {_one_line(error)}. It needs {needed}"
            f"{_offline(error)}"
        ) from error


def _local(model: str) -> Path | None:
    """The folder of a model on disk."""
    schema, _, place = model.partition(":")
    return Path(place) if schema == "local-dir" and Path(place).is_dir() else None


def _text_tower_hint(model: str) -> str:
    """What a model on disk needs if its text tower is one of transformers whose configuration is not there."""
    folder = _local(model)
    if folder is None:
        return ""
    try:
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        name = config["model_cfg"]["text_cfg"]["hf_model_name"]
        if (Path(name) / "config.json").is_file():
            return ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return (
        f". Its text tower needs config.json of {name} besides the weights: where there is a network, run "
        f"hf download {name} config.json --local-dir {folder / 'text'}; then write {folder / 'text'} for "
        "hf_model_name in open_clip_config.json"
    )


def _one_line(error: Exception) -> str:
    return first_line(error).rstrip(".")


def _offline(error: Exception) -> str:
    """What to do where the network was asked and did not answer."""
    text = f"{type(error).__name__} {error}".lower()
    if not any(word in text for word in ("connect", "offline", "resolve", "timed out", "timeout", "hub", "http")):
        return ""
    return (
        ". Without network, download the repository where there is one (hf download NAME --local-dir DIR), with those "
        "of its text tower and tokenizer, and export local-dir:DIR with HF_HUB_OFFLINE=1"
    )


def _model_of(
    open_clip: Any, model: str, pretrained: str | None, network: Any, tokenizer: Any, transform: Any
) -> Model:
    """What a bundle needs to know about a network of open_clip."""
    import torch

    context_length = int(getattr(tokenizer, "context_length", None) or network.context_length)
    preprocess = _preprocess(open_clip.get_model_preprocess_cfg(network))
    dense, no_dense = dense_or_reason(find_dense, network.visual)
    image, (text, dynamic) = unit_rows(network, "encode_image"), text_tower(network)
    whole_text = unit_rows(network, "encode_text")
    tokens = torch.from_numpy(original_tokens(tokenizer, ["a dog"], context_length))  # not of padding alone
    row_width(f"the text tower of {model}", whole_text, tokens)
    return Model(
        name=f"local-dir:{Path(model.partition(':')[2]).resolve().name}" if model.startswith("local-dir:") else model,
        pretrained=None if pretrained is None else Path(pretrained).name,
        image=image,
        text=text,
        original_text=whole_text,
        tokenizer=tokenizer,
        preprocess=preprocess,
        transform=transform,
        context_length=context_length,
        embedding_dim=row_width(f"the image tower of {model}", image, torch.zeros(1, 3, *preprocess.size)),
        logit_scale=float(network.logit_scale.detach().exp()),
        dynamic_text=dynamic,
        parts=timm_parts(network.visual),
        dense=dense,
        no_dense=no_dense,
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


def _preprocess(config: dict[str, Any]) -> Preprocess:
    """open_clip's ``preprocess_cfg`` as a bundle holds it."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode = config.get("resize_mode") or "shortest"
    bilinear = config.get("interpolation") == "bilinear"
    if mode == "shortest" and height != width:
        bilinear = False  # open_clip resizes with its default there, whatever the configuration says
    return Preprocess(
        size=(height, width),
        mean=_per_channel(config["mean"]),
        std=_per_channel(config["std"]),
        interpolation="bilinear" if bilinear else "bicubic",
        resize_mode=mode,
        fill_color=int(config.get("fill_color") or 0),
    )


def _per_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    """One number for red, green and blue each."""
    red, green, blue = (value,) * 3 if isinstance(value, (int, float)) else value
    return float(red), float(green), float(blue)


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


def text_tower(network: torch.nn.Module) -> tuple[torch.nn.Module, bool]:
    """The text tower of an open_clip model, from tokens (batch, length) to unit rows (batch, d).

    Returns
    -------
    module : torch.nn.Module
    dynamic : bool
        True: the module is exact at any length up to the context length; False: only at the context length.
    """
    import torch

    tower = _causal_text(network)
    if tower is None:
        return unit_rows(network, "encode_text"), False

    class CausalText(torch.nn.Module):
        """What open_clip's tower computes, with positions and mask cut to the length of the tokens."""

        def __init__(self) -> None:
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
                return projection(pooled)
            return pooled if projection is None else pooled @ projection

    return unit_rows(CausalText()), True
