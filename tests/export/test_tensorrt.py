"""Plans without TensorRT: half precision in ONNX Runtime, the gate, the cache, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastconcept import cli
from fastconcept.encoders.tensorrt.plans import read_plan
from fastconcept.errors import DeviceError, ExportError, InputError, MissingDependencyError
from fastconcept.export.precision import PrecisionReport, compare, compare_concepts, map_spearman, require_precision
from fastconcept.export.tensorrt import build
from fastconcept.export.tensorrt.build import build_plan, gate_images
from fastconcept.export.tensorrt.compile import compile_plan
from fastconcept.export.tensorrt.half_onnx import halve
from fastconcept.export.tensorrt.keys import PlanKey, check_batch_sizes, find_plan, store_plan

SIDE, WIDTH = 32, 16


def write_encoder(path: Path, scale: float = 1.0) -> Path:
    """Patches, normalisation, attention-like mixing, a projection to unit rows: one of each kind of node."""
    rng = np.random.default_rng(0)
    weights = {
        "stem": rng.standard_normal((WIDTH, 3, 8, 8)) / 14,
        "gain": np.ones(WIDTH),
        "bias": np.zeros(WIDTH),
        "mix": scale * rng.standard_normal((WIDTH, WIDTH)) / 4,
        "project": rng.standard_normal((WIDTH, WIDTH)) / 4,
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "stem"], ["patches"], strides=[8, 8]),
        helper.make_node("Reshape", ["patches", "flat"], ["tokens"]),
        helper.make_node("Transpose", ["tokens"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["rows", "gain", "bias"], ["normal"], axis=-1),
        helper.make_node("MatMul", ["normal", "mix"], ["mixed"]),
        helper.make_node("Softmax", ["mixed"], ["shares"], axis=-1),
        helper.make_node("Mul", ["shares", "normal"], ["picked"]),
        helper.make_node("Add", ["picked", "rows"], ["residual"]),
        helper.make_node("ReduceMean", ["residual", "axis"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "project"], ["raw"]),
        helper.make_node("ReduceL2", ["raw", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["raw", "length"], ["embeddings"]),
    ]
    integers = {"flat": [0, WIDTH, -1], "axis": [1], "last": [-1]}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        + [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The CPU provider's last optimisation level crashes on float16 graphs (seen in 1.31).
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


def test_float16_passes_the_gate_in_onnx_runtime(tmp_path: Path) -> None:
    source, target = write_encoder(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    counts = halve(source, target)
    pixels = gate_images((SIDE, SIDE), 16)
    expected, found = run(source, pixels), run(target, pixels)
    assert found.dtype == np.float32
    assert counts["half"] > 0 and counts["float32"] > 0
    report = compare(expected, found)
    require_precision(report, "float16")
    assert not np.array_equal(expected, found)  # it did compute in half precision
    assert target.stat().st_size < 0.75 * source.stat().st_size


@pytest.mark.parametrize(("precision", "kind"), [("float16", TensorProto.FLOAT16), ("bfloat16", TensorProto.BFLOAT16)])
def test_types_are_where_they_should_be(tmp_path: Path, precision: str, kind: int) -> None:
    target = tmp_path / "b.onnx"
    halve(write_encoder(tmp_path / "a.onnx"), target, precision)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(target)), strict_mode=True)
    types = {i.name: i.type.tensor_type.elem_type for i in [*model.graph.value_info, *model.graph.output]}
    types.update({w.name: w.data_type for w in model.graph.initializer})
    by_operator = {node.op_type: types[node.output[0]] for node in model.graph.node}
    assert by_operator["LayerNormalization"] == by_operator["Softmax"] == by_operator["ReduceMean"] == TensorProto.FLOAT
    assert by_operator["ReduceL2"] == by_operator["Div"] == TensorProto.FLOAT  # behind the last product
    assert by_operator["Conv"] == by_operator["Add"] == by_operator["MatMul"] == kind
    assert types["embeddings"] == TensorProto.FLOAT
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_what_cannot_be_halved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not fit half precision"):
        halve(write_encoder(tmp_path / "large.onnx", scale=1e6), tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()
    with pytest.raises(InputError, match="precision must be"):
        halve(tmp_path / "large.onnx", tmp_path / "b.onnx", "int8")
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(ExportError, match="cannot be read"):
        halve(tmp_path / "noise.onnx", tmp_path / "b.onnx")


def unit_rows(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_gate_refuses_by_name() -> None:
    rows = unit_rows(50)
    require_precision(compare(rows, rows), "same")
    worse = rows.copy()
    worse[7] = rows[8]
    with pytest.raises(ExportError, match=r"smallest cosine .* is below 0\.999"):
        require_precision(compare(rows, worse), "swapped")
    with pytest.raises(ExportError, match="mean cosine"):
        require_precision(compare(rows, rows + 0.05 * unit_rows(50, 1)), "noisy")
    with pytest.raises(ExportError, match="rank correlation of maps"):
        require_precision(PrecisionReport(1, 1.0, 1.0, None, 0.98), "maps")
    for broken in (np.nan, np.inf, 0.0):
        assert compare(rows, np.full_like(rows, broken)).problems()


def test_ranks_and_maps_count() -> None:
    rows, bank = unit_rows(40), unit_rows(30, 2)
    indptr, indices = np.arange(6), np.arange(5)
    same = compare_concepts(rows, rows, bank, indptr, indices)
    assert (same.mean_rank_change, same.map_spearman) == (0.0, 1.0)
    near = compare_concepts(rows, unit_rows(40, 3), bank, indptr, indices)
    assert near.mean_rank_change > 0.1 and near.map_spearman < 0.9
    constant = np.ones((1, 2, 2))
    assert map_spearman(constant, constant) == 1.0
    assert map_spearman(constant, np.arange(4.0).reshape(1, 2, 2)) == 0.0


def key(**changes: object) -> PlanKey:
    facts = {
        "model_sha256": "0" * 64, "precision": "float16", "batch_sizes": (1, 64), "size": (SIDE, SIDE),
        "compute_capability": "90", "tensorrt": "10.16.1.11", "driver": "13000",
    }  # fmt: skip
    return PlanKey(**{**facts, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "1" * 64}, {"precision": "bfloat16"}, {"batch_sizes": (1,)}, {"size": (64, 64)},
        {"compute_capability": "87"}, {"tensorrt": "11.4.0.106"}, {"driver": "13010"}, {"lean": True},
    ],
)  # fmt: skip
def test_everything_a_plan_depends_on_is_in_its_key(change: dict[str, object], tmp_path: Path) -> None:
    assert key(**change).digest() != key().digest()
    store_plan(b"plan", key(), PrecisionReport(1, 1.0, 1.0, 0.0, 1.0), tmp_path)
    assert find_plan(key(**change), tmp_path) is None
    assert find_plan(key(), tmp_path) is not None


def test_the_cache_keeps_what_passed_and_nothing_damaged(tmp_path: Path) -> None:
    passed, failed = PrecisionReport(1, 1.0, 1.0, None, None), PrecisionReport(1, 0.9, 0.9, None, None)
    with pytest.raises(ExportError, match="the float16 plan is refused"):
        store_plan(b"plan", key(), failed, tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = store_plan(b"plan", key(), passed, tmp_path)
    assert find_plan(key(), tmp_path) == path
    assert read_plan(path)[1]["precision"]["min_cosine"] == 1.0
    path.write_bytes(b"damaged")
    assert find_plan(key(), tmp_path) is None


@pytest.mark.parametrize("sizes", [[], [0], [-1, 2], [5000], [1.5], list(range(1, 18))])
def test_bad_batch_sizes(sizes: list[int]) -> None:
    with pytest.raises(InputError, match="batch sizes"):
        check_batch_sizes(sizes)


class Builder:
    """Stands for TensorRT's builder: records the profiles it is given."""

    parses, plan = True, b"plan"

    def __init__(self, logger: object) -> None:
        self.profiles: list[tuple[object, ...]] = []
        Builder.last = self

    def create_network(self, flags: int) -> object:
        assert flags == 2
        return SimpleNamespace(get_input=lambda i: SimpleNamespace(name="pixels"))

    def create_builder_config(self) -> object:
        cache = SimpleNamespace(serialize=lambda: b"timings")
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: None,
            clear_flag=lambda flag: None,
            set_flag=lambda flag: None,
            create_timing_cache=lambda content: cache,
            set_timing_cache=lambda given, ignore_mismatch: None,
            get_timing_cache=lambda: cache,
            add_optimization_profile=lambda profile: None,
        )

    def create_optimization_profile(self) -> object:
        return SimpleNamespace(set_shape=lambda *shapes: self.profiles.append(shapes))

    def build_serialized_network(self, network: object, config: object) -> bytes | None:
        return self.plan


