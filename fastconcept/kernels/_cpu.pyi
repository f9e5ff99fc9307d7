"""Types of the compiled CPU module (csrc/cpu/bindings.cpp)."""

import enum

import numpy as np
import numpy.typing as npt

def cpu_features() -> dict[str, bool | str]: ...
def set_blas(sgemm: int, sgemv: int) -> None: ...

class Bank:
    def __init__(self, rows: npt.NDArray[np.float32], num_threads: int | None) -> None: ...
    @property
    def nbytes(self) -> int: ...

class Product(enum.Enum):
    BLAS = ...
    AVX2 = ...
    AVX512 = ...
    TWIN = ...

def product() -> Product: ...
def choose_product(wanted: Product) -> bool: ...
def subtree_ranks(
    patches: npt.NDArray[np.float32],
    bank: Bank,
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int64],
    queries: npt.NDArray[np.float32],
    known: npt.NDArray[np.float32] | None,
    num_threads: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...
def multiply_all(patches: npt.NDArray[np.float32], bank: Bank, num_threads: int) -> npt.NDArray[np.float32]: ...
def all_ranks(
    patches: npt.NDArray[np.float32],
    bank: Bank,
    child_indptr: npt.NDArray[np.int64],
    child_indices: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    num_threads: int,
) -> npt.NDArray[np.int32]: ...
def saliency_maps(
    values: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    boxes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float64],
    height: int,
    width: int,
    num_threads: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def resize_patches(
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.int32],
    mean: npt.NDArray[np.float64],
    std: npt.NDArray[np.float64],
    bicubic: bool,
    out: npt.NDArray[np.float32],
    num_threads: int,
) -> None: ...
def resize_image(image: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], num_threads: int) -> None: ...
def resize_images(
    images: list[npt.NDArray[np.uint8]],
    placements: npt.NDArray[np.int64],
    mean: npt.NDArray[np.float64],
    std: npt.NDArray[np.float64],
    bicubic: bool,
    fill: int,
    out: npt.NDArray[np.float32],
    num_threads: int,
) -> None: ...

_Codes = tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int32],
]

class NnlassoDictionary:
    def __init__(
        self, rows: npt.NDArray[np.float32], basis: npt.NDArray[np.float32] | None, num_threads: int
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...

def nnlasso(
    dictionary: NnlassoDictionary,
    targets: npt.NDArray[np.float32],
    penalties: npt.NDArray[np.float64],
    warm_indptr: npt.NDArray[np.int64],
    warm_indices: npt.NDArray[np.int32],
    signed: bool,
    tolerance: float,
    num_threads: int,
) -> _Codes: ...
def nnlasso_screen(
    dictionary: NnlassoDictionary, targets: npt.NDArray[np.float32], value: float, num_threads: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]: ...
def nnlasso_l0(
    dictionary: NnlassoDictionary,
    targets: npt.NDArray[np.float32],
    l0: int,
    signed: bool,
    tolerance: float,
    num_threads: int,
) -> _Codes: ...
