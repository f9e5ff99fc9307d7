"""The regularisation path of the nonnegative lasso on the device (``csrc/cuda/nnlasso_path.cu``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..contract import Array, PreparedDictionary
from ..csr import Lists, SparseCodes
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import pointer
from .device import DeviceArray, require, stream
from .nnlasso import Prepared, capacities, checked, joined, nnlasso, supports
from .product import product

_CORRELATION_BYTES = 512 << 20
_LARGER = 1.05  # the next penalty to try where the path lost its way among near ties, as on the CPU
_MOST_ATTEMPTS = 240


def nnlasso_l0(
    dictionary: Array | PreparedDictionary,
    targets: Array,
    l0: int,
    *,
    signed: bool = False,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """All targets follow their paths together, one event a round, in float64.

    :func:`nnlasso` then certifies the code at the end of each path. Results are CuPy arrays where the targets are on
    the device.
    More than 128 words (fewer on a device with little shared memory) are left to the CPU kernel.
    """
    check_num_threads(num_threads)
    xp = require()
    l0, tolerance = arguments.l0(l0), arguments.tolerance(tolerance)
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(dictionary)
    rows = checked(targets, "targets", prepared.shape[1])
    host = is_host(targets)
    if l0 > capacities()[-1]:
        from .. import cpu

        codes = cpu.nnlasso_l0(
            to_host(prepared.rows), to_host(rows), l0, signed=signed, tolerance=tolerance, num_threads=num_threads
        )
        return codes if host else SparseCodes(*map(xp.asarray, codes))
    at_once = max(1, _CORRELATION_BYTES // (16 * max(prepared.shape[0], 1)))
    parts = [
        _solve(prepared, rows[start : start + at_once], l0, signed, tolerance)
        for start in range(0, max(len(rows), 1), at_once)
    ]
    codes = parts[0] if len(parts) == 1 else joined(parts)
    return SparseCodes(*map(to_host, codes)) if host else codes


def _solve(prepared: Prepared, targets: DeviceArray, l0: int, signed: bool, tolerance: float) -> SparseCodes:
    """Follow the paths of one batch, and certify where they end."""
    xp = require()
    penalties, words, rounds = _follow(prepared, targets, l0, signed)
    # A target that no word correlates with has no penalty; any above all its correlations gives its empty code.
    none = penalties <= 0
    ends = np.where(none, 1.0, penalties)
    for _ in range(_MOST_ATTEMPTS):
        codes = nnlasso(prepared, targets, ends, supports(words, prepared.shape[0]), signed=signed, tolerance=tolerance)
        many = np.diff(to_host(codes.indptr)) > l0
        if not many.any():
            break
        ends[many] *= _LARGER
    return codes._replace(
        l1_penalty=xp.asarray(np.where(none, 0.0, ends)),
        kkt=xp.asarray(np.where(none, 0.0, to_host(codes.kkt))),
        rounds=codes.rounds + xp.asarray(rounds),
    )


def _follow(
    prepared: Prepared, targets: DeviceArray, l0: int, signed: bool
) -> tuple[npt.NDArray[np.float64], Lists, npt.NDArray[np.int32]]:
    """The lambda at which each path ends, the words of its support there, and the rounds it took; on the host."""
    xp = require()
    from .. import _cuda as native

    count, (words, dims) = len(targets), prepared.shape
    capacity = next(size for size in capacities() if size >= l0)
    chosen, support = xp.zeros((count, capacity), np.int32), xp.zeros(count, np.int32)
    barred, penalty = xp.full(count, -1, np.int32), xp.full(count, np.inf, np.float64)
    alpha, beta = (xp.zeros((count, capacity), np.float64) for _ in range(2))
    floor, status = xp.zeros(count, np.float64), xp.zeros(count, np.int32)
    # In the order of the fields of Paths in csrc/cuda/nnlasso.h.
    fields = (xp.ascontiguousarray(targets), chosen, support, barred, penalty, floor, alpha, beta, status)
    paths = (tuple(map(pointer, fields)), capacity, dims)
    vectors = xp.empty((2 * count, dims), np.float64)
    correlations = xp.empty((2 * count, max(words, 1)), np.float64)
    rounds, active = np.zeros(count, np.int32), xp.arange(count, dtype=np.int32)
    for _ in range(100 + 20 * l0):
        busy = len(active)
        if busy == 0:
            break
        native.nnlasso_path_segment(
            pointer(prepared.rows), words, *paths, pointer(active), busy, pointer(vectors), stream()
        )
        product(vectors[: 2 * busy], prepared.factor(True), correlations[: 2 * busy])
        native.nnlasso_path_event(
            pointer(correlations), words, correlations.shape[1], *paths, pointer(active), busy, signed, l0, stream()
        )
        rounds[to_host(active)] += 1
        active = xp.flatnonzero(status == 0).astype(np.int32)  # waits for the round
    words_of = Lists.of(row[:length] for row, length in zip(to_host(chosen), to_host(support), strict=True))
    return to_host(penalty), words_of, rounds
