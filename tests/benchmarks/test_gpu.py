"""The GPU benchmark's own logic, without a GPU: it runs to its end, its peers solve the problem, its floors hold."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconcept.kernels import HAS_CUDA, reference
from tests.cuda.host.emulation import emulated

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """``fastconcept.kernels.cuda`` on host memory."""
    with emulated() as cuda:
        yield cuda


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
    assert set(steps) == set(part("run").STEPS)
    assert len(document["bars"]) == 7 and all(bar["reached"] is None and bar["reason"] for bar in document["bars"])
    assert all(step["status"] != "done" or step["name"] == "machine" for step in document["steps"])


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run of these sources measured stays, whatever is done or left out now; of others, nothing."""
    run, target = part("run"), tmp_path / "gpu.json"
    monkeypatch.setattr(run, "build", lambda: {"command": "once"})
    assert run.main(["--json", str(target), "--only", "build"]) == 0
    monkeypatch.setattr(run, "build", lambda: pytest.fail("built twice"))
    assert run.main(["--json", str(target), "--resume", "--only", "build", "peers"]) == 0
    steps = {step["name"]: step for step in json.loads(target.read_text())["steps"]}
    assert steps["build"]["result"] == {"command": "once"} and steps["contract"]["status"] == "skipped"
    target.write_text(target.read_text().replace('"sources": "', '"sources": "other '))
    monkeypatch.setattr(run, "build", lambda: {"command": "twice"})
    assert run.main(["--json", str(target), "--resume", "--only", "build"]) == 0
    assert json.loads(target.read_text())["steps"][0]["result"] == {"command": "twice"}


def test_a_step_that_fails_does_not_stop_the_rest() -> None:
    steps, run = part("steps"), part("run")
    failed = steps.attempt("bad", lambda: 1 / 0)
    missing = steps.attempt("none", lambda: importlib.import_module("no_such_module"))
    done = steps.attempt("good", lambda: [{"name": "row", "ms": 1.0}])
    assert (failed["status"], missing["status"], done["status"]) == ("failed", "missing", "done")
    assert run.failures([failed, missing, done]) == ["bad: ZeroDivisionError: division by zero"]
    nested = {"name": "encoders", "status": "done", "result": [{**failed, "name": "inner"}]}
    assert run.failures([nested]) == ["inner: ZeroDivisionError: division by zero"]


def a_run(scale: float) -> list[dict[str, object]]:
    """Steps of a run whose numbers are the targets, times better or worse."""
    kernels = [
        {"name": "ranks one concept 82115", "ms": 1.0 * scale},
        {"name": "ranks and maps all 82115", "ms": 3.0 * scale},
    ]
    explain = {"name": "explain ViT-B/32, TensorRT float16", "ms": 40.0 * scale}
    dense = {"name": "dense pass ViT-B/16", "explain": {"name": "explain dense ViT-B/16", "ms": 5.0 * scale}}
    encoder = {"name": "encoder", "status": "done", "result": {"name": "TensorRT float16 ViT-B/32", "explain": explain}}
    solver = {"name": "nnlasso 4096 gap 0.0001", "per_second": 3e5 / scale}
    tools = [{"name": f"sanitize-{tool}", "status": "done"} for tool in part("bars").SANITIZERS]
    if scale > 1:
        tools[1] = {"name": "sanitize-racecheck", "status": "failed", "reason": "exit status 9"}
    return [
        *tools,
        {"name": "kernels", "status": "done", "result": kernels},
        {"name": "solver", "status": "done", "result": [solver]},
        {"name": "peers", "status": "done", "result": [{"name": "ADMM", "per_second": 15_000.0}]},
        {"name": "encoders", "status": "done", "result": [encoder]},
        {"name": "dense", "status": "done", "result": [dense]},
    ]


def test_every_bar_is_judged() -> None:
    judge, run = part("bars").judge, part("run")
    assert [line["reached"] for line in judge(a_run(1.0))] == [True] * 7
    worse = judge(a_run(1.01))
    assert [line["reached"] for line in worse] == [False] * 7
    assert len(run.failures(a_run(1.01))) == 8  # the bars, and the tool that found something
    steps = [step for step in a_run(1.0) if step["name"] != "peers"]
    steps[0] = {"name": "sanitize-memcheck", "status": "missing", "reason": "not installed"}
    lines = judge(steps)
    assert [line["reached"] for line in lines] == [True, True, True, None, True, True, None]
    assert "ADMM" in lines[3]["reason"] and "sanitize" in lines[6]["reason"]


