"""Types of the compiled CUDA module (csrc/cuda/bindings.cpp): addresses on the device, sizes, a stream."""

from collections.abc import Sequence

MAX_RANKED_CONCEPTS: int
CONCEPT_TILE: int

def split_rows(
    rows: int, count: int, dims: int, second_high: bool, pitch: int, out: int, invalid: int, stream: int, /
) -> None: ...
def subtree_maxima(
    data: int,
    rows: int,
    columns: int,
    pitch: int,
    indptr: int,
    indices: int,
    count: int,
    best: int,
    best_pitch: int,
    stream: int,
    /,
) -> None: ...
def count_greater(
    data: int, rows: int, columns: int, pitch: int, best: int, concepts: int, ranks: int, stream: int, /
) -> None: ...
def ranks_shared_bytes(concepts: int, room: int, /) -> int: ...
def all_ranks(
    data: int,
    rows: int,
    columns: int,
    pitch: int,
    levels: Sequence[int],
    sizes: Sequence[int],
    room: int,
    scratch: int,
    ranks: int,
    stream: int,
    /,
) -> None: ...
def saliency_maps(
    values: int,
    integers: bool,
    pitch: int,
    concepts: int,
    coverage: Sequence[int],
    shape: tuple[int, int],
    patches: int,
    blocks: int,
    means: int,
    maps: int,
    low: int,
    high: int,
    stream: int,
    /,
) -> None: ...
def tap_count(input: int, output: int, filter: int, /) -> int: ...
def fill_taps(axis: Sequence[int], count: int, output: int, filter: int, stream: int, /) -> None: ...
def resize_patches(
    image: int,
    width: int,
    boxes: int,
    rows: int,
    count: int,
    tallest: int,
    between: int,
    horizontal: Sequence[int],
    vertical: Sequence[int],
    sizes: Sequence[int],
    output: Sequence[int],
    filter: int,
    scale: Sequence[float],
    shift: Sequence[float],
    half: bool,
    out: int,
    stream: int,
    /,
) -> None: ...
def solve_shared_bytes(capacity: int, /) -> int: ...
def nnlasso_solve(
    dictionary: int,
    words: int,
    problems: Sequence[int],
    capacity: int,
    dims: int,
    active: int,
    count: int,
    tolerance: float,
    doubles: bool,
    residuals: int,
    stream: int,
    /,
) -> None: ...
def nnlasso_select(
    correlations: int,
    words: int,
    pitch: int,
    problems: Sequence[int],
    capacity: int,
    dims: int,
    active: int,
    count: int,
    signed: bool,
    tolerance: float,
    doubles: bool,
    stream: int,
    /,
) -> None: ...
def nnlasso_pack(
    dictionary: int,
    words: int,
    problems: Sequence[int],
    capacity: int,
    dims: int,
    count: int,
    indptr: int,
    indices: int,
    values: int,
    stream: int,
    /,
) -> None: ...
def nnlasso_path_segment(
    dictionary: int,
    words: int,
    paths: Sequence[int],
    capacity: int,
    dims: int,
    active: int,
    count: int,
    vectors: int,
    stream: int,
    /,
) -> None: ...
def nnlasso_path_event(
    correlations: int,
    words: int,
    pitch: int,
    paths: Sequence[int],
    capacity: int,
    dims: int,
    active: int,
    count: int,
    signed: bool,
    l0: int,
    stream: int,
    /,
) -> None: ...
