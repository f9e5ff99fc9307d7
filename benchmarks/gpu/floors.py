"""What no version can beat: bytes over bandwidth, operations over the rate of the unit that does them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Ceilings(NamedTuple):
    """Rates measured on this card: bytes per second, and operations per second by type."""

    bandwidth: float
    float16: float
    float32: float
    float64: float


class Work(NamedTuple):
    """Fewest bytes a job moves through device memory, and the operations of its products."""

    bytes: float
    operations: float = 0.0
    unit: str = "float16"


def floor_ms(work: Work, ceilings: Ceilings) -> float:
    """The larger of the two times.

    >>> floor_ms(Work(4e9, 2e12), Ceilings(4e12, 8e14, 5e13, 6e13))
    2.5
    """
    return 1e3 * max(work.bytes / ceilings.bandwidth, work.operations / getattr(ceilings, work.unit))


def ranks_work(patches: int, concepts: int, dims: int, results: int) -> Work:
    """Three half-precision products, the split bank read once, the results written once."""
    return Work(6.0 * concepts * dims + 4.0 * patches * results, 3 * 2.0 * patches * concepts * dims)


def maps_work(patches: int, concepts: int, cells: int) -> Work:
    """Values read once, maps written once."""
    return Work(4.0 * concepts * (patches + cells))


def resize_work(boxes: int, pixels: int, image_bytes: int) -> Work:
    """The image read once, float32 results written once."""
    return Work(image_bytes + 12.0 * boxes * pixels)


def solve_work(problems: int, words: int, dims: int, doubles: bool = False) -> Work:
    """One product of all targets with the dictionary: no method that certifies its answer does with less."""
    size = 8.0 if doubles else 4.0
    operations = 2.0 * problems * words * dims
    return Work(size * (words * dims + problems * dims), operations, "float64" if doubles else "float32")


def measure_ceilings() -> dict[str, Any]:
    """Copy 4 GB (bytes read plus bytes written), and multiply random matrices of each type."""
    import cupy

    from .steps import median_ms

    source = cupy.random.random(1 << 29, dtype=cupy.float32)
    target = cupy.empty_like(source)
    copy = median_ms(lambda: cupy.copyto(target, source), repeat=10)["ms"]
    rates = {"bandwidth": 2 * source.nbytes / (copy / 1e3)}
    for name, side in (("float16", 8192), ("float32", 8192), ("float64", 4096)):
        left = cupy.random.random((side, side), dtype=cupy.float32).astype(name) - cupy.asarray(0.5, name)
        product = median_ms(lambda left=left: left @ left.T, repeat=10)["ms"]
        rates[name] = 2.0 * side**3 / (product / 1e3)
    return rates
