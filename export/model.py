"""A CLIP-like model in torch, with what its bundle needs to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bundle import Preprocess
from ..encoders.providers import first_line
from ..errors import ExportError, MissingDependencyError
from .tokenizer import default_context_length, original_tokens, read_tokenizer

if TYPE_CHECKING:
    import torch

    from .dense.find import DenseTower
    from .parts import TowerParts

_EPSILON = 1e-12  # of the norm; a zero row stays zero instead of becoming NaN


@dataclass(frozen=True)
class Model:
    """Two towers, a tokenizer and the preprocessing of one model; the towers are float32 and on the CPU."""

    name: str  # as the manifest says it
    pretrained: str | None
    image: torch.nn.Module  # normalised pixels (n, 3, h, w) to unit rows (n, d)
    text: torch.nn.Module  # token ids (n, length) int64 to unit rows (n, d)
    original_text: torch.nn.Module  # the same at the full context length, before anything was rewritten for export
    tokenizer: Any  # see fastconcept.export.tokenizer
    preprocess: Preprocess
    transform: Callable[[Any], Any] | None  # the model's own preprocessing, from a Pillow image to (3, h, w)
    context_length: int
    embedding_dim: int
    logit_scale: float  # as a factor, not its logarithm
    dynamic_text: bool  # the text tower is exact at any length up to the context length
    parts: TowerParts | None = None  # the image tower in two parts, where it may be one that pools a feature map
    dense: DenseTower | None = None  # its dense passes, where it has tokens
    no_dense: str = ""  # why there are none


def import_torch() -> Any:
    """The module ``torch``.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingDependencyError("torch", "export") from None
    return torch


def unit_rows(tower: torch.nn.Module, method: str = "forward") -> torch.nn.Module:
    """A module that returns the rows of a tower divided by their norms.

    Parameters
    ----------
    tower : torch.nn.Module
        One tensor in, rows (n, d) out.
    method : str
        The tower's method to call, for a module that holds both towers.
    """
    import torch

    class UnitRows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            rows = getattr(self.tower, method)(inputs)
            if not isinstance(rows, torch.Tensor):
                raise TypeError(f"it returns {type(rows).__name__} instead of a tensor")
            return torch.nn.functional.normalize(rows, dim=-1, eps=_EPSILON)

    return UnitRows().eval()


def from_towers(
    image: torch.nn.Module,
    text: torch.nn.Module,
    tokenizer: Any,
    preprocess: Preprocess,
    name: str,
    context_length: int | None,
    text_length: str,
    logit_scale: float,
    transform: Callable[[Any], Any] | None,
    parts: TowerParts | None = None,
    with_dense: bool = False,
) -> Model:
    """A model of two separate towers; parameters and errors as for :func:`fastconcept.export.build.export_model`."""
    torch = import_torch()
    if text_length not in ("fixed", "dynamic"):
        raise ExportError(f"text_length must be fixed or dynamic, got {text_length!r}")
    tokenizer = read_tokenizer(tokenizer)
    length = context_length or default_context_length(tokenizer)
    if length is None:
        raise ExportError("the tokenizer does not say how many tokens a text may have; give context_length")
    images, texts = unit_rows(image), unit_rows(text)
    dim = row_width(f"the image tower of {name}", images, torch.zeros(2, 3, *preprocess.size))
    if preprocess.patch_size is not None:
        row_width(f"the image tower of {name}", images, torch.zeros(2, 3, *preprocess.patch_size))
    tokens = torch.from_numpy(original_tokens(tokenizer, ["a dog", "a cat"], length))  # not of padding alone
    width = row_width(f"the text tower of {name}", texts, tokens)
    if width != dim:
        raise ExportError(f"{name}: the image tower returns rows of {dim}, the text tower rows of {width}")
    from .dense.find import dense_or_reason, find_dense_inside

    dense, no_dense = dense_or_reason(find_dense_inside, image) if with_dense else (None, "")
    return Model(
        name=name,
        pretrained=None,
        image=images,
        text=texts,
        original_text=texts,
        tokenizer=tokenizer,
        preprocess=preprocess,
        transform=transform,
        context_length=length,
        embedding_dim=dim,
        logit_scale=logit_scale,
        dynamic_text=text_length == "dynamic",
        parts=parts,
        dense=dense,
        no_dense=no_dense,
    )


def row_width(name: str, tower: torch.nn.Module, example: torch.Tensor) -> int:
    """Run a tower once and return the width of its rows.

    Parameters
    ----------
    name : str
        What error messages call the tower.
    tower : torch.nn.Module
    example : torch.Tensor
        A batch that the tower takes.

    Raises
    ------
    ExportError
        If the tower cannot run on float32 tensors on the CPU, or as :func:`run_tower`.
    """
    import torch

    for label, tensor in [*tower.named_parameters(), *tower.named_buffers()]:
        if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
            raise ExportError(
                f"{name}: {label} is {tensor.dtype} on {tensor.device}; towers are exported in float32 from the CPU, "
                "so call .float().cpu() first"
            )
    return int(run_tower(name, tower, example).shape[1])


def run_tower(name: str, tower: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Rows that a tower returns for a batch, (n, d) float32: of unit length, or zeros where an input has no direction.

    Parameters
    ----------
    name : str
        What error messages call the tower.
    tower : torch.nn.Module
        As :func:`unit_rows` makes them.
    batch : torch.Tensor

    Raises
    ------
    ExportError
        If the tower fails, or returns anything else.
    """
    import torch

    try:
        with torch.inference_mode():
            rows = tower(batch)
    except Exception as error:  # a model's own code raises anything
        ids = "" if batch.is_floating_point() else f" of token ids up to {int(batch.max())}"
        raise ExportError(f"{name} fails on a batch of shape {tuple(batch.shape)}{ids}: {first_line(error)}") from error
    if rows.ndim != 2 or len(rows) != len(batch):
        shape = tuple(rows.shape)
        raise ExportError(f"{name} must return a tensor ({len(batch)}, d) for {len(batch)} examples, got {shape}")
    if rows.dtype != torch.float32 or rows.device.type != "cpu":
        raise ExportError(f"{name} must return float32 on the CPU, got {rows.dtype} on {rows.device}")
    if not bool(torch.isfinite(rows).all()):
        raise ExportError(f"{name} returns numbers that are not finite; are its weights complete?")
    return rows
