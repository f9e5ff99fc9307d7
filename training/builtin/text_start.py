"""Where the text tower begins: as the best bag of tokens instead of as noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def start_text_tower(model: Any, tokens: NDArray[np.uint16], targets: NDArray[np.float32], steps: int = 30) -> None:
    """Set the weights of a text tower to those of the best bag of tokens.

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
