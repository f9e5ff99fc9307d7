"""GEM's and LeGrad's own packages on given weights; ``benchmarks.dense`` runs this file in an environment of theirs.

They need an older open_clip than the export does: ``pip install gem_torch legrad_torch safetensors`` in an environment
without fastconcept. The file imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """``dense_peers.py FOLDER REPEATS``: reads ``weights.safetensors`` and ``pixels.npy``, writes rows and times."""
    import open_clip
    import torch
    from gem.gem_wrapper import GEMWrapper
    from legrad import LeWrapper
    from safetensors.torch import load_file

    folder, repeats = Path(sys.argv[1]), int(sys.argv[2])
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(settings["num_threads"])
    pixels, large = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("pixels", "large"))

    def fresh() -> Any:
        model = open_clip.create_model("ViT-B-16")
        model.load_state_dict(load_file(str(folder / "weights.safetensors")), strict=False)
        return model.eval()

    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    gem = GEMWrapper(fresh(), tokenizer)
    with torch.inference_mode():
        for name, given in (("pixels", pixels), ("large", large)):
            rows = torch.nn.functional.normalize(gem.model.visual(given)[0], dim=-1)
            np.save(folder / f"gem_{name}.npy", rows[:, 1:].numpy())
        times = {"gem_torch": _times(lambda: gem.model.visual(pixels), repeats)}
    legrad = LeWrapper(fresh())
    text = torch.nn.functional.normalize(torch.randn(1, 512, generator=torch.Generator().manual_seed(0)), dim=-1)
    times["legrad_torch"] = _times(lambda: legrad.compute_legrad(text, image=pixels), repeats)
    # LeGrad interpolates its positions in place, once: another size needs another model.
    whole = torch.nn.functional.normalize(LeWrapper(fresh()).encode_image(large), dim=-1)
    np.save(folder / "legrad_whole_large.npy", whole.detach().numpy())
    (folder / "times.json").write_text(json.dumps(times))


def _times(work: Any, repeats: int) -> list[float]:
    """Milliseconds of each call after a first one."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return times


if __name__ == "__main__":
    main()
