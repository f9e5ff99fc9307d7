"""The nonnegative lasso on the device (``csrc/cuda/nnlasso.h`` describes the method)."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..contract import Array, PreparedDictionary
from ..csr import Lists, SparseCodes
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import check_rows, pointer, upload
from .device import DeviceArray, device_limit, finish_uploads, require, stream
from .product import product

CAPACITIES = (64, 128)  # words a problem may hold at once: fast, then many
_STATIC_BYTES = 1024  # of shared memory that the kernels of a problem use besides
_BATCH = 4096
_CORRELATION_BYTES = 512 << 20
_MOST_ROUNDS = 100
_DOUBLE_BELOW = 1e-5  # relative gaps that float32 correlations cannot certify
_UNFINISHED, _STALLED, _OVERFLOW = 0, 2, 3  # csrc/cuda/nnlasso.h

Tier = tuple[npt.NDArray[np.int64], SparseCodes]  # problems, and their codes


class Prepared:
    """Rows of a dictionary on the device, in float64, too, where a tolerance asks for it."""

    def __init__(self, rows: object) -> None:
        self.rows = checked(rows, "dictionary")
        finish_uploads()
        self.shape: tuple[int, int] = (int(self.rows.shape[0]), int(self.rows.shape[1]))
        self._doubles: DeviceArray = None

    def factor(self, doubles: bool) -> DeviceArray:
        """The rows as the product takes them."""
        if doubles and self._doubles is None:
            self._doubles = self.rows.astype(np.float64)
        return self._doubles if doubles else self.rows


def prepare_dictionary(rows: Array, *, num_threads: int | None = None) -> Prepared:
    """The rows on the device."""
    check_num_threads(num_threads)
    return Prepared(rows)


def checked(rows: object, name: str, columns: int | None = None) -> DeviceArray:
    """Finite float32 rows on the device."""
    array = upload(check_rows(rows, name))
    arguments.rows_shape(name, array.shape, columns)
    return array


def nnlasso(
    dictionary: Array | PreparedDictionary,
    targets: Array,
    l1_penalty: float | Array,
    warm_start: SparseCodes | None = None,
    *,
    signed: bool = False,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """Many problems at once.

    Results are CuPy arrays where the targets are on the device. Correlations are made in float32 for a tolerance of
    1e-5 or more, and in float64 below: where 1e-4 is enough, ask for 1e-4. A problem that needs more than 128 words at
    once is finished on the CPU, with the same certificate.
    """
    check_num_threads(num_threads)
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(dictionary)
    rows = checked(targets, "targets", prepared.shape[1])
    penalties = arguments.l1_penalty(to_host(l1_penalty), len(rows))
    tolerance = arguments.tolerance(tolerance)
    if warm_start is not None:
        warm_start = SparseCodes(*map(to_host, warm_start))
    warm = arguments.warm_start(warm_start, len(rows), prepared.shape[0], signed)
    at_once = max(1, min(_BATCH, _CORRELATION_BYTES // (8 * max(prepared.shape[0], 1))))
    parts = []
    for start in range(0, max(len(rows), 1), at_once):
        stop = min(start + at_once, len(rows))
        some = warm.select(range(start, stop))
        parts.append(_solve(prepared, rows[start:stop], penalties[start:stop], some, signed, tolerance))
    host = is_host(targets)
    codes = parts[0] if len(parts) == 1 else joined(parts)
    return SparseCodes(*map(to_host, codes)) if host else codes


def _solve(
    prepared: Prepared,
    targets: DeviceArray,
    penalties: npt.NDArray[np.float64],
    warm: Lists,
    signed: bool,
    tolerance: float,
) -> SparseCodes:
    """One batch: everything at the small capacity, what overflows at the large one, and the rest on the CPU."""
    chosen = np.arange(len(targets))
    tiers: list[Tier] = []
    for capacity in capacities():
        batch = _Batch(prepared, targets[chosen] if tiers else targets, penalties[chosen], warm, capacity, signed)
        overflowed = batch.run(tolerance)
        tiers.append((chosen, batch.codes()))
        if len(overflowed) == 0:
            break
        so_far = SparseCodes(*map(to_host, tiers[-1][1])).select(overflowed)
        warm = arguments.warm_start(so_far, len(overflowed), prepared.shape[0], signed)
        chosen = chosen[overflowed]
    else:
        from .. import cpu

        rows, hard = to_host(prepared.rows), np.ascontiguousarray(to_host(targets)[chosen])
        hints = supports(warm, prepared.shape[0])
        codes = cpu.nnlasso(rows, hard, penalties[chosen], hints, signed=signed, tolerance=tolerance)
        tiers.append((chosen, codes))
    return tiers[0][1] if len(tiers) == 1 else _merged(tiers)


def capacities() -> tuple[int, ...]:
    """``CAPACITIES``, cut to what this device's shared memory has room for."""
    return _fitting(CAPACITIES, device_limit("MaxSharedMemoryPerBlockOptin") - _STATIC_BYTES)


