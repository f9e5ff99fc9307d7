"""Does the exported model say what the original says? Measured in every export, and kept in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.onnx import ImageEncoder, TextEncoder
from ..encoders.preprocess import preprocess_image
from ..encoders.tokenizer import Tokenizer
from ..errors import ExportError
from .clip import ClipModel

MIN_COSINE = 0.99999  # of float32 embeddings, over every image and every text
MIN_IMAGES, MIN_TEXTS = 64, 256
_BATCH = 16
_EDGE_TEXTS = (
    "",
    " ",
    "a",
    "I",
    "?",
    "!!!",
    "...",
    "'s",
    "don't won't we've I'm they'll he'd you're",
    "a  b\t\tc\n\nd",
    "UPPER lower MiXeD",
    "café Ångström Straße Łódź",
    "ŉ İstanbul ſ ß ẞ ǅ",
    "ﬁ ﬂ ﬆ ligatures",
    "ｆｕｌｌ ｗｉｄｔｈ",
    "&amp;lt;b&amp;gt; &lt;i&gt; &quot;q&quot; &#39;",
    "â€œmojibakeâ€\x9d sÃ£o",
    "日本語の文章です",
    "中文字符测试",
    "한국어 문장",
    "العربية نص",
    "עברית",
    "हिन्दी पाठ",
    "ไทย",
    "🙂 🙃 👩‍👩‍👧‍👦 🇩🇪 🏳️‍🌈",
    "e\u0301 combining n\u0303",
    "\u200bzero\u200dwidth\ufeff",
    "<start_of_text> a dog <end_of_text>",
    "<end_of_text>",
    "!<end_of_text>!",
    "<START_OF_TEXT>",
    "1234567890 3.14 1,000 ½ ²",
    "x" * 400,
    "word " * 300,
    "!?" * 200,
    "a.b.c.d/e\\f",
    "https://example.org/?q=1&r=2",
    "under_score-hyphen",
    "\x00\x1f\x7f",
    "(parentheses) [brackets] {braces}",
    "$100 €50 £20 100% #1 @home",
    "\u2028line\u2029separators",
    "K kelvin Å angstrom",
)
_NOUNS = ("dog", "cat", "bird", "tree", "house", "car", "boat", "river", "mountain", "chair", "table", "lamp")
_TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a blurry photo of two {}s at night",
    "any of various {}s with a {}",
    "A {} next to a {}.",
    "a long description of a {} that stands beside a {} while a third {} can be seen far behind it, near the old {}",
)


def parity_images(count: int = MIN_IMAGES, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Synthetic pictures of several kinds and shapes, (H, W, 3) uint8; the same for the same seed.

    Examples
    --------
    >>> pictures = parity_images(8)
    >>> len(pictures), pictures[0].dtype
    (8, dtype('uint8'))
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for index in range(count):
        height, width = (int(side) for side in rng.integers(20, 400, 2))
        rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
        colours = rng.uniform(0, 255, (2, 3))
        kind = index % 6
        if kind == 0:  # noise
            pixels = rng.uniform(0, 255, (height, width, 3))
        elif kind == 1:  # one colour, black and white among them
            pixels = np.broadcast_to(np.round(colours[0] / 255) * 255 if index % 4 else colours[0], (height, width, 3))
        else:
            angle = rng.uniform(0, np.pi)
            along = rows * np.sin(angle) + columns * np.cos(angle)
            frequency = float(rng.uniform(2, 60))
            distance = np.hypot(rows - rng.uniform(), columns - rng.uniform())
            weight = {
                2: (along - along.min()) / max(float(np.ptp(along)), 1e-9),  # gradient
                3: np.sin(along * frequency) > 0,  # stripes with sharp edges
                4: distance < rng.uniform(0.1, 0.6),  # a disc
                5: (np.sin(rows * frequency) * np.sin(columns * frequency) + 1) / 2,  # soft checks
            }[kind][..., None]
            pixels = weight * colours[0] + (1 - weight) * colours[1] + rng.normal(0, 6, (height, width, 3))
        pictures.append(np.clip(pixels, 0, 255).astype(np.uint8))
    return pictures


def parity_texts(extra: Sequence[str] = (), count: int = MIN_TEXTS, seed: int = 0) -> list[str]:
    """Strings that tokenizers and text towers stumble over, phrases, random Unicode, and a sample of ``extra``.

    At least ``count`` are returned, half of ``count`` at most from ``extra``.

    Examples
    --------
    >>> len(parity_texts(["furry animal"])) >= 256
    True
    """
    rng = np.random.default_rng(seed)
    texts = list(_EDGE_TEXTS)
    for index in rng.permutation(len(extra))[: count // 2]:
        texts.append(extra[index])
    for index in range(count // 4):
        template = _TEMPLATES[index % len(_TEMPLATES)]
        texts.append(template.format(*rng.choice(_NOUNS, template.count("{}"))))
    while len(texts) < count:
        points = rng.integers(1, int(rng.choice([0x250, 0x3000, 0x20000])), int(rng.integers(1, 60)))
        texts.append("".join(chr(point) for point in points if not 0xD800 <= point < 0xE000))
    return texts


def measure_parity(
    clip: ClipModel,
    image_encoder: ImageEncoder,
    text_encoder: TextEncoder,
    images: Sequence[npt.NDArray[np.uint8]],
    texts: Sequence[str],
) -> dict[str, Any]:
    """Compare exported encoders with the model they come from.

    Parameters
    ----------
    clip : ClipModel
        The original, run by torch with open_clip's own transform and tokenizer.
    image_encoder, text_encoder
        The exported, run as a bundle runs them.
    images : sequence of (H, W, 3) uint8
    texts : sequence of str

    Returns
    -------
    dict
        ``images`` and ``texts``: count, min_cosine, max_abs_difference from string or picture to embedding;
        ``preprocessing``: max_abs_difference of the encoder's input; ``tokens_equal``; ``min_cosine`` of all.
    """
    pixels, ours, theirs = 0.0, [], []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        exact, row = _torch_images(clip, batch)
        prepared = np.stack([preprocess_image(image, clip.preprocess) for image in batch])
        pixels = max(pixels, float(np.abs(prepared - exact).max()))
        ours.append(image_encoder.encode(prepared))
        theirs.append(row)
    image_report = _compare(np.concatenate(ours), np.concatenate(theirs))
    tokens, rows = _torch_texts(clip, texts)
    text_report = _compare(text_encoder.encode(texts), rows)
    tokenizer = text_encoder.tokenizer
    return {
        "min_cosine": min(image_report["min_cosine"], text_report["min_cosine"]),
        "images": image_report,
        "texts": text_report,
        "tokens_equal": _same_tokens(tokenizer, tokens, texts),
        "preprocessing": {"max_abs_difference": pixels},
    }


def check_parity(report: dict[str, Any], min_cosine: float = MIN_COSINE) -> None:
    """Raise :class:`ExportError` if a report of :func:`measure_parity` is below tolerance or over too little."""
    for kind, least in (("images", MIN_IMAGES), ("texts", MIN_TEXTS)):
        part = report[kind]
        if part["count"] < least:
            raise ExportError(f"parity was measured on {part['count']} {kind}, at least {least} are needed")
        if not part["min_cosine"] >= min_cosine:  # also when it is NaN
            raise ExportError(
                f"the exported model differs from the original on {kind}: min cosine {part['min_cosine']:.7f} "
                f"is below {min_cosine} (max difference {part['max_abs_difference']:.2e})"
            )
    if not report["tokens_equal"]:
        raise ExportError("the exported tokenizer gives other tokens than open_clip's; please report the model")


def _compare(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> dict[str, Any]:
    left, right = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return {
        "count": len(ours),
        "min_cosine": float(((left * right).sum(axis=1) / norms).min()),
        "max_abs_difference": float(np.abs(left - right).max()),
    }


def _torch_images(
    clip: ClipModel, images: Sequence[npt.NDArray[np.uint8]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Input and unit rows as open_clip makes them."""
    import torch
    from PIL import Image

    with torch.inference_mode():
        pixels = torch.stack([clip.transform(Image.fromarray(image)) for image in images])
        return pixels.numpy(), clip.model.encode_image(pixels, normalize=True).numpy()


def _torch_texts(clip: ClipModel, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Tokens and unit rows as open_clip makes them, always at the full context length."""
    import torch

    with torch.inference_mode():
        tokens = clip.tokenizer(list(texts))
        rows = [clip.model.encode_text(part, normalize=True) for part in tokens.split(_BATCH)]
        return tokens.numpy(), torch.cat(rows).numpy()


def _same_tokens(tokenizer: Tokenizer, tokens: npt.NDArray[np.int64], texts: Sequence[str]) -> bool:
    """Whether our rows, padded to the full length, are open_clip's."""
    ours = tokenizer(texts)
    if ours.shape[1] > tokens.shape[1]:
        return False
    padded = np.full_like(tokens, tokenizer.pad_id)
    padded[:, : ours.shape[1]] = ours
    return bool(np.array_equal(padded, tokens))
