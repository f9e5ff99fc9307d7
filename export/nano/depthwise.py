"""Depthwise convolutions of tiny maps as batched matrix products: faster training on CPUs.

On 2 x 2 maps the backward pass of a 5 x 5 depthwise convolution spends most of its time on padding. There the
convolution is a (4, 4) matrix per channel, built from the same weights. Measured with mobilenetv4_conv_small at 64 px
on an AVX2 core: 0.245 s instead of 0.306 s for a training step of 64 crops. On 3 x 3 maps nothing is gained.
"""

from __future__ import annotations

import types

import torch


def _places(side: tuple[int, int], kernel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for output and input pixel, the kernel element that joins them, and whether there is one."""
    rows, columns = (grid.flatten() for grid in torch.meshgrid(*(torch.arange(n) for n in side), indexing="ij"))
    down = rows[None, :] - rows[:, None] + kernel // 2
    right = columns[None, :] - columns[:, None] + kernel // 2
    valid = (down >= 0) & (down < kernel) & (right >= 0) & (right < kernel)
    return (down * kernel + right).clamp(0, kernel * kernel - 1), valid


def _forward(self: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = images.shape
    if height * width > self.most_pixels:
        return self._conv_forward(images, self.weight, self.bias)
    key = (height, width)
    if key not in self.places:
        self.places[key] = tuple(x.to(images.device) for x in _places(key, self.kernel_size[0]))
    index, valid = self.places[key]
    pixels = height * width
    matrix = self.weight.flatten(1)[:, index.flatten()].view(channels, pixels, pixels) * valid
    rows = images.permute(1, 0, 2, 3).reshape(channels, count, pixels)
    found = torch.bmm(rows, matrix.transpose(1, 2)).view(channels, count, height, width)
    return found.permute(1, 0, 2, 3).contiguous(memory_format=torch.channels_last)


def speed_up(module: torch.nn.Module, most_pixels: int = 4) -> int:
    """Replace the forward pass of stride-1 depthwise convolutions without bias; return how many there are."""
    changed = 0
    for layer in module.modules():
        if (
            isinstance(layer, torch.nn.Conv2d)
            and layer.groups == layer.in_channels == layer.out_channels
            and layer.stride == (1, 1)
            and layer.bias is None
            and layer.kernel_size[0] == layer.kernel_size[1]
            and tuple(layer.padding) == (layer.kernel_size[0] // 2,) * 2
        ):
            layer.most_pixels, layer.places = most_pixels, {}
            layer.forward = types.MethodType(_forward, layer)
            changed += 1
    return changed