def stand_in(**changes: object) -> SimpleNamespace:
    parser = SimpleNamespace(parse_from_file=lambda path: Builder.parses, num_errors=1, get_error=lambda i: "bad node")
    names = {
        "__version__": "10.16.1.11",
        "Logger": type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None}),
        "Builder": Builder,
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1),
        "OnnxParser": lambda network, logger: parser,
        "MemoryPoolType": SimpleNamespace(WORKSPACE=0),
        "BuilderFlag": SimpleNamespace(TF32=0, VERSION_COMPATIBLE=1),
    }
    return SimpleNamespace(**{**names, **changes})


def test_one_profile_of_a_fixed_shape_per_batch_size(tmp_path: Path) -> None:
    timing = tmp_path / "timing"
    assert compile_plan(stand_in(), "model.onnx", (8, 9), (1, 64), True, timing) == b"plan"
    assert Builder.last.profiles == [("pixels", *[(size, 3, 8, 9)] * 3) for size in (1, 64)]
    assert timing.read_bytes() == b"timings"


def test_failures_of_the_builder_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "plan", None)
    with pytest.raises(ExportError, match="cannot build"):
        compile_plan(stand_in(), "model.onnx", (8, 8), (1,), False, tmp_path / "timing")
    monkeypatch.setattr(Builder, "parses", False)
    with pytest.raises(ExportError, match="bad node"):
        compile_plan(stand_in(), "model.onnx", (8, 8), (1,), False, tmp_path / "timing")