@functools.lru_cache(maxsize=16)
def _fitting(wished: tuple[int, ...], room: int) -> tuple[int, ...]:
    require()
    from .. import _cuda as native

    most = max((words for words in range(1, max(wished) + 1) if native.solve_shared_bytes(words) <= room), default=1)
    return tuple(sorted({min(words, most) for words in wished}))


def supports(words: Lists, count: int) -> SparseCodes:
    """Words to start from, mirrored ones among them, as codes; only the signs of their weights mean anything.

    Examples
    --------
    >>> codes = supports(Lists.of([[3, 17]]), 10)
    >>> codes.indices, codes.values
    (array([3, 7], dtype=int32), array([ 1., -1.]))
    """
    mirrored, unread = words.indices >= count, np.empty(0)
    indices = np.where(mirrored, words.indices - count, words.indices).astype(np.int32)
    signs = np.where(mirrored, -1.0, 1.0)
    return SparseCodes(words.indptr, indices, signs, unread, unread, unread, unread.astype(np.int32))


def _merged(tiers: list[Tier]) -> SparseCodes:
    """Codes of the first tier, with those of later tiers in place of the problems they solved again."""
    xp = require()
    first = SparseCodes(*map(to_host, tiers[0][1]))
    rows, gap, kkt, rounds = first.rows(), first.gap.copy(), first.kkt.copy(), first.rounds.copy()
    for chosen, codes in tiers[1:]:
        later = SparseCodes(*map(to_host, codes))
        for i, row in zip(chosen, later.rows(), strict=True):
            rows[i] = row
        gap[chosen], kkt[chosen] = later.gap, later.kkt
        rounds[chosen] += later.rounds
    return SparseCodes(*map(xp.asarray, SparseCodes.of(rows, first.l1_penalty, gap, kkt, rounds)))


def joined(parts: list[SparseCodes]) -> SparseCodes:
    """:meth:`SparseCodes.joined` on the device."""
    xp = require()
    offsets = np.cumsum([0, *(len(part.indices) for part in parts)])
    starts = [part.indptr[:-1] + int(offset) for part, offset in zip(parts, offsets, strict=False)]
    indptr = xp.concatenate([*starts, xp.asarray(offsets[-1:].astype(np.int64))])
    return SparseCodes(indptr, *(xp.concatenate(list(fields)) for fields in list(zip(*parts, strict=True))[1:]))


