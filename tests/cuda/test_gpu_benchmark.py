"""The GPU benchmark's own logic, without a GPU: it runs to its end, its peers solve the problem, its floors hold."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastconcept.kernels import HAS_CUDA, reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def repository_on_the_path() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield


def part(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.gpu.{name}")


def test_without_a_gpu_it_runs_to_the_end_and_says_why(tmp_path: Path) -> None:
    if HAS_CUDA:
        pytest.skip("a CUDA device is visible")
    target = tmp_path / "gpu.json"
    assert part("run").main(["--json", str(target), "--skip", "build", "contract"]) == 0
    document = json.loads(target.read_text())
    steps = {step["name"]: step for step in document["steps"]}
    assert steps["build"]["status"] == "skipped"
    assert steps["verify"]["status"] == "missing" and str(HAS_CUDA) in steps["verify"]["reason"]
    assert steps["kernels"]["status"] == "missing" and "no ceilings" in steps["kernels"]["reason"]
    assert {"solver", "peers", "encoders", "sanitize-memcheck"} <= set(steps)
    assert all(step["status"] != "done" or step["name"] == "machine" for step in document["steps"])


def test_a_step_that_fails_or_misses_does_not_stop_the_rest() -> None:
    steps, run = part("steps"), part("run")
    failed = steps.attempt("bad", lambda: 1 / 0)
    missing = steps.attempt("none", lambda: importlib.import_module("no_such_module"))
    done = steps.attempt("good", lambda: [{"name": "row", "reached": True}, {"name": "late", "reached": False}])
    assert (failed["status"], missing["status"], done["status"]) == ("failed", "missing", "done")
    assert run.failures([failed, missing, done]) == ["bad: ZeroDivisionError: division by zero", "late: target missed"]
    nested = {"name": "encoders", "status": "done", "result": [{**failed, "name": "inner"}]}
    assert run.failures([nested]) == ["inner: ZeroDivisionError: division by zero"]


def test_a_faithful_explanation_has_730_patches() -> None:
    cells, weights = part("measure")._grid()
    assert len(part("verify").patch_boxes()) == len(cells) == len(weights) == 730
    maps = reference.saliency_maps(np.zeros((730, 1), np.int32), cells, weights, (14, 14))
    assert (maps.maps == 1).all()


def test_the_checks_pass_over_the_emulated_kernels_and_catch_a_wrong_one(kernels: ModuleType) -> None:
    checks = part("verify").checks
    found = checks(kernels, reference, 1)
    assert found["ranks of everything"] == 0

    class Wrong:
        def __getattr__(self, name: str) -> object:
            return getattr(kernels, name)

        def saliency_maps(self, *arguments: object) -> object:
            maps = kernels.saliency_maps(*arguments)
            return maps._replace(maps=1 - maps.maps)

    with pytest.raises(AssertionError, match="saliency_maps"):
        checks(Wrong(), reference, 1)


@pytest.mark.parametrize(("solver", "rounds"), [("admm", 1600), ("fista", 1600)])
def test_peers_solve_the_same_problem(solver: str, rounds: int) -> None:
    torch = pytest.importorskip("torch")
    peers, verify = part("peers"), part("verify")
    words, targets = verify.unit_rows(80, 16), verify.unit_rows(3, 16, 1)
    exact = reference.nnlasso(words, targets, 0.2)
    dense = np.zeros((3, 80))
    for i in range(3):
        span = slice(*exact.indptr[i : i + 2])
        dense[i, exact.indices[span]] = exact.values[span]
    tensors = torch.from_numpy(words).double(), torch.from_numpy(targets).double()
    assert peers.largest_gap(*tensors, torch.from_numpy(dense), 0.2) < 1e-9
    found = getattr(peers, solver)(*tensors, 0.2, rounds)
    assert peers.largest_gap(*tensors, found, 0.2) < 1e-4
    assert 0 < peers.rounds_to_gap(getattr(peers, solver), *tensors, 0.2, 1e-3, 1600) <= 1600
    assert peers.rounds_to_gap(getattr(peers, solver), *tensors, 0.2, 1e-15, 25) == 0


@pytest.mark.parametrize("patch", [32, 16])
def test_the_encoders_are_vision_transformers(patch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    encoders = part("encoders")
    tower = encoders.vision_transformer(patch, width=32, layers=2, heads=4)
    with torch.no_grad():
        rows = tower(torch.rand(3, 3, 224, 224))
    assert rows.shape == (3, encoders.DIM)
    np.testing.assert_allclose(torch.linalg.norm(rows, dim=1), 1, atol=1e-5)
    assert 3.5 < encoders.flops(16, 1) / encoders.flops(32, 1) < 4.5


def test_floors() -> None:
    floors = part("floors")
    ceilings = floors.Ceilings(4e12, 8e14, 5e13, 6e13)
    bank_bound = floors.ranks_work(730, 82115, 512, 1)
    assert floors.floor_ms(bank_bound, ceilings) == pytest.approx(1e3 * bank_bound.operations / 8e14)
    assert floors.floor_ms(floors.maps_work(730, 82115, 196), ceilings) == pytest.approx(0.076, rel=0.01)
    assert floors.solve_work(1, 10, 4).unit == "float32" and floors.solve_work(1, 10, 4, True).unit == "float64"


def test_nothing_heavy_is_imported_to_start() -> None:
    for name in ("run", "steps", "floors", "peers", "verify"):
        source = (ROOT / "benchmarks" / "gpu" / f"{name}.py").read_text()
        head = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        assert not any(heavy in line for line in head for heavy in ("cupy", "torch", "onnx"))
