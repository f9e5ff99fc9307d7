"""The kernels in plain NumPy and float64: slow, short, and what every other backend is tested against."""

from ..host import (
    beside,
    check_rows,
    empty,
    noise,
    open_device,
    place,
    prepare_bank,
    staged,
    to_host,
    upload,
    upload_staged,
)
from .nnlasso import certificate, nnlasso, nnlasso_l0, prepare_dictionary
from .ranks import all_ranks, prepare_patches, subtree_ranks
from .resize import resize_patches
from .resize_images import resize_image, resize_images
from .saliency import saliency_maps

__all__ = [
    "all_ranks",
    "beside",
    "certificate",
    "check_rows",
    "empty",
    "nnlasso",
    "nnlasso_l0",
    "noise",
    "open_device",
    "place",
    "prepare_bank",
    "prepare_dictionary",
    "prepare_patches",
    "resize_image",
    "resize_images",
    "resize_patches",
    "saliency_maps",
    "staged",
    "subtree_ranks",
    "to_host",
    "upload",
    "upload_staged",
]
