"""Class evidence of the teacher at every place of a photograph: one forward pass labels all crops of it.

The teacher's 1280 trunk features are averaged over the image before its 1001-way classifier, and averaging commutes
with that linear map. So the classifier applied to each cell of the last feature map gives logits whose mean over any
region is the logit of that region (class activation maps). A crop is labelled by the mean over the cells it covers.
Logits are kept as bytes: 49 kB a photograph, so that 200,000 photographs stay in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

CELLS = 7
SIDE = 224  # of the teacher's input
STEP = 0.2  # of a kept logit; they spread by about 3, and the 8-bit teacher's own step is 0.1


def load_region_logits(shared: Path, path: Path, photos: NDArray[np.uint8], device: str = "cpu") -> NDArray[np.int8]:
    """Return logits / STEP (n, 49, 1000) of every cell of every photograph, computed once and kept in `path`."""
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        array = np.lib.format.open_memmap(partial, "w+", np.int8, (len(photos), CELLS * CELLS, 1000))
        _label(shared, photos, array, device)
        array.flush()
        partial.rename(path)
    found = np.load(path, mmap_mode="r")
    if len(found) != len(photos):
        raise ValueError(f"{path} was made from {len(found)} photographs, not these {len(photos)}; delete it")
    return found


def _label(shared: Path, photos: NDArray[np.uint8], array: NDArray[np.int8], device: str) -> None:
    import open_clip

    teacher = shared / "models" / "teacher"
    trunk = open_clip.create_model(f"local-dir:{teacher}", device=device).eval().visual.trunk
    with np.load(teacher / "classifier_head.npz") as head:
        weight, bias = (torch.from_numpy(np.ascontiguousarray(x)).float() for x in _matrix_and_bias(head))
    cells = _CellLogits(trunk, weight[:, 1:], bias[1:]).eval().to(device)
    run = _on_cpu(cells) if device == "cpu" else cells
    for start in range(0, len(photos), 32):
        images = torch.from_numpy(np.array(photos[start : start + 32])).to(device).permute(0, 3, 1, 2).float()
        images = torch.nn.functional.interpolate(images, size=SIDE, mode="bicubic", antialias=False).clamp(0, 255)
        with torch.inference_mode():
            array[start : start + 32] = _as_bytes(run((images - 128) / 128)).cpu().numpy()
        if start % 1024 == 0:
            print(f"regions {start}/{len(photos)}", flush=True)


def _as_bytes(logits: torch.Tensor) -> torch.Tensor:
    return (logits / STEP).round().clamp(-127, 127).to(torch.int8)


class _CellLogits(torch.nn.Module):
    """Images (n, 3, 224, 224) to class logits (n, 49, 1000) of the cells of the last feature map."""

    def __init__(self, trunk: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.trunk.forward_features(images)
        return features.flatten(2).transpose(1, 2) @ self.weight + self.bias


def _on_cpu(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Run a module through ONNX Runtime, which is three times as fast as torch on depthwise networks."""
    import onnxruntime

    example = torch.zeros(2, 3, SIDE, SIDE)
    batch = {0: torch.export.Dim.DYNAMIC}
    with torch.inference_mode():
        program = torch.onnx.export(module, (example,), dynamic_shapes=(batch,), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])


def _matrix_and_bias(head: np.lib.npyio.NpzFile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    arrays = [head[name] for name in head.files]
    matrix = next(a for a in arrays if a.ndim == 2)
    bias = next(a for a in arrays if a.ndim == 1 and a.shape[0] in (1001,))
    return (matrix if matrix.shape[0] == 1280 else matrix.T), bias


def region_weights(boxes: torch.Tensor) -> torch.Tensor:
    """Return the share (n, 49) of each cell in boxes (n, 4) given as x0, y0, x1, y1 in units of the photograph."""
    edges = torch.arange(CELLS + 1, dtype=boxes.dtype, device=boxes.device) / CELLS
    spans = []
    for low, high in ((boxes[:, 1], boxes[:, 3]), (boxes[:, 0], boxes[:, 2])):
        overlap = torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])
        spans.append(overlap.clamp_min(0))
    weights = (spans[0][:, :, None] * spans[1][:, None, :]).flatten(1)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