class _Batch:
    """The arrays of a batch on the device, and the rounds that solve it."""

    def __init__(
        self,
        prepared: Prepared,
        targets: DeviceArray,
        penalties: npt.NDArray[np.float64],
        warm: Lists,
        capacity: int,
        signed: bool,
    ) -> None:
        xp = require()
        self._signed = signed
        self._prepared, self._capacity, self._count = prepared, capacity, len(targets)
        words, counts = _first_words(warm, capacity, 2 * prepared.shape[0])
        n = self._count
        self._penalties, self._words, self._tried = xp.asarray(penalties), xp.asarray(words), xp.asarray(counts)
        self._weights = xp.zeros((n, capacity), np.float64)
        self._support, self._status, self._rounds = (xp.zeros(n, np.int32) for _ in range(3))
        self._primal = xp.full(n, np.inf, np.float64)
        self._square, self._alignment, self._gap, self._kkt = (xp.zeros(n, np.float64) for _ in range(4))
        self._targets = xp.ascontiguousarray(targets)
        # In the order of the fields of Problems in csrc/cuda/nnlasso.h.
        self._fields = (
            self._targets,
            self._penalties,
            self._words,
            self._weights,
            self._support,
            self._tried,
            self._primal,
            self._square,
            self._alignment,
            self._gap,
            self._kkt,
            self._status,
        )

    def _arguments(self) -> tuple[tuple[int, ...], int, int]:
        return tuple(map(pointer, self._fields)), self._capacity, self._prepared.shape[1]

    def run(self, tolerance: float) -> npt.NDArray[np.int64]:
        """Solve until every problem is certified, stalls or overflows; returns those that overflow."""
        xp = require()
        from .. import _cuda as native

        doubles = tolerance < _DOUBLE_BELOW
        number = np.float64 if doubles else np.float32
        rows, (words, dims) = pointer(self._prepared.rows), self._prepared.shape
        residuals = xp.empty((self._count, dims), number)
        correlations = xp.empty((self._count, max(words, 1)), number)
        active = xp.arange(self._count, dtype=np.int32)
        for _ in range(_MOST_ROUNDS):
            busy = len(active)
            if busy == 0:
                break
            problems, to_do = self._arguments(), pointer(active)
            native.nnlasso_solve(rows, words, *problems, to_do, busy, tolerance, doubles, pointer(residuals), stream())
            product(residuals[:busy], self._prepared.factor(doubles), correlations[:busy])
            pitch = correlations.shape[1]
            native.nnlasso_select(
                pointer(correlations), words, pitch, *problems, to_do, busy, self._signed, tolerance, doubles, stream()
            )
            self._rounds[active] += 1
            active = xp.flatnonzero(self._status == _UNFINISHED).astype(np.int32)  # waits for the round
        return np.flatnonzero(to_host(self._status) == _OVERFLOW)

    def codes(self) -> SparseCodes:
        """What the batch holds now."""
        xp = require()
        from .. import _cuda as native

        indptr = xp.zeros(self._count + 1, np.int64)
        indptr[1:] = xp.cumsum(self._support, dtype=np.int64)
        total = int(indptr[-1])
        indices, values = xp.empty(total, np.int32), xp.empty(total, np.float64)
        rows, words = pointer(self._prepared.rows), self._prepared.shape[0]
        out = (pointer(indptr), pointer(indices), pointer(values))
        native.nnlasso_pack(rows, words, *self._arguments(), self._count, *out, stream())
        return SparseCodes(indptr, indices, values, self._penalties, self._gap, self._kkt, self._rounds)


def _first_words(warm: Lists, capacity: int, dictionary: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Distinct words to try first, at most ``capacity`` per problem, and how many.

    Examples
    --------
    >>> _first_words(Lists.of([[5, 5, 2], [7]]), 2, 10)
    (array([[2, 5],
           [7, 0]], dtype=int32), array([2, 1], dtype=int32))
    """
    count = len(warm.lengths)
    keys = np.unique(warm.owners * max(dictionary, 1) + warm.indices)
    problems, words = keys // max(dictionary, 1), keys % max(dictionary, 1)
    place = np.arange(len(keys)) - np.searchsorted(problems, problems)
    tried = place < capacity
    result = np.zeros((count, capacity), np.int32)
    result[problems[tried], place[tried]] = words[tried]
    return result, np.bincount(problems[tried], minlength=count).astype(np.int32)
