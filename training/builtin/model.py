"""nano's two towers in open_clip's layout, and checkpoints that open_clip loads by ``local-dir:``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def read_config(path: Path | None = None) -> dict[str, Any]:
    """Return the training configuration, by default the one beside this file."""
    return json.loads((path or Path(__file__).with_name("config.json")).read_text())


def create(config: dict[str, Any]) -> Any:
    """Return an untrained ``open_clip.CLIP`` of the configured layout."""
    from open_clip.model import CLIP

    layout = config["model_cfg"]
    return CLIP(layout["embed_dim"], dict(layout["vision_cfg"]), dict(layout["text_cfg"]))


def write_checkpoint(model: Any, config: dict[str, Any], folder: Path, half: bool = True) -> None:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors`` (fp16 unless told otherwise)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous().clone()
        state[name] = value.half() if half and value.is_floating_point() else value
    partial = folder / "open_clip_model.safetensors.partial"
    save_file(state, partial)
    partial.rename(folder / "open_clip_model.safetensors")
    kept = {name: config[name] for name in ("model_cfg", "preprocess_cfg")}
    (folder / "open_clip_config.json").write_text(json.dumps(kept, indent=2) + "\n")


def read_tower(folder: Path, tower: str) -> dict[str, torch.Tensor]:
    """Return the state of the ``image`` or ``text`` tower of a checkpoint in full precision."""
    from safetensors.torch import load_file

    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in load_file(folder / "open_clip_model.safetensors").items()
    }
    image = {name.removeprefix("visual."): value for name, value in state.items() if name.startswith("visual.")}
    if tower == "image":
        return image
    return {n: v for n, v in state.items() if not n.startswith("visual.") and n != "logit_scale"}


def start_text_tower(model: Any, tokens: NDArray[np.uint16], targets: NDArray[np.float32], steps: int = 30) -> None:
    """Let the text tower begin as the best bag of tokens instead of as noise.

    Solves ``min_E |A E - T|^2 + ridge |E|^2`` by conjugate gradients, where row i of A averages the tokens of text i
    and T holds the targets, truncates E to the tower's width, and sets the first attention layer to average the tokens
    seen so far. Nothing but the targets of the training texts goes in.
    """
    width = model.token_embedding.weight.shape[1]
    lengths = (tokens != 0).sum(1)
    rows, columns = np.nonzero(tokens)
    values = 1.0 / lengths[rows]
    shape = (len(tokens), model.token_embedding.weight.shape[0])
    matrix = (
        torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([rows, tokens[rows, columns].astype(np.int64)])),
            torch.from_numpy(values).float(),
            shape,
        )
        .coalesce()
        .to_sparse_csr()
    )
    transposed = matrix.to_sparse_coo().t().coalesce().to_sparse_csr()
    wanted = torch.from_numpy(targets)
    solution = torch.zeros(shape[1], targets.shape[1])
    residual = transposed @ wanted
    direction, norm = residual.clone(), residual.square().sum(0)
    for _ in range(steps):
        image = transposed @ (matrix @ direction) + 1e-3 * direction
        step = norm / (direction * image).sum(0).clamp_min(1e-12)
        solution += step * direction
        residual -= step * image
        fresh = residual.square().sum(0)
        direction = residual + fresh / norm.clamp_min(1e-12) * direction
        norm = fresh
    _, _, axes = torch.linalg.svd(matrix @ solution, full_matrices=False)
    axes = axes[:width]
    embedding = solution @ axes.T
    seen = torch.from_numpy(np.unique(tokens).astype(np.int64))
    scale = 0.02 / embedding[seen].std()
    attention = model.transformer.resblocks[0].attn
    with torch.no_grad():
        fresh_rows = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0)) * 0.002
        model.token_embedding.weight.copy_(embedding * scale + fresh_rows)
        model.positional_embedding.mul_(0.1)
        attention.in_proj_weight[2 * width :].copy_(torch.eye(width))
        attention.in_proj_weight[: 2 * width].mul_(0.3)
        attention.out_proj.weight.copy_(torch.eye(width))
        model.text_projection.copy_(axes)
