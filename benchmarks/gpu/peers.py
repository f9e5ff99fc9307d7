"""Other ways to solve the nonnegative lasso on a GPU, in torch, written from their formulas.

The problem: min over w >= 0 of ``||z - C^T w||^2 + lambda sum(w)``, for a batch of rows z.
"""

from __future__ import annotations

from typing import Any


def admm(dictionary: Any, targets: Any, l1_penalty: float, rounds: int, rho: float = 5.0) -> Any:
    """ADMM on w = u: one factorisation of ``2 C C^T + rho I``, then two triangular solves per round.

    w <- (2 C C^T + rho I)^-1 (2 C z + rho (u - y));  u <- max(w + y - lambda / rho, 0);  y <- y + w - u.
    """
    import torch

    gram = 2 * dictionary @ dictionary.T
    gram.diagonal().add_(rho)
    factor = torch.linalg.cholesky(gram)
    linear = 2 * dictionary @ targets.T
    u = torch.zeros_like(linear)
    y = torch.zeros_like(linear)
    for _ in range(rounds):
        w = torch.cholesky_solve(linear + rho * (u - y), factor)
        u = torch.clamp(w + y - l1_penalty / rho, min=0)
        y = y + w - u
    return u.T


def fista(dictionary: Any, targets: Any, l1_penalty: float, rounds: int) -> Any:
    """Accelerated proximal gradient (Beck and Teboulle, 2009) with step 1 / (2 ||C||^2), restarted by batch round."""
    import torch

    step = 1.0 / (2.0 * float(torch.linalg.matrix_norm(dictionary, 2)) ** 2)
    w = torch.zeros(targets.shape[0], dictionary.shape[0], device=targets.device, dtype=targets.dtype)
    ahead, momentum = w, 1.0
    for _ in range(rounds):
        residual = targets - ahead @ dictionary
        new = torch.clamp(ahead + step * (2 * residual @ dictionary.T - l1_penalty), min=0)
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / grown * (new - w)
        w, momentum = new, grown
    return w


def largest_gap(dictionary: Any, targets: Any, weights: Any, l1_penalty: float) -> float:
    """Largest relative duality gap of a batch of dense codes, in float64."""
    import torch

    c, z, w = dictionary.double(), targets.double(), weights.double()
    residual = z - w @ c
    square, alignment = (residual**2).sum(1), (z * residual).sum(1)
    primal = square + l1_penalty * w.sum(1)
    largest = (residual @ c.T).amax(1).clamp(min=1e-300)
    scale = torch.minimum(alignment / square.clamp(min=1e-300), l1_penalty / (2 * largest)).clamp(min=0)
    dual = 2 * scale * alignment - scale**2 * square
    return float(((primal - dual) / primal.clamp(min=1e-300)).max())


def rounds_to_gap(solver: Any, dictionary: Any, targets: Any, l1_penalty: float, gap: float, limit: int) -> int:
    """Fewest rounds, of 25, 50, 100, ..., after which a solver is within the gap on a sample; 0 if none up to limit."""
    rounds = 25
    while rounds <= limit:
        if largest_gap(dictionary, targets, solver(dictionary, targets, l1_penalty, rounds), l1_penalty) <= gap:
            return rounds
        rounds *= 2
    return 0
