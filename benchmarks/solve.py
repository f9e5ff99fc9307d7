"""Sparse codes beside scikit-learn (as SpLiCE calls it), celer, skglm and the bare product that is their floor.

Every row carries the duality gap that was reached beside the time it took.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.models import random_units, teacher_bundle
from benchmarks.timing import SETTLE_S, medians_ms
from fastconcept.kernels import cpu, reference
from fastconcept.kernels.cpu.nnlasso import Prepared
from fastconcept.kernels.csr import SparseCodes

Rows = npt.NDArray[np.float32]

PENALTIES = (0.15, 0.25, 0.35)
BATCHES = (256, 4096)
IMAGES = 256  # photographs that are embedded; larger batches add mixtures of two of them


def synthetic(count: int) -> tuple[Rows, Rows]:
    """10,000 random unit words, and targets that mix 30 of them with noise."""
    rng = np.random.default_rng(0)
    words = random_units(10_000, 512, seed=1)
    targets = 0.05 * rng.standard_normal((count, 512))
    for target in targets:
        target += rng.uniform(0.1, 1.0, 30) @ words[rng.choice(len(words), 30, replace=False)]
    return words, _unit(targets)


def real(options: Any, count: int) -> tuple[Rows, Rows] | None:
    """The development model's dictionary of 10,000 words and its embeddings of photographs, where they are at hand."""
    bundle = teacher_bundle(options)
    if bundle is None or options.shared is None:
        return None
    import fastconcept

    engine = fastconcept.load(bundle)
    paths = sorted((options.shared / "data/dev/images").glob("*"))[: min(count, 16 if options.quick else IMAGES)]
    targets = _unit(engine.encode_image([str(path) for path in paths]) - engine.image_mean.astype(np.float64))
    if count > len(targets):
        rng = np.random.default_rng(2)
        left, right = rng.integers(0, len(targets), (2, count - len(targets)))
        share = rng.uniform(0.5, 1.0, (count - len(targets), 1))
        targets = np.concatenate([targets, _unit(share * targets[left] + (1 - share) * targets[right])])
    return engine.dictionary.embeddings, targets


