"""The kernels on an NVIDIA GPU: argument checks in Python, work in ``csrc/cuda`` on CuPy's current stream.

Large arrays may be CuPy's or anything with ``__cuda_array_interface__`` or DLPack (taken without a copy), and then
results are CuPy arrays; NumPy arrays are uploaded, and results come back as NumPy arrays. Geometry (boxes, weights,
lists, graphs) is small and read on the host. This package imports anywhere; CuPy is imported at the first call.
"""

from ..host import to_host
from .arrays import beside, check_rows, empty, noise, staged, upload, upload_staged
from .device import open_device, place
from .nnlasso import nnlasso, prepare_dictionary
from .nnlasso_path import nnlasso_l0
from .ranks import all_ranks, prepare_bank, prepare_patches, subtree_ranks
from .resize import resize_image, resize_patches
from .resize_images import resize_images
from .saliency import saliency_maps

__all__ = [
    "all_ranks",
    "beside",
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
