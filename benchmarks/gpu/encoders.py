"""The image towers of ViT-B/32 and ViT-B/16 with random weights: the time of an encoder does not depend on them.

With ``dense``, a tower gives the rows of its tokens beside that of the picture, the last block changed as by ClearCLIP
(Lan et al. 2024, arXiv 2407.12442): attention of queries to queries, no residual, no perceptron.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, DIM, SIDE = 768, 12, 12, 512, 224


def vision_transformer(
    patch: int, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS, side: int = SIDE, dense: bool = False
) -> Any:
    """CLIP's vision transformer (pre-norm, QuickGELU left out for GELU as in OpenCLIP), unit rows out.

    Rows are (n, 512), and (n, 1 + tokens, 512) with `dense`, the picture's own first.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def parts(self, x: Any) -> Any:
            n, tokens, _ = x.shape
            return self.inward(self.first(x)).view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)

        def attend(self, queries: Any, keys: Any, values: Any) -> Any:
            seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
            return self.outward(seen.transpose(1, 2).flatten(2))

        def forward(self, x: Any) -> Any:
            x = x + self.attend(*self.parts(x))
            return x + self.mix(self.second(x))

        def places(self, x: Any) -> Any:
            queries, _, values = self.parts(x)
            return self.attend(queries, queries, values)

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, patch, patch, bias=False)
            self.start = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
            self.positions = nn.Parameter(torch.randn(1, (SIDE // patch) ** 2 + 1, width) / width**0.5)
            self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.project = nn.Linear(width, DIM, bias=False)

        def forward(self, pixels: Any) -> Any:
            x = self.stem(pixels).flatten(2).transpose(1, 2)
            x = self.before(torch.cat([self.start.expand(len(x), -1, -1), x], 1) + self.positions)
            for block in self.blocks[:-1]:
                x = block(x)
            rows = self.blocks[-1](x)[:, :1]
            if dense:
                rows = torch.cat([rows, self.blocks[-1].places(x)[:, 1:]], 1)
            rows = nn.functional.normalize(self.project(self.after(rows)).float(), dim=-1)
            return rows if dense else rows[:, 0]

    torch.manual_seed(0)
    return Tower().eval()


def flops(patch: int, images: int) -> float:
    """Multiply-adds of the products, twice: stem, attention, perceptrons.

    >>> round(flops(32, 1) / 1e9, 1)
    8.8
    """
    tokens = (SIDE // patch) ** 2 + 1
    per_layer = 12 * tokens * WIDTH**2 + 2 * tokens**2 * WIDTH
    stem = (tokens - 1) * 3 * patch**2 * WIDTH
    return 2.0 * images * (LAYERS * per_layer + stem + WIDTH * DIM)


def export_onnx(patch: int, folder: Path) -> Path:
    """The tower as ONNX with a free batch size, for the other runtimes."""
    import torch

    path = folder / f"vit_b_{patch}.onnx"
    if not path.exists():
        pixels = torch.zeros(2, 3, SIDE, SIDE)
        axes = {"pixels": {0: "n"}, "embeddings": {0: "n"}}
        torch.onnx.export(
            vision_transformer(patch),
            (pixels,),
            str(path),
            input_names=["pixels"],
            output_names=["embeddings"],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    return path