def _unit(rows: npt.NDArray[Any]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def problems(options: Any, count: int) -> dict[str, tuple[Rows, Rows]]:
    """Dictionary and targets by name."""
    found = {"teacher x laion-10k": real(options, count), "synthetic 10k x 512": synthetic(count)}
    return {name: problem for name, problem in found.items() if problem is not None}


def peers(words: Rows, penalty: float) -> dict[str, Callable[[Rows], npt.NDArray[Any]]]:
    """Solvers of one target by name; those that are not installed are left out."""
    from sklearn.linear_model import Lasso

    arguments = {"alpha": penalty / (2 * words.shape[1]), "fit_intercept": False, "positive": True, "tol": 1e-6}
    found: dict[str, Any] = {"sklearn": Lasso(**arguments, max_iter=10_000)}  # as SpLiCE's "skl" solver calls it
    try:
        import celer

        found["celer"] = celer.Lasso(**arguments)
    except ImportError:
        pass
    try:
        import skglm

        found["skglm"] = skglm.Lasso(**arguments)
    except ImportError:
        pass
    columns = words.T  # d samples; in Fortran order, so that no peer has to copy it
    return {name: lambda z, model=model: model.fit(columns, z).coef_ for name, model in found.items()}


def clock(function: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of one call, and what it returned."""
    began = time.perf_counter()
    result = function()
    return (time.perf_counter() - began) * 1e3, result


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The same, begun when other threads have come to rest."""
    time.sleep(SETTLE_S)
    return clock(function)


def gap_of(words: Rows, target: Rows, weights: npt.NDArray[Any], penalty: float) -> float:
    """Relative duality gap of a dense answer, in float64."""
    used = np.flatnonzero(weights > 0).astype(np.int32)
    values = weights[used].astype(np.float64)
    return reference.certificate(words.astype(np.float64), target.astype(np.float64), used, values, penalty)[0]


def single(options: Any) -> list[dict[str, Any]]:
    """One target at a time: medians over targets. Solvers take turns, each over all targets with its data in cache."""
    count, turns = (3, 1) if options.quick else (12, 3)
    rows = []
    for name, (words, targets) in problems(options, count).items():
        preparation, prepared = timed(partial(cpu.prepare_dictionary, words))
        for penalty in PENALTIES:
            solvers: dict[str, Callable[[int], Any]] = {
                "ours": lambda i, words=prepared, z=targets, penalty=penalty: cpu.nnlasso(words, z[i : i + 1], penalty)
            }
            for peer, solve in peers(words, penalty).items():
                solvers[peer] = lambda i, solve=solve, targets=targets: solve(targets[i])
            times: dict[str, list[float]] = {solver: [] for solver in solvers}
            answers: dict[str, list[Any]] = {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # convergence of a peer shows in its gap
                for _ in range(turns):
                    for solver, solve_one in solvers.items():
                        timed(partial(solve_one, 0))
                        runs = [clock(partial(solve_one, i)) for i in range(count)]
                        times[solver] += [elapsed for elapsed, _ in runs]
                        answers[solver] = [answer for _, answer in runs]
            median = {solver: float(np.median(values)) for solver, values in times.items()}
            row: dict[str, Any] = {"case": name, "lambda": penalty, "ours_ms": median.pop("ours")}
            for peer, value in median.items():
                row |= {f"{peer}_ms": value, f"x_{peer}": value / row["ours_ms"]}
            row["gap_max"] = max(float(codes.gap[0]) for codes in answers["ours"])
            row["sklearn_gap_max"] = max(
                gap_of(words, target, weights, penalty)
                for target, weights in zip(targets[:count], answers["sklearn"], strict=True)
            )
            row["l0_mean"] = float(np.mean([len(codes.indices) for codes in answers["ours"]]))
            rows.append({**row, "prepare_ms": preparation})
    return rows


def screening(prepared: Prepared, targets: Rows, product: Rows) -> dict[str, Any]:
    """One 16-bit product with the dictionary, listing what passes, beside the same product by BLAS, listing nothing."""
    least = PENALTIES[1] / 2
    times = medians_ms(
        {
            "screen": lambda: prepared.screen(targets, least),
            "sgemm": lambda: np.matmul(targets, prepared.rows.T, out=product),
        },
        5,
    )
    listed = prepared.screen(targets, least).indices
    exact = int(np.count_nonzero(np.matmul(targets, prepared.rows.T, out=product) >= least))
    return {
        "screen_ms": times["screen"] / len(targets),
        "sgemm_ms": times["sgemm"] / len(targets),
        "x_sgemm": times["sgemm"] / times["screen"],
        "listed_beside_exact": len(listed) / max(exact, 1),
    }


def batch(options: Any) -> list[dict[str, Any]]:
    """Many targets at once: milliseconds per embedding, beside the bare product of the batch with the dictionary."""
    sizes = (32,) if options.quick else BATCHES
    rows = []
    for name, (words, every) in problems(options, max(sizes)).items():
        prepared = cpu.prepare_dictionary(words)
        for size in sizes:
            targets, product = every[:size], np.empty((size, len(words)), np.float32)
            rows.append({"case": name, "batch": size, **screening(prepared, targets, product)})
            for penalty in PENALTIES:
                sklearn = peers(words, penalty)["sklearn"]
                times: dict[str, list[float]] = {"ours": [], "sgemm": [], "sklearn": []}
                codes: SparseCodes | None = None
                for i in range(3 if options.quick else 9 if size <= 256 else 4):
                    elapsed, _ = timed(partial(np.matmul, targets, words.T, out=product))
                    times["sgemm"].append(elapsed / size)
                    elapsed, codes = timed(partial(cpu.nnlasso, prepared, targets, penalty))
                    times["ours"].append(elapsed / size)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        times["sklearn"].append(timed(partial(sklearn, every[i]))[0])
                assert codes is not None
                median = {solver: float(np.median(values[1:])) for solver, values in times.items()}
                rows.append(
                    {
                        "case": name,
                        "batch": size,
                        "lambda": penalty,
                        "ours_ms": median["ours"],
                        "sgemm_ms": median["sgemm"],
                        "x_floor": median["ours"] / median["sgemm"],
                        "sklearn_ms": median["sklearn"],
                        "x_sklearn": median["sklearn"] / median["ours"],
                        "per_second": 1e3 / median["ours"],
                        "gap_max": float(codes.gap.max()),
                        "l0_mean": float(np.diff(codes.indptr).mean()),
                    }
                )
    return rows


def bisect(prepared: Prepared, target: Rows, words: int) -> SparseCodes:
    """The code of so many words by halving an interval of penalties, each solve warm from the last: the other way."""
    low, high = 0.0, 2 * float((prepared.rows @ target[0]).max())
    codes = cpu.nnlasso(prepared, target, high / 2)
    for _ in range(40):
        penalty = (low + high) / 2
        codes = cpu.nnlasso(prepared, target, penalty, warm_start=codes)
        found = len(codes.indices)
        if found == words:
            break
        low, high = (penalty, high) if found > words else (low, penalty)
    return codes


def words_asked(options: Any) -> list[dict[str, Any]]:
    """A number of words instead of a penalty: our path beside bisection over our own solver, one target at a time."""
    count = 3 if options.quick else 12
    rows = []
    for name, (words, targets) in problems(options, count).items():
        prepared = cpu.prepare_dictionary(words)
        for asked in (10, 40):
            times: dict[str, list[float]] = {"path": [], "bisection": []}
            for i in range(count):
                target = targets[i : i + 1]
                elapsed, codes = timed(partial(cpu.nnlasso_l0, prepared, target, asked))
                times["path"].append(elapsed)
                times["bisection"].append(timed(partial(bisect, prepared, target, asked))[0])
            median = {way: float(np.median(values[1:])) for way, values in times.items()}
            row = {"case": name, "words": asked, "path_ms": median["path"], "bisection_ms": median["bisection"]}
            rows.append({**row, "ratio": median["bisection"] / median["path"], "gap": float(codes.gap[0])})
    return rows


def either_sign(options: Any) -> list[dict[str, Any]]:
    """Weights of either sign beside nonnegative ones, both ours and in turns, and scikit-learn's lasso as it is."""
    from sklearn.linear_model import Lasso

    size = 32 if options.quick else 256
    rows = []
    for name, (words, targets) in problems(options, size).items():
        prepared = cpu.prepare_dictionary(words)
        for penalty in PENALTIES:
            free = partial(cpu.nnlasso, prepared, l1_penalty=penalty, signed=True)
            held = partial(cpu.nnlasso, prepared, l1_penalty=penalty)
            lasso = Lasso(alpha=penalty / (2 * words.shape[1]), fit_intercept=False, tol=1e-6, max_iter=10_000)
            times: dict[str, list[float]] = {
                key: [] for key in ("ours", "nonnegative", "single", "single held", "peer")
            }
            for i in range(3 if options.quick else 9):
                one = targets[i : i + 1]
                elapsed, codes = timed(partial(free, targets))
                times["ours"].append(elapsed / len(targets))
                times["nonnegative"].append(timed(partial(held, targets))[0] / len(targets))
                times["single"].append(timed(partial(free, one))[0])
                times["single held"].append(timed(partial(held, one))[0])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    times["peer"].append(timed(partial(lasso.fit, words.T, targets[i]))[0])
            median = {key: float(np.median(values[1:])) for key, values in times.items()}
            rows.append(
                {
                    "case": name,
                    "batch": len(targets),
                    "lambda": penalty,
                    "ours_ms": median["ours"],
                    "x_nonnegative": median["nonnegative"] / median["ours"],
                    "single_ms": median["single"],
                    "single_x_nonnegative": median["single held"] / median["single"],
                    "sklearn_ms": median["peer"],
                    "single_x_sklearn": median["peer"] / median["single"],
                    "gap_max": float(codes.gap.max()),
                    "l0_mean": float(codes.lengths.mean()),
                    "negative": float((codes.values < 0).mean()),
                }
            )
    return rows


SUITES = {"solve-single": single, "solve-batch": batch, "solve-l0": words_asked, "solve-signed": either_sign}
