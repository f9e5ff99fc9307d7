"""The compiled solver on a real problem: the development model's embeddings of 10,000 words and of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import Lasso

from fastconcept.kernels import cpu, reference

Rows = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def real(shared: Path, pytestconfig: pytest.Config) -> tuple[Rows, Rows]:
    """Dictionary (10000, d) and targets (8, d) as SpLiCE makes them; kept in pytest's cache, for they take time."""
    model, words = shared / "models" / "teacher", shared / "reference" / "splice" / "laion.txt"
    images = sorted((shared / "data" / "dev" / "images").glob("*"))[:64] if (shared / "data" / "dev").is_dir() else []
    if not (model.is_dir() and words.is_file() and images):
        pytest.skip(f"no development model, words or images under {shared}")
    cache = getattr(pytestconfig, "cache", None)
    if cache is None:
        pytest.skip("pytest's cache is switched off (the sanitizers' run does), and encoding the words takes a minute")
    stored = cache.mkdir("real-dictionary") / "teacher.npz"
    if not stored.is_file():
        dictionary, targets = _encode(model, words.read_text().splitlines()[-10_000:], images)
        np.savez(stored, dictionary=dictionary, targets=targets[:8])
    with np.load(stored) as arrays:
        return arrays["dictionary"], arrays["targets"]


def _encode(model_path: Path, words: list[str], images: list[Path]) -> tuple[Rows, Rows]:
    open_clip = pytest.importorskip("open_clip")
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model_path}")
    model.eval()
    tokens = tokenizer(words)
    longest = int((tokens != 0).sum(dim=1).max())
    with torch.no_grad():
        # Attention is causal and the end token is pooled: padding changes nothing but the time.
        model.positional_embedding = torch.nn.Parameter(model.positional_embedding[:longest])
        model.attn_mask = model.attn_mask[:longest, :longest]
        texts = torch.cat([model.encode_text(batch) for batch in tokens[:, :longest].split(500)])
        pixels = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in images])
        pictures = model.encode_image(pixels)
    return _centred(texts.numpy()), _centred(pictures.numpy())


def _centred(rows: npt.NDArray[np.float32]) -> Rows:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0, dtype=np.float64)
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("penalty", [0.15, 0.25, 0.35])
def test_objective_and_kkt_agree_with_scikit_learn(real: tuple[Rows, Rows], penalty: float) -> None:
    dictionary, targets = real
    codes = cpu.nnlasso(cpu.prepare_dictionary(dictionary), targets, penalty)
    assert codes.gap.max() <= 1e-6
    rows = dictionary.astype(np.float64)
    for i, target in enumerate(targets[:4].astype(np.float64)):
        # alpha as SpLiCE calls it; in float64 and to the end, so that the comparison is about the problem
        peer = Lasso(alpha=penalty / (2 * len(target)), fit_intercept=False, positive=True, tol=1e-9, max_iter=20_000)
        weights = peer.fit(rows.T, target).coef_
        used = np.flatnonzero(weights).astype(np.int32)
        theirs = _objective(rows, target, used, weights[used], penalty)
        indices, values = codes.row(i)
        assert _objective(rows, target, indices, values, penalty) == pytest.approx(theirs, rel=1e-6)
        gap, kkt = reference.certificate(rows, target, indices, values, penalty)
        assert gap <= 1e-6
        assert kkt <= 1e-6 * penalty
        assert kkt <= reference.certificate(rows, target, used, weights[used], penalty)[1] + 1e-12


def _objective(
    rows: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    indices: npt.NDArray[np.int32],
    values: npt.NDArray[np.float64],
    penalty: float,
) -> float:
    residual = target - values @ rows[indices]
    return float(residual @ residual + penalty * values.sum())


def test_number_of_words(real: tuple[Rows, Rows]) -> None:
    dictionary, targets = real
    codes = cpu.nnlasso_l0(cpu.prepare_dictionary(dictionary), targets, 10)
    assert list(np.diff(codes.indptr)) == [10] * len(targets)
    assert codes.gap.max() <= 1e-6
