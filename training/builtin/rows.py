"""Rows of many texts from the text tower, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def tokenize(texts: list[str]) -> NDArray[np.uint16]:
    """Return token ids (n, 77) of CLIP's vocabulary."""
    import open_clip

    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    rows = [tokenizer(texts[start : start + 4096]).numpy() for start in range(0, len(texts), 4096)]
    return np.concatenate(rows).astype(np.uint16)


def encode_short(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return unit rows of tokens (n, length) cut to the longest text, where open_clip wants all 77 positions."""
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    last = hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)]
    return torch.nn.functional.normalize(last @ model.text_projection, dim=1)


@torch.inference_mode()
def embed(model: Any, tokens: NDArray[np.uint16], device: str = "cpu", batch_size: int = 256) -> torch.Tensor:
    """Return unit text embeddings; rows are sorted by length so that no batch is padded further than it must be."""
    lengths = (tokens != 0).sum(1)
    order = np.argsort(lengths, kind="stable")
    result: torch.Tensor | None = None
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = torch.from_numpy(tokens[rows, : lengths[rows].max()].astype(np.int64)).to(device)
        encoded = encode_short(model, batch).float().cpu()
        if result is None:
            result = torch.empty(len(tokens), encoded.shape[1])
        result[torch.from_numpy(rows)] = encoded
    assert result is not None
    return result


def text_rows(model: Any, texts: list[str], cache: Path) -> NDArray[np.float32]:
    """Return unit rows (n, d) of texts that may repeat; texts that `cache` holds are not encoded again.

    Parameters
    ----------
    model : torch.nn.Module
        Text tower.
    texts : list of str
    cache : Path
        A ``.npz`` file, written anew if a text is missing. It is of one text tower: delete it when that changes.
    """
    known: dict[str, NDArray[np.float16]] = {}
    if cache.exists():
        with np.load(cache) as archive:
            known = dict(zip(archive["texts"].tolist(), archive["rows"], strict=True))
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        known |= zip(missing, embed(model, tokenize(missing)).numpy().astype(np.float16), strict=True)
        np.savez(cache, texts=np.array(list(known)), rows=np.stack(list(known.values())))
    rows = np.stack([known[text] for text in texts]).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
