"""The engine on "cuda:0" over the kernels on host memory: equal to the CPU engine, and nothing large comes back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.bundle import Preprocess
from fastconcept.datasets.dataset import open_dataset
from fastconcept.datasets.embed import embed_all
from fastconcept.encoders.image_tower import ImageTower
from fastconcept.encoders.onnx_cuda import bound_providers
from fastconcept.encoders.preprocess import preprocess_image, preprocess_images
from fastconcept.engine import Engine
from fastconcept.errors import DeviceError, InputError, MissingDependencyError
from fastconcept.saliency.patches import add_border
from tests.cuda.host.emulation import HOST, load

pytest.importorskip("onnxruntime")
COARSE = {"sizes": (128, 64), "stride": 64}
CONCEPTS = ["cat.n.01", "a striped pet", "feline.n.01"]
DIM = 32


@pytest.fixture
def image() -> np.ndarray:
    from PIL import Image

    coarse = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((280, 200)))


@pytest.fixture(scope="module")
def runtime(kernels: ModuleType) -> Iterator[Any]:
    """A CUDA provider over the arrays of the kernels' CuPy."""
    import onnxruntime

    runtime = load(HOST / "onnxruntime_on_host.py")
    runtime.Session.cupy, runtime.Session.real = sys.modules["cupy"], onnxruntime.InferenceSession
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", runtime.Session)
        patch.setattr(onnxruntime, "get_available_providers", lambda: runtime.PROVIDERS)
        yield runtime


@pytest.fixture(scope="module")
def on_cpu(tiny_bundle: Path) -> Engine:
    return fc.load(tiny_bundle)


@pytest.fixture(scope="module")
def expected(on_cpu: Engine) -> Engine:
    """The CPU engine with its encoders open, before a CUDA provider takes their place."""
    _ = on_cpu.image_encoder, on_cpu.text_encoder
    return on_cpu


@pytest.fixture(scope="module")
def engine(expected: Engine, runtime: Any, tiny_bundle: Path) -> Engine:
    return fc.load(tiny_bundle, device="cuda:0")


@pytest.fixture
def traffic(runtime: Any) -> Any:
    cupy = runtime.Session.cupy
    cupy.downloads.clear()
    cupy.uploads.clear()
    return cupy


