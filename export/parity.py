"""Parity: how close the exported model is to the original, measured in every export and stored in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..encoders.onnx import ImageEncoder, TextEncoder
from ..encoders.preprocess import preprocess_image
from ..encoders.providers import first_line
from ..encoders.tokenizer import Tokenizer
from ..errors import ExportError
from .model import Model, run_tower
from .tokenizer import original_tokens

if TYPE_CHECKING:
    import torch

MIN_COSINE = 0.99999  # of float32 embeddings, over every image and every text
MIN_IMAGES, MIN_TEXTS = 64, 256
_BATCH = 16
_UNIT = 1e-3  # largest error of the length of a row
_SAME = 1e-6  # no coordinate of unit rows differs by more: nothing could be told apart by them
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


@dataclass(frozen=True)
class Original:
    """What a model itself makes of the pictures and texts of a parity report."""

    pixels: tuple[npt.NDArray[np.float32], ...]  # batches as the bundle prepares them; patches of their own size
    image_rows: npt.NDArray[np.float32]  # (n, d), a row of each picture, and of each patch, in the order of ``pixels``
    difference: float | None  # largest between ``pixels`` and the model's own transform, where it has one
    texts: Sequence[str]
    tokens: npt.NDArray[np.int64]  # (m, context_length)
    text_rows: npt.NDArray[np.float32]  # (m, d)


def run_original(model: Model, images: Sequence[npt.NDArray[np.uint8]], texts: Sequence[str]) -> Original:
    """Run a model on its pictures and texts by torch, with its own transform and tokenizer.

    Parameters
    ----------
    model : Model
    images : sequence of (H, W, 3) uint8
    texts : sequence of str

    Raises
    ------
    ExportError
        If its transform, its tokenizer or a tower fails, or all its images or texts get the same embedding.
    """
    difference, batches, rows, name = 0.0, [], [], f"the image tower of {model.name}"
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        prepared = np.stack([preprocess_image(image, model.preprocess) for image in batch])
        original = prepared if model.transform is None else _transformed(model, batch)
        difference = max(difference, float(np.abs(prepared - original).max()))
        rows.append(_rows(name, model, model.image, original))
        batches.append(prepared)
        if model.preprocess.patch_size is not None:
            patch = replace(model.preprocess, size=model.preprocess.patch_size, resize_mode="squash")
            patches = np.stack([preprocess_image(image, patch) for image in batch])
            rows.append(_rows(name, model, model.image, patches))
            batches.append(patches)
    image_rows = _distinct("image", np.concatenate(rows))
    tokens = original_tokens(model.tokenizer, texts, model.context_length)
    name, starts = f"the text tower of {model.name}", range(0, len(tokens), _BATCH)
    text_rows = np.concatenate([_rows(name, model, model.original_text, tokens[at : at + _BATCH]) for at in starts])
    return Original(
        pixels=tuple(batches),
        image_rows=image_rows,
        difference=None if model.transform is None else difference,
        texts=texts,
        tokens=tokens,
        text_rows=_distinct("text", text_rows),
    )


def measure_parity(
    original: Original, image_encoder: ImageEncoder, text_encoder: TextEncoder, dynamic_text: bool
) -> dict[str, Any]:
    """Compare exported encoders with the model they come from.

    Parameters
    ----------
    original : Original
    image_encoder, text_encoder
        The exported towers, run as a bundle runs them.
    dynamic_text : bool
        Whether the text tower takes short texts at their own length.

    Returns
    -------
    dict
        ``images`` and ``texts``: count, min_cosine and max_abs_difference from picture or string to embedding (pictures
        count twice where patches have a size of their own); ``preprocessing``: max_abs_difference of the encoder's
        input, None where the model has no transform of its own; ``tokens_equal``; ``min_cosine`` of all.
    """
    rows = np.concatenate([image_encoder.encode(pixels) for pixels in original.pixels])
    image_report = _compare(rows, original.image_rows)
    alone = 1 if dynamic_text else None  # in company a short text would be padded, as in the original
    text_report = _compare(text_encoder.encode(original.texts, batch_tokens=alone), original.text_rows)
    return {
        "min_cosine": min(image_report["min_cosine"], text_report["min_cosine"]),
        "images": image_report,
        "texts": text_report,
        "tokens_equal": same_tokens(text_encoder.tokenizer, original),
        "preprocessing": {"max_abs_difference": original.difference},
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
    check_tokens(report["tokens_equal"])


def check_tokens(equal: bool) -> None:
    """Raise :class:`ExportError` unless the exported tokenizer gives the tokens of the original."""
    if not equal:
        raise ExportError("the exported tokenizer gives other tokens than the original; please report the model")


def _distinct(kind: str, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if len(rows) > 1 and float(np.ptp(rows, axis=0).max()) < _SAME:
        raise ExportError(f"the model gives every {kind} the same embedding; are its weights loaded?")
    return rows


def _compare(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> dict[str, Any]:
    left, right = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return {
        "count": len(ours),
        "min_cosine": float(((left * right).sum(axis=1) / norms).min()),
        "max_abs_difference": float(np.abs(left - right).max()),
    }


def _transformed(model: Model, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Pixels (n, 3, h, w) as the model's own transform makes them."""
    from PIL import Image

    assert model.transform is not None
    try:
        pixels = np.stack([np.asarray(model.transform(Image.fromarray(image)), np.float32) for image in images])
    except Exception as error:  # the model's own code raises anything
        raise ExportError(f"the transform of {model.name} fails: {first_line(error)}") from error
    if pixels.shape[1:] != (3, *model.preprocess.size):
        expected = (3, *model.preprocess.size)
        raise ExportError(f"the transform of {model.name} returns {pixels.shape[1:]}, expected {expected}")
    if not np.isfinite(pixels).all():
        raise ExportError(f"the transform of {model.name} returns numbers that are not finite")
    return pixels


def _rows(name: str, model: Model, tower: torch.nn.Module, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Unit rows of a batch from torch."""
    import torch

    rows: npt.NDArray[np.float32] = run_tower(name, tower, torch.from_numpy(inputs)).numpy()
    if not (np.abs(np.linalg.norm(rows, axis=1) - 1) < _UNIT).all():
        raise ExportError(
            f"{name} returns an embedding of zeros, or of numbers too small or too large to have a direction; are its "
            "weights complete?"
        )
    if rows.shape[1] != model.embedding_dim:
        raise ExportError(f"{name} returns rows of {rows.shape[1]} here and of {model.embedding_dim} elsewhere")
    return rows


def same_tokens(tokenizer: Tokenizer, original: Original) -> bool:
    """Whether rows of the exported tokenizer, padded to the full length, are the original's."""
    ours = tokenizer(original.texts)
    if ours.shape[1] > original.tokens.shape[1]:
        return False
    padded = np.full_like(original.tokens, tokenizer.pad_id)
    padded[:, : ours.shape[1]] = ours
    return bool(np.array_equal(padded, original.tokens))