@pytest.mark.parametrize("pillow", [True, False])
def test_an_explanation_is_timed_as_the_engine_makes_it(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, pillow: bool
) -> None:
    """The row's own path, small: a coarse image through an encoder on the device; also where nothing decodes a JPEG."""
    if not pillow:
        for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"] or ["PIL"]:
            monkeypatch.delitem(sys.modules, name, raising=False)
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == "PIL" else find(name, *rest)
        )
        monkeypatch.setitem(sys.modules, "PIL", None)
    measure, cupy = part("measure_encoders"), sys.modules["cupy"]
    layout = importlib.import_module("fastconcept.saliency.layout").Layout
    monkeypatch.setattr(
        "fastconcept.saliency.layout.Layout",
        lambda fit, mode: layout(mode, fit, **({"sizes": (128,), "stride": 128} if mode == "crops" else {})),
    )
    matrix = np.random.default_rng(0).standard_normal((3, measure.DIM)).astype(np.float32)

    def encode(pixels: Any) -> Any:
        rows = cupy.asnumpy(pixels).mean(axis=(2, 3)) @ matrix
        return cupy.asarray((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))

    row = measure.time_explain(measure.Encoder(encode), "explain", concepts=64, repeat=1)
    assert row["source"].startswith("JPEG" if pillow else "pixels")

    def tokens(pixels: Any) -> Any:
        n, _, height, width = pixels.shape
        rows = np.random.default_rng(0).standard_normal((n, 1 + height * width // 256, measure.DIM))
        return cupy.asarray((rows / np.linalg.norm(rows, axis=2, keepdims=True)).astype(np.float32))

    dense = measure.Encoder(tokens, 16)
    assert measure.time_explain(None, "dense", concepts=64, repeat=1, dense=dense)["ms"] > 0
    assert row["ms"] > 0 and set(row["last_stages_ms"]) == {"decode", "preprocess", "encode", "ranks", "maps"}


def test_the_contract_tests_are_collected_on_a_bare_machine() -> None:
    """Without the BLAS of the CPU kernels and without ftfy, as on a machine that has CuPy and torch."""
    program = (
        "import sys; sys.modules['scipy_openblas32'] = sys.modules['ftfy'] = None; import pytest; "
        "chosen = ['-q', '--collect-only', '-m', 'contract and gpu', 'tests/kernels']; "
        "sys.exit(pytest.main(['-p', 'benchmarks.gpu.bare', *chosen]))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert result.stdout.count("[cuda") > 50


def test_a_faithful_explanation_has_730_patches() -> None:
    cells, weights = part("measure").grid()
    assert len(part("verify").patch_boxes()) == len(cells) == len(weights) == 730
    maps = reference.saliency_maps(np.zeros((730, 1), np.int32), cells, weights, (14, 14))
    assert (maps.maps == 1).all()


def test_the_checks_pass_over_the_emulated_kernels_and_catch_a_wrong_one(kernels: ModuleType) -> None:
    checks = part("verify").checks
    found = checks(kernels, reference, 1)
    assert found["ranks of everything"] == 0
    assert part("verify").product_alone() == 1

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
    dense = encoders.vision_transformer(patch, width=32, layers=2, heads=4, dense=True)
    pixels = torch.rand(3, 3, 224, 224)
    with torch.no_grad():
        rows, tokens = tower(pixels), dense(pixels)
    assert tokens.shape == (3, 1 + (224 // patch) ** 2, encoders.DIM)
    torch.testing.assert_close(tokens[:, 0], rows)
    assert (tokens[:, 1:].norm(dim=-1) - 1).abs().max() < 1e-5 and tokens[0, 1:].std(0).max() > 1e-4
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
    for name in ("run", "steps", "floors", "peers", "verify", "bars", "bare"):
        source = (ROOT / "benchmarks" / "gpu" / f"{name}.py").read_text()
        head = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        assert not any(heavy in line for line in head for heavy in ("cupy", "torch", "onnx"))


def test_what_is_timed_imports_on_a_bare_machine() -> None:
    """With NumPy, but without anything else that the package depends on."""
    program = """
    import importlib, sys
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in %r:
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Absent())
    for name in %r:
        importlib.import_module(name)
    """
    absent = {"PIL", "onnxruntime", "tokenizers", "safetensors", "ftfy", "scipy_openblas32", "scipy", "typer", "rich"}
    needed = ["benchmarks.gpu.measure_encoders", "benchmarks.gpu.verify", "fastconcept.encoders.preprocess"]
    needed += ["fastconcept.kernels.cuda", "fastconcept.encoders.tensorrt", "fastconcept.saliency.explain"]
    needed += ["fastconcept.saliency.targets", "benchmarks.gpu.run"]
    code = textwrap.dedent(program) % (absent, needed)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