def large(downloads: list[tuple[tuple[int, ...], str]], maps: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """What came back that is neither maps, nor one number per concept, word or image."""
    return [shape for shape, _ in downloads if shape != maps and (len(shape) > 1 or shape == (DIM,))]


@pytest.mark.parametrize(
    "options", [{}, {"score": "log-rank"}, {"score": "similarity"}, {"aggregate": "mean-then-best"}, {"fit": "crop"}]
)
def test_explain_equals_the_cpu_and_only_maps_come_back(
    engine: Engine, expected: Engine, image: np.ndarray, traffic: Any, options: dict[str, Any]
) -> None:
    _ = engine.prepared_bank
    traffic.downloads.clear(), traffic.uploads.clear()
    seen, wanted = (each.explain(image, CONCEPTS, **COARSE, **options) for each in (engine, expected))
    assert [found.name for found in seen] == [found.name for found in wanted]
    assert all(isinstance(found.cells, np.ndarray) for found in seen)
    # A patch of embeddings that differ in the last bit may swap two concepts: one place among a hundred.
    np.testing.assert_allclose(seen.maps, wanted.maps, atol=0.03)
    assert np.abs(seen.maps - wanted.maps).mean() < 1e-3
    assert [found.constant for found in seen] == [found.constant for found in wanted]
    np.testing.assert_allclose([f.similarity for f in seen], [f.similarity for f in wanted], atol=1e-5)
    assert np.abs(np.subtract([f.rank for f in seen], [f.rank for f in wanted])).max() <= 1
    # Per concept for mean-then-best, together otherwise.
    cells = (len(CONCEPTS), *seen[0].cells.shape)
    assert large(traffic.downloads, cells if "aggregate" not in options else (cells[1] * cells[2],)) == []
    assert [shape for shape in pixels_of(traffic) if len(shape) > 1] == [image.shape]  # beside the noise, once
    assert max(len(shape) for shape, _ in traffic.uploads) == 3


def pixels_of(traffic: Any) -> list[tuple[int, ...]]:
    """Every upload that may be pixels, bytes or prepared."""
    return [shape for shape, dtype in traffic.uploads if dtype in ("uint8", "float16") or len(shape) > 2]


@pytest.mark.parametrize("border", ["noise", "constant", "reflect", "inside"])
def test_an_image_goes_up_exactly_once(
    engine: Engine, expected: Engine, image: np.ndarray, traffic: Any, border: str
) -> None:
    tall = np.ascontiguousarray(image.transpose(1, 0, 2))[:, :180]
    engine.explain(image[:150], CONCEPTS[0], border=border, **COARSE)  # the noise of the largest
    for seen in (image, image[:150, ::-1], tall):
        traffic.uploads.clear(), traffic.downloads.clear()
        found, wanted = (each.explain(seen, CONCEPTS[0], border=border, **COARSE) for each in (engine, expected))
        assert pixels_of(traffic) == [seen.shape]
        assert large(traffic.downloads, (1, *found[0].cells.shape)) == []
        np.testing.assert_allclose(found.maps, wanted.maps, atol=0.03)
    for one in (lambda: engine.encode_image([image, image[::-1]]), lambda: engine.decompose([image, image[::-1]])):
        traffic.uploads.clear()
        one()
        assert pixels_of(traffic) == [(2, 3, 32, 32)]  # a batch, prepared by threads of the host


def test_batches_go_up_from_page_locked_memory(engine: Engine, image: np.ndarray, traffic: Any) -> None:
    traffic.pinned.clear()
    engine.encode_image(image)
    assert not traffic.pinned  # it takes longer to make than to copy one image
    engine.encode_image([image, image[::-1]])
    (memory,) = traffic.pinned
    np.testing.assert_array_equal(memory.view(np.float32), engine.preprocess([image, image[::-1]]).ravel())


def test_what_was_uploaded_may_be_written_to(kernels: ModuleType) -> None:
    rows = kernels.staged((2, 3))
    rows[:] = np.arange(6).reshape(2, 3)
    there = kernels.upload_staged(rows[1:])
    rows[:] = -1
    assert kernels.to_host(there).tolist() == [[3, 4, 5]]


def test_a_dataset_is_embedded_by_the_engine(engine: Engine, image: np.ndarray, traffic: Any, tmp_path: Path) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    traffic.uploads.clear()
    embedded = embed_all(engine, open_dataset(tmp_path))
    assert pixels_of(traffic) == [(1, 3, 32, 32)]
    np.testing.assert_array_equal(embedded.rows, engine.encode_image(image))


@pytest.mark.parametrize("margin", [16, 300])
@pytest.mark.parametrize("border", ["noise", "constant", "reflect"])
def test_borders_are_those_of_the_cpu(kernels: ModuleType, border: str, margin: int) -> None:
    from fastconcept.kernels import cpu

    image = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    arguments = (margin, border, 7, (0.5, 0.25, 1.0))
    found = add_border(kernels.upload(image), *arguments, kernels)
    assert not isinstance(found, np.ndarray)
    np.testing.assert_array_equal(kernels.to_host(found), add_border(image, *arguments, cpu))
    if border == "reflect":
        np.testing.assert_array_equal(
            add_border(image, *arguments), np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
        )
    again = add_border(kernels.upload(np.zeros_like(image)), *arguments, kernels)  # what is kept stays as it is
    assert not np.array_equal(kernels.to_host(again), kernels.to_host(found))
    np.testing.assert_array_equal(kernels.to_host(again)[0, 0], kernels.to_host(found)[0, 0] * (border != "reflect"))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("shape", [(60, 91), (91, 60), (33, 33), (20, 47), (200, 33), (3, 30_000)])
def test_whole_images_are_preprocessed_as_on_the_cpu(kernels: ModuleType, mode: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(6).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for size in ((32, 32), (24, 40)):
        config = Preprocess(size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bicubic", mode, 9)
        found = preprocess_images([kernels.upload(image)], config, kernels)
        assert not isinstance(found, np.ndarray)
        np.testing.assert_allclose(kernels.to_host(found)[0], preprocess_image(image, config), atol=2e-6)


def test_a_working_image_is_that_of_pillow(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconcept.kernels import arguments, cpu

    image = np.random.default_rng(8).integers(0, 256, (120, 161, 3), dtype=np.uint8)
    cases = [((0, 0, 161, 120), (224, 304)), ((20, 0, 140, 120), (64, 64)), ((3, 2, 160, 119), (48, 64))]
    for box, size in [*cases, ((0, 0, 40, 120), (32, 20))]:  # the last one's height comes first
        found = kernels.resize_image(kernels.upload(image), box, size)
        np.testing.assert_array_equal(kernels.to_host(found), cpu.resize_image(image, box, size))
    monkeypatch.setattr(arguments, "MAX_SIZE", 200)  # beyond what the kernel takes: made on the host
    again = kernels.resize_image(kernels.upload(image), (0, 0, 161, 120), (224, 304))
    np.testing.assert_array_equal(kernels.to_host(again), cpu.resize_image(image, (0, 0, 161, 120), (224, 304)))


def test_embeddings_that_travel_are_seen(
    engine: Engine, image: np.ndarray, traffic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with patches on the host, their pixels come back."""
    plain = ImageTower.encode_boxes

    def from_host(tower: ImageTower, bordered: Any, *rest: Any) -> Any:
        return engine.kernels.upload(plain(tower, traffic.asnumpy(bordered), *rest))

    monkeypatch.setattr(ImageTower, "encode_boxes", from_host)
    engine.explain(image, CONCEPTS, **COARSE)
    came_back = large(traffic.downloads)
    assert any(len(shape) == 4 for shape in came_back) and any(shape[-1] == DIM for shape in came_back)


@pytest.mark.parametrize("how", [{"l1_penalty": 0.2}, {"l0": 3}])
def test_decompose_equals_the_cpu_and_only_weights_come_back(
    engine: Engine, expected: Engine, image: np.ndarray, traffic: Any, how: dict[str, Any]
) -> None:
    several = [image, image[:, ::-1], image[::-1]]
    found, wanted = (each.decompose(several, **how) for each in (engine, expected))
    assert large([item for item in traffic.downloads if item[1] != "int32"]) == []  # int32 are words
    np.testing.assert_array_equal(found.codes.indices, wanted.codes.indices)
    np.testing.assert_allclose(found.codes.values, wanted.codes.values, atol=1e-5)
    assert found.codes.gap.max() <= 1e-6
    np.testing.assert_allclose(found.cosine, wanted.cosine, atol=1e-6)  # fetches the embeddings, now that it is asked
    assert (3, DIM) in large(traffic.downloads)
    assert found[1:][0].cosine == pytest.approx(wanted[1].cosine, abs=1e-6)
    assert engine.decompose(image, **how).top() == found[0].top()


def test_texts_rows_and_averages(engine: Engine, expected: Engine, image: np.ndarray) -> None:
    for make in (lambda e: e.encode_image([image, image]), lambda e: e.encode_text(["a dog", "night", "a dog"])):
        ours, theirs = make(engine), make(expected)
        assert isinstance(ours, np.ndarray) and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    rows = engine.encode_text(["a dog", "night"])
    assert engine.decompose(texts=["a dog"])[0].l0 == expected.decompose(texts=["a dog"])[0].l0
    ours, theirs = (dict(each.decompose(embeddings=rows[0]).top()) for each in (engine, expected))
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("how", [{"l1_penalty": 0.2}, {"l1_penalty": 9.0}, {"l0": 3}])
def test_an_average_leaves_the_embeddings_on_the_device(
    engine: Engine, expected: Engine, image: np.ndarray, traffic: Any, how: dict[str, Any]
) -> None:
    images = [image, image[::-1], image[:, ::-1]]
    ours, theirs = (each.average(images, ["x", "y", "y"], **how) for each in (engine, expected))
    assert large([item for item in traffic.downloads if item[1] != "int32"]) == []
    for label in ("x", "y"):
        np.testing.assert_allclose(ours[label].weights.values, theirs[label].weights.values, atol=1e-5)
        assert (
            ours[label].cosine == pytest.approx(theirs[label].cosine, abs=1e-6) and ours[label].l0 == theirs[label].l0
        )


def test_evidence_stays_on_the_device_and_is_read_there(
    engine: Engine, expected: Engine, image: np.ndarray, traffic: Any, runtime: Any
) -> None:
    from fastconcept.evaluate.evidence_store import EvidenceStore
    from fastconcept.saliency.layout import Layout
    from fastconcept.saliency.reading import Reader, Reading
    from fastconcept.saliency.targets import resolve_targets

    _ = engine.prepared_bank
    traffic.uploads.clear()
    evidence = EvidenceStore(engine, Layout(**COARSE)).evidence(image)
    assert [shape for shape in pixels_of(traffic) if len(shape) > 1] == [image.shape]
    targets = resolve_targets(CONCEPTS, engine.bank, engine.encode_text)
    readings = [Reading(), Reading(score="similarity"), Reading(aggregate="mean-then-best"), Reading(sizes=(64,))]
    traffic.uploads.clear(), traffic.downloads.clear()
    with engine.place:
        reader = Reader(evidence, targets, engine.prepared_bank, engine.kernels)
        ours = [reader.maps(reading) for reading in readings]
    assert not [shape for shape, _ in traffic.uploads if len(shape) == 2 and shape[1] == DIM and shape[0] > 1]
    assert all(len(shape) < 3 or shape == ours[0].shape for shape, _ in traffic.downloads)
    at_home = EvidenceStore(expected, Layout(**COARSE)).evidence(image)
    theirs = Reader(at_home, targets, expected.prepared_bank, expected.kernels)
    for maps, reading in zip(ours, readings, strict=True):
        np.testing.assert_allclose(maps, theirs.maps(reading), atol=0.03)
    assert runtime.Session.cupy.cuda.get_current_stream().ptr == 0


class Pooled:
    """An encoder of means over squares of 8 px, as a split, a dense and a plain one; pixels and rows on the device."""

    stride, batch_size = 8, 16

    def __init__(self, kernels: Any, shape: str) -> None:
        self.kernels, self.shape = kernels, shape

    def encode(self, given: Any) -> Any:
        values = np.asarray(self.kernels.to_host(given))
        if self.shape == "head":
            return self.kernels.upload(self.unit(values))
        n, channels, height, width = values.shape
        maps = values.reshape(n, channels, height // 8, 8, width // 8, 8).mean(axis=(3, 5))
        if self.shape == "maps":
            return self.kernels.upload(maps)
        tokens = maps.reshape(n, channels, -1).transpose(0, 2, 1)
        rows = self.unit(np.concatenate([tokens.mean(axis=1, keepdims=True), tokens], axis=1))
        return self.kernels.upload(rows if self.shape == "tokens" else np.ascontiguousarray(rows[:, 0]))

    def unit(self, rows: np.ndarray) -> np.ndarray:
        mixed = rows @ np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
        return (mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "windows", **COARSE},
        {"mode": "occlusion"},
        {"mode": "dense:clearclip"},
        {"mode": "dense:clearclip", "class_bias": 0.5},
        {"mode": "dense:clearclip", "short_side": 1400},  # more tokens than a pass may have
    ],
)
def test_every_mode_makes_its_evidence_on_the_device(
    kernels: ModuleType, image: np.ndarray, traffic: Any, options: dict[str, Any]
) -> None:
    from fastconcept.encoders.split import SplitEncoder
    from fastconcept.kernels import cpu
    from fastconcept.saliency.explain import embed
    from fastconcept.saliency.layout import Layout

    made = []
    for room in (kernels, cpu):
        maps, head, tokens, rows = (Pooled(room, shape) for shape in ("maps", "head", "tokens", "rows"))
        tower = ImageTower(
            rows, Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), room, None, SplitEncoder(maps, head), tokens
        )
        made.append(embed(image, tower, Layout(**options)))
    ours, theirs = made
    assert type(ours.rows).__name__ == "DeviceArray"
    np.testing.assert_allclose(kernels.to_host(ours.rows), theirs.rows, atol=1e-5)
    np.testing.assert_allclose(kernels.to_host(ours.whole), theirs.whole, atol=1e-5)


def test_everything_runs_on_the_engines_own_stream(engine: Engine, image: np.ndarray, runtime: Any) -> None:
    engine.explain(image, CONCEPTS, **COARSE)
    for encoder in (engine.image_encoder, engine.text_encoder):
        session = encoder._session
        assert session.options["CUDAExecutionProvider"]["user_compute_stream"] == str(engine.place.stream) != "0"
        assert set(session.streams) == {engine.place.stream}
    assert engine.prepared_bank._split.stream == engine.place.stream
    assert runtime.Session.cupy.cuda.get_current_stream().ptr == 0  # left as it was
    assert engine.image_encoder.batch_size == 256 and max(engine.image_encoder._session.batches)[0] > 16


def test_the_bank_and_the_dictionary_go_up_once(engine: Engine, image: np.ndarray, traffic: Any) -> None:
    engine.explain(image, CONCEPTS, **COARSE)
    engine.decompose(image)
    traffic.uploads.clear()
    engine.explain(image, CONCEPTS, **COARSE)
    engine.decompose(image)
    rows = {len(engine.bank.names), len(engine.dictionary.words)}
    assert not [shape for shape, _ in traffic.uploads if len(shape) == 2 and shape[0] in rows]


def test_threads_share_an_engine(engine: Engine, image: np.ndarray) -> None:
    place, seen = engine.place, []

    def work() -> None:
        with place, place:
            seen.append(place.stream)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == [place.stream] * 3


def test_providers_of_another_device_are_refused(engine: Engine, tiny_bundle: Path, runtime: Any) -> None:
    place = SimpleNamespace(index=0, name="cuda:0", stream=77)
    name, options = bound_providers([("CUDAExecutionProvider", {"use_tf32": 0})], place)[0]
    assert (name, options["use_tf32"], options["device_id"], options["user_compute_stream"]) == (
        "CUDAExecutionProvider", 0, 0, "77",
    )  # fmt: skip
    with pytest.raises(DeviceError, match="CPUExecutionProvider does not run on cuda:0"):
        _ = fc.load(tiny_bundle, device="cuda:0", providers=["CPUExecutionProvider"]).image_encoder
    with pytest.raises(DeviceError, match="device_id 1"):
        bound_providers([("CUDAExecutionProvider", {"device_id": 1})], place)
    with pytest.raises(DeviceError, match=r"no device 'cuda:7'.*cuda:0"):
        fc.load(tiny_bundle, device="cuda:7")
    both = fc.load(tiny_bundle, device="cuda:0", providers=["TensorrtExecutionProvider", "CUDAExecutionProvider"])
    assert both.image_encoder.providers[:2] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_work_left_to_the_cpu_is_an_error(tiny_bundle: Path, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.Session, "left_to_cpu", ("MatMul", "Gather"))
    with pytest.raises(DeviceError, match=r"leaves MatMul of .* to the CPU"):
        _ = fc.load(tiny_bundle, device="cuda:0").image_encoder


def test_bad_input_on_the_device(engine: Engine, kernels: ModuleType) -> None:
    pixels = engine.kernels.upload(np.full((1, 3, 32, 32), np.nan, np.float32))
    with pytest.raises(InputError, match="NaN"):
        kernels.check_rows(engine.image_encoder.encode(pixels), "rows")
    with pytest.raises(InputError, match="not finite"):
        engine.image_encoder.encode(np.full((1, 3, 32, 32), np.nan, np.float32))
    with pytest.raises(InputError, match="pixels must be"):
        engine.image_encoder.encode(engine.kernels.upload(np.zeros((1, 3, 8, 8), np.float32)))
    with pytest.raises(InputError, match="encoder must be"):
        fc.load(engine.bundle.path, device="cuda:0", encoder="torch")


def test_warm_up_opens_everything_on_the_device(expected: Engine, runtime: Any, tiny_bundle: Path) -> None:
    engine = fc.load(tiny_bundle, device="cuda:0")
    assert list(engine.warmup([(60, 80)], **COARSE)) == ["load", "explain", "decompose"]
    assert {"prepared_bank", "image_encoder", "text_encoder", "dictionary"} <= set(engine.parts.opened())
    assert engine.prepared_bank._split.stream == engine.place.stream


@pytest.fixture
def tensorrt(runtime: Any, expected: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A TensorRT whose plans run the tiny model, and an empty cache."""
    fake = load(HOST / "tensorrt_on_host.py")
    fake.cupy, fake.run = sys.modules["cupy"], expected.image_encoder.encode
    fake.SHAPE, fake.DIM = (3, 32, 32), DIM
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setenv("FASTCONCEPT_PLANS", str(tmp_path))
    return fake


def test_tensorrt_is_reached_from_the_engine(
    tensorrt: Any, expected: Engine, image: np.ndarray, tiny_bundle: Path, traffic: Any, tmp_path: Path
) -> None:
    from fastconcept.encoders.tensorrt.encoder import TensorRTEncoder
    from fastconcept.export.precision import PrecisionReport
    from fastconcept.export.tensorrt.keys import PlanKey, store_plan

    engine = fc.load(tiny_bundle, device="cuda:0", encoder="tensorrt")
    with pytest.raises(DeviceError, match=r"no TensorRT plan of this model.*fastconcept export --tensorrt"):
        engine.explain(image, CONCEPTS, **COARSE)
    manifest = engine.bundle.manifest
    key = PlanKey(manifest.image_digest, "float16", tensorrt.BUCKETS, (32, 32), "90", "10.16.1.11", "13000")
    path = store_plan(b"plan", key, PrecisionReport(*[1.0] * len(PrecisionReport.__dataclass_fields__)))
    seen, wanted = (each.explain(image, CONCEPTS, **COARSE) for each in (engine, expected))
    assert isinstance(engine.image_encoder, TensorRTEncoder) and engine.image_encoder.providers == ["TensorRT"]
    np.testing.assert_allclose(seen.maps, wanted.maps, atol=0.03)
    assert large(traffic.downloads, (3, *seen[0].cells.shape)) == []
    ours, theirs = (dict(each.decompose(image).top()) for each in (engine, expected))
    assert ours == pytest.approx(theirs, abs=1e-6)
    direct = fc.load(tiny_bundle, device="cuda:0", encoder=str(path))
    assert direct.image_encoder.batch_size == max(tensorrt.BUCKETS)


def test_without_tensorrt_its_extra_is_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[tensorrt\]"):
        _ = fc.load(tiny_bundle, device="cuda:0", encoder="tensorrt").image_encoder