def bundle(folder: Path) -> object:
    """As much of a bundle as a plan needs."""
    from fastconcept.bundle import Bundle

    opened = object.__new__(Bundle)
    facts = {"image_encoder": "image_encoder.onnx", "image_digest": "0" * 64, "embedding_dim": WIDTH}
    opened.manifest = SimpleNamespace(**facts)
    path = write_encoder(folder / "image_encoder.onnx")
    opened.encoder = lambda name: path
    return opened


def test_without_tensorrt_or_its_builder_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[tensorrt\]"):
        build_plan(bundle(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorrt_lean", SimpleNamespace(__version__="10"))
    with pytest.raises(MissingDependencyError, match="lean runtime, which cannot build"):
        build_plan(bundle(tmp_path))
    with pytest.raises(InputError, match="precision"):
        build_plan(bundle(tmp_path), "int4")


@pytest.mark.parametrize(("noise", "passes"), [(0.0, True), (0.2, False)])
def test_a_plan_is_stored_only_if_it_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: float, passes: bool
) -> None:
    """The whole of build_plan, with ONNX Runtime on the halved model where the plan would run."""
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in())
    monkeypatch.setattr(build, "_device_facts", lambda device: ("90", "13000"))
    halved = tmp_path / "halved.onnx"

    class Runner:
        def __init__(self, path: Path, dim: int, device_index: int) -> None:
            assert read_plan(path)[1]["compute_capability"] == "90"

        def encode(self, pixels: np.ndarray) -> np.ndarray:
            rows = run(halved, pixels)
            return rows + noise * np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32)

    def keep_model(trt: object, path: Path, *_: object) -> bytes:
        halved.write_bytes(Path(path).read_bytes())
        return b"plan"

    monkeypatch.setattr(build, "compile_plan", keep_model)
    monkeypatch.setattr(build, "open_image_plan", Runner)
    arguments = {"folder": tmp_path / "cache", "measure": compare, "batch_sizes": [4]}
    if not passes:
        with pytest.raises(ExportError, match="refused"):
            build_plan(bundle(tmp_path), **arguments)
        assert list((tmp_path / "cache").iterdir()) == []
        return
    path = build_plan(bundle(tmp_path), **arguments)
    monkeypatch.setattr(build, "compile_plan", None)  # the second time it comes from the cache
    assert build_plan(bundle(tmp_path), **arguments) == path


def test_no_device_is_named() -> None:
    pytest.importorskip("cupy")
    from fastconcept.kernels import HAS_CUDA

    if HAS_CUDA:
        pytest.skip("a CUDA device is visible")
    with pytest.raises(DeviceError, match="no CUDA device 0"):
        build._device_facts(0)


def test_the_command_line_builds_the_plan_of_a_bundle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {}

    def record(**options: object) -> Path:
        given.update(options)
        return Path("plans/a.plan")

    monkeypatch.setattr(build, "build_plan", record)
    arguments = ["--tensorrt", "-b", "mine", "--device", "cuda:1", "--batch-sizes", "1,8", "--lean", "--json"]
    assert cli.run(["export", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {"plan": "plans/a.plan"}
    expected = {"bundle": "mine", "device": "cuda:1", "precision": "float16", "batch_sizes": [1, 8], "lean": True}
    assert given == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a model to export"),
        (["ViT-B-32"], "with -o"),
        (["-b", "mine"], "what to make of a bundle: --tensorrt, --triton"),
        (["ViT-B-32", "-o", "out", "--tensorrt", "-b", "mine"], "exclude each other"),
        (["--tensorrt", "--device", "cpu"], "must be cuda or cuda:N, got 'cpu'"),
    ],
)
def test_what_the_command_line_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
