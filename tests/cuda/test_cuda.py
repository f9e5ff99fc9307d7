"""What is the CUDA backend's own: device arrays, tiles, capacities, scheduling, and the host emulation itself."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastconcept.errors import DeviceError, InputError
from fastconcept.kernels import HAS_CUDA, backend, reference
from fastconcept.kernels.csr import Lists
from fastconcept.kernels.cuda.levels import bottom_up_levels
from fastconcept.kernels.host import is_host

HERE = Path(__file__).parent
CUDA = "fastconcept.kernels.cuda"
ranks, saliency, nnlasso, nnlasso_path = (
    importlib.import_module(f"{CUDA}.{name}") for name in ("ranks", "saliency", "nnlasso", "nnlasso_path")
)  # the package has functions of some of these names


def unit_rows(rng: np.random.Generator, count: int, dims: int) -> np.ndarray:
    rows = rng.standard_normal((count, dims))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def a_tree(concepts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every concept i > 0 under i // 3; children, and an order from the leaves upward."""
    children: list[list[int]] = [[] for _ in range(concepts)]
    for i in range(1, concepts):
        children[i // 3].append(i)
    return (
        np.cumsum([0, *map(len, children)]),
        np.array([c for some in children for c in some], np.int64),
        np.arange(concepts)[::-1].copy(),
    )


@pytest.fixture
def device(kernels: ModuleType) -> Any:
    """Puts an array on the device."""
    return sys.modules["cupy"].asarray


def test_the_reason_is_kept() -> None:
    if HAS_CUDA:
        pytest.skip("a CUDA device is visible")
    assert str(HAS_CUDA)
    with pytest.raises(DeviceError, match="cannot run here") as failure:
        backend("cuda")
    assert str(HAS_CUDA) in str(failure.value)


def test_host_in_host_out_and_device_in_device_out(kernels: ModuleType, device: Any) -> None:
    rng = np.random.default_rng(0)
    bank, patches, tree = unit_rows(rng, 40, 8), unit_rows(rng, 3, 8), a_tree(40)
    on_host = kernels.all_ranks(patches, bank, *tree)
    on_device = kernels.all_ranks(device(patches), kernels.prepare_bank(device(bank)), *tree)
    assert is_host(on_host) and not is_host(on_device)
    assert np.array_equal(on_host, kernels.to_host(on_device))
    dictionary, targets = unit_rows(rng, 30, 8), unit_rows(rng, 2, 8)
    codes = kernels.nnlasso(kernels.prepare_dictionary(device(dictionary)), device(targets), 0.2)
    assert not any(is_host(field) for field in codes)
    again = kernels.nnlasso(dictionary, targets, 0.2, codes)
    assert np.array_equal(again.indices, kernels.to_host(codes.indices))
    short = kernels.nnlasso_l0(kernels.prepare_dictionary(device(dictionary)), device(targets), 2)
    assert list(np.diff(kernels.to_host(short.indptr))) == [2, 2]


def test_bad_device_arrays_are_named(kernels: ModuleType, device: Any) -> None:
    rows = device(np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match=r"patches .* float64"):
        kernels.all_ranks(device(np.eye(4)), rows, *a_tree(4))
    with pytest.raises(InputError, match="strided"):
        kernels.saliency_maps(rows[:, ::2], np.zeros((4, 4), np.int32), np.ones(4), (1, 1))
    with pytest.raises(InputError, match="bank contains NaN"):
        kernels.prepare_bank(device(np.full((2, 4), np.nan, np.float32)))
    with pytest.raises(InputError, match="1023"):
        kernels.prepare_bank(np.full((2, 4), 2000, np.float32))
    with pytest.raises(InputError, match="targets has NaN"):
        kernels.nnlasso(rows, device(np.full((1, 4), np.inf, np.float32)), 0.1)


def test_similarities_are_as_good_as_float32(kernels: ModuleType) -> None:
    rng = np.random.default_rng(1)
    bank, patches = unit_rows(rng, 200, 512), unit_rows(rng, 6, 512)
    lists = np.arange(201), np.arange(200)
    found = kernels.subtree_ranks(patches, bank, *lists).similarities
    exact = patches.astype(np.float64) @ bank.astype(np.float64).T
    assert np.abs(found - exact).max() < 2e-6 / 4


@pytest.mark.parametrize("concepts", [1, 2, 7, 33, 300, 2500])
def test_ranks_in_tiles_and_chunks(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, concepts: int) -> None:
    rng = np.random.default_rng(concepts)
    bank, patches, tree = unit_rows(rng, concepts, 16), unit_rows(rng, 7, 16), a_tree(concepts)
    bank[concepts // 2 :: 3] = bank[0]  # many ties
    expected = reference.all_ranks(patches, bank, *tree)
    assert np.array_equal(kernels.all_ranks(patches, bank, *tree), expected)
    monkeypatch.setattr(ranks, "_TILE_BYTES", 4 * concepts * 3)
    for room in (128, 400):  # large buckets, many chunks, and concepts with children in scratch memory
        monkeypatch.setattr(ranks, "_ROOM", (128, room))
        assert np.array_equal(kernels.all_ranks(patches, bank, *tree), expected)
    lists = np.array([0, 1, 1 + concepts]), np.concatenate([[concepts - 1], np.arange(concepts)])
    found = kernels.subtree_ranks(patches, bank, *lists, patches[:2])
    exact = reference.subtree_ranks(patches, bank, *lists, patches[:2])
    assert np.array_equal(found.ranks[:, :2], exact.ranks[:, :2])
    assert np.abs(found.ranks - exact.ranks).max() <= 1


@pytest.mark.parametrize("room", [65_532, 1_000, 128])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 1e-2, 1.0])
def test_values_that_fall_into_one_bucket(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, room: int, spread: float
) -> None:
    """One outlier and the rest close together, or all equal, or two heaps: exact whatever is large for the room."""
    monkeypatch.setattr(ranks, "_ROOM", (128, room))
    rng = np.random.default_rng(2)
    bank = np.zeros((1900, 4), np.float32)
    bank[:, 0] = np.round((0.5 + spread * rng.random(1900)) * 2**14) / 2**14  # exact in any precision
    bank[::2, 1] = bank[:1900:2, 0]
    bank[1::2, 1] = 0.75
    bank[17, :2] = -1
    graph = np.zeros(1901, int), np.zeros(0, int), np.arange(1900)
    patches = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    assert np.array_equal(kernels.all_ranks(patches, bank, *graph), reference.all_ranks(patches, bank, *graph))


@pytest.mark.parametrize(("kind", "room"), [("heavy tails", 3000), ("ties", 5000), ("two heaps", 128)])
def test_rows_long_enough_to_be_sampled(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str, room: int
) -> None:
    """Buckets are cut from a part of the values; the ranks are exact whatever their distribution."""
    monkeypatch.setattr(ranks, "_ROOM", (128, room))
    rng, count = np.random.default_rng(3), 33_000
    values = {
        "heavy tails": rng.standard_cauchy(count).clip(-900, 900),
        "ties": rng.standard_normal(count).round(1),
        "two heaps": np.where(rng.random(count) < 0.3, 0.1, 0.5) + 1e-4 * rng.standard_normal(count),
    }[kind]
    bank = np.zeros((count, 2), np.float32)
    bank[:, 0] = np.round(values * 2**8) / 2**8 if kind != "two heaps" else np.round(values * 2**15) / 2**15
    patch = np.array([[1, 0]], np.float32)  # similarities are the values themselves, exact in any precision
    assert np.array_equal(
        kernels.all_ranks(patch, bank, *a_tree(count)), reference.all_ranks(patch, bank, *a_tree(count))
    )


def test_small_tables_stay_on_the_device(kernels: ModuleType) -> None:
    """One upload for the same numbers on the same stream; another one on another stream, or for large arrays."""
    from fastconcept.kernels.cuda import arrays

    cupy = sys.modules["cupy"]
    small, large = np.arange(7, dtype=np.int32), np.zeros(arrays._TABLE_BYTES + 1, np.uint8)
    assert arrays.table(small) is arrays.table(small.copy())
    assert arrays.table(small) is not arrays.table(small.astype(np.int64))
    assert arrays.table(large) is not arrays.table(large)
    with cupy.cuda.Stream():
        other = arrays.table(small)
    assert other is not arrays.table(small) and np.array_equal(kernels.to_host(arrays.table(small)), small)


def test_maps_equal_the_reference_to_the_last_bit(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    corners = rng.integers(-3, 12, (60, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 9, (60, 2))], axis=1).astype(np.int32)
    boxes[0] = (0, 0, 30, 30)
    weights = rng.random(60) + 0.1
    for concepts in (1, 31, 70):
        for values in (
            rng.integers(0, 7000, (60, concepts)).astype(np.int32),
            rng.standard_normal((60, concepts)).astype(np.float32),
        ):
            expected = reference.saliency_maps(values, boxes, weights, (11, 13))
            found = kernels.saliency_maps(values, boxes, weights, (11, 13))
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    monkeypatch.setattr(saliency, "_SCRATCH_BYTES", 1)  # one block for all tiles
    again = kernels.saliency_maps(values, boxes, weights, (11, 13))
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


@pytest.mark.parametrize("patches", [334, 336, 384, 742, 744])
def test_patches_around_what_shared_memory_holds(kernels: ModuleType, patches: int) -> None:
    """Up to 48 KiB with the kernel's fixed arrays, above it, and more than a block is given: read from memory."""
    rng = np.random.default_rng(4)
    values = rng.integers(0, 100, (patches, 3)).astype(np.int32)
    boxes = np.tile(np.array([[0, 0, 2, 1], [1, 0, 3, 1]], np.int32), (patches // 2, 1))
    expected = reference.saliency_maps(values, boxes, np.ones(patches), (1, 3))
    found = kernels.saliency_maps(values, boxes, np.ones(patches), (1, 3))
    assert np.array_equal(found.maps, expected.maps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.array([1.0, 0.0])}, r"weights\[1\] is 0\.0"),
        ({"boxes": np.array([[0, 0, 2, 1], [1, 0, 1, 1]], np.int32)}, r"boxes\[1\] is empty"),
        ({"boxes": np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.int32)}, r"cell \(x 1, y 0\) uncovered"),
        ({"values": np.array([[1.0], [np.nan]], np.float32)}, "NaN"),
    ],
)
def test_bad_maps_are_named(kernels: ModuleType, changes: dict[str, Any], message: str) -> None:
    arguments = {
        "values": np.ones((2, 1), np.float32),
        "boxes": np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.int32),
        "weights": np.ones(2),
        "shape": (1, 2),
    }
    with pytest.raises(InputError, match=message):
        kernels.saliency_maps(**{**arguments, **changes})


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(16, 16), (7, 9), (30, 20), (1, 1)])
def test_resized_as_pillow_does(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], interpolation: str
) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (60, 81, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 81, 60], [3, 4, 20, 19], [10, 10, 11, 11], [5, 0, 60, 59], [0, 0, 16, 16]], np.int32)
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    expected = reference.resize_patches(image, boxes, size, mean, std, interpolation)
    found = kernels.resize_patches(image, boxes, size, mean, std, interpolation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1 / 255 / 0.2)
    assert (np.abs(found - expected) < 1e-5).mean() > 0.999
    monkeypatch.setattr(f"{CUDA}.resize._BETWEEN_BYTES", 10_000)
    assert np.array_equal(kernels.resize_patches(image, boxes, size, mean, std, interpolation), found)


def test_resize_into_half_precision_and_given_arrays(kernels: ModuleType, device: Any) -> None:
    image = np.random.default_rng(6).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 20, 20], [2, 2, 9, 12]], np.int32)
    arguments = (boxes, (8, 8), (0.5,) * 3, (0.5,) * 3)
    plain = kernels.resize_patches(image, *arguments)
    half = device(np.zeros((2, 3, 8, 8), np.float16))
    assert kernels.resize_patches(device(image), *arguments, out=half) is half
    np.testing.assert_allclose(kernels.to_host(half), plain, atol=1e-3)
    out = np.zeros((2, 3, 8, 8), np.float32)
    assert kernels.resize_patches(image, *arguments, out=out) is out
    assert np.array_equal(out, plain)
    assert kernels.resize_patches(image, boxes[:0], *arguments[1:]).shape == (0, 3, 8, 8)
    with pytest.raises(InputError, match=r"boxes\[1\] is \(2, 2, 9, 21\)"):
        kernels.resize_patches(image, np.array([[0, 0, 1, 1], [2, 2, 9, 21]]), *arguments[1:])


def test_float32_correlations_reach_a_gap_of_1e_4(kernels: ModuleType) -> None:
    rng = np.random.default_rng(7)
    dictionary, targets = unit_rows(rng, 300, 32), unit_rows(rng, 8, 32)
    codes = kernels.nnlasso(dictionary, targets, 0.15, tolerance=1e-4)
    exact = reference.nnlasso(dictionary, targets, 0.15)
    assert codes.gap.max() <= 1e-4
    for i in range(8):
        indices, values = codes.row(i)
        gap, _ = reference.certificate(dictionary.astype(float), targets[i].astype(float), indices, values, 0.15)
        assert gap <= 1.01e-4
        assert values.sum() == pytest.approx(exact.row(i)[1].sum(), rel=0.05)


def test_problems_that_overflow_move_on(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the larger capacity to the CPU, beside problems that fit; every certificate holds."""
    rng = np.random.default_rng(8)
    dictionary, targets = unit_rows(rng, 60, 24), unit_rows(rng, 5, 24)
    penalties = np.array([0.5, 0.01, 0.3, 0.1, 3.0])
    exact = reference.nnlasso(dictionary, targets, penalties)
    assert np.diff(exact.indptr).max() > 8
    monkeypatch.setattr(nnlasso, "CAPACITIES", (3, 8))
    monkeypatch.setattr(nnlasso, "_BATCH", 2)
    codes = kernels.nnlasso(dictionary, targets, penalties)
    assert np.array_equal(codes.indptr, exact.indptr) and np.array_equal(codes.indices, exact.indices)
    np.testing.assert_allclose(codes.values, exact.values, rtol=1e-6)
    assert codes.gap.max() <= 1e-6 and np.array_equal(codes.l1_penalty, penalties)


@pytest.mark.parametrize("seed", range(4))
def test_paths_are_those_of_the_reference(kernels: ModuleType, seed: int) -> None:
    """Few dimensions, where words leave again and the path is long; zero targets, too, and targets of no word."""
    rng = np.random.default_rng(seed)
    rows, dims, l0 = int(rng.integers(1, 60)), int(rng.integers(2, 20)), int(rng.integers(1, 12))
    dictionary, targets = unit_rows(rng, rows, dims), unit_rows(rng, 5, dims)
    dictionary[rows // 2] = dictionary[0]
    targets[3], targets[4] = 0, -dictionary.sum(0)
    expected, found = reference.nnlasso_l0(dictionary, targets, l0), kernels.nnlasso_l0(dictionary, targets, l0)
    np.testing.assert_allclose(found.l1_penalty, expected.l1_penalty, rtol=1e-6)
    assert np.diff(found.indptr).max() <= l0 and found.gap.max() <= 1e-6
    for i in range(5):
        assert found.row(i)[1].sum() == pytest.approx(expected.row(i)[1].sum(), abs=1e-6)


def test_paths_in_batches_and_beyond_the_capacity(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(12)
    dictionary, targets = unit_rows(rng, 80, 24), unit_rows(rng, 5, 24)
    whole = kernels.nnlasso_l0(dictionary, targets, 4)
    monkeypatch.setattr(nnlasso_path, "_CORRELATION_BYTES", 16 * 80 * 2)
    parts = kernels.nnlasso_l0(dictionary, targets, 4)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    monkeypatch.setattr(nnlasso, "CAPACITIES", (2, 3))
    beyond = kernels.nnlasso_l0(dictionary, targets, 4)  # on the CPU
    assert np.array_equal(beyond.indices, whole.indices)
    np.testing.assert_allclose(beyond.values, whole.values, rtol=1e-6)
    assert kernels.nnlasso_l0(dictionary, targets[:0], 4).indptr.tolist() == [0]
    assert kernels.nnlasso_l0(dictionary[:0], targets, 4).l1_penalty.tolist() == [0] * 5


def test_capacities_are_what_shared_memory_holds(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """99 KiB are what some devices newer than 9.0 give a block; 16 KiB would be little."""
    assert nnlasso.capacities() == (64, 128)
    for kib, expected in ((163, (64, 128)), (99, (64, 107)), (16, (39,))):
        monkeypatch.setattr(nnlasso, "device_limit", lambda name, kib=kib: kib << 10)
        assert nnlasso.capacities() == expected


def test_many_small_degenerate_problems(kernels: ModuleType) -> None:
    """Integers, duplicates, more rows than dimensions: dependent words come and go."""
    rng = np.random.default_rng(9)
    for _ in range(60):
        rows, dims = int(rng.integers(1, 14)), int(rng.integers(1, 7))
        dictionary, targets = unit_rows(rng, rows, dims), unit_rows(rng, 6, dims)
        if rng.random() < 0.4:
            dictionary, targets = np.round(dictionary * 2), np.round(targets * 2)
        if rows > 3:
            dictionary[rows // 2] = dictionary[0]
        codes = kernels.nnlasso(dictionary, targets, rng.uniform(0.01, 1.0, 6))
        assert codes.gap.max() <= 1e-6


def test_results_do_not_depend_on_the_schedule(kernels: ModuleType) -> None:
    """The emulation runs ready threads in a different order at every launch: a missing barrier would show here."""
    rng = np.random.default_rng(10)
    bank, patches, tree = unit_rows(rng, 700, 24), unit_rows(rng, 3, 24), a_tree(700)
    dictionary, targets = unit_rows(rng, 200, 24), unit_rows(rng, 3, 24)
    runs = [(kernels.all_ranks(patches, bank, *tree), *kernels.nnlasso(dictionary, targets, 0.05)) for _ in range(4)]
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_levels_put_children_first() -> None:
    rng = np.random.default_rng(11)
    children = [sorted({int(c) for c in rng.integers(i + 1, 50, 3)}) if i < 40 else [] for i in range(50)]
    done = {i for i in range(50) if not children[i]}
    for level in bottom_up_levels(Lists.of(children)):
        assert all(set(children[node]) <= done for node in level)
        done |= set(level.tolist())
    assert done == set(range(50))


@pytest.mark.skipif(
    os.environ.get("FASTCONCEPT_TEST_SANITIZERS") != "1", reason="FASTCONCEPT_TEST_SANITIZERS=1 runs it"
)
@pytest.mark.timeout(3600)
def test_kernels_under_sanitizers() -> None:
    """This file again, the kernels built with AddressSanitizer and UBSan."""
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "FASTCONCEPT_TEST_SANITIZERS": "inside",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


def test_the_emulation_reports_broken_kernels(tmp_path: Path) -> None:
    """A barrier that some threads skip, a warp operation without all lanes and too much shared memory are errors."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "broken.cpp"
    source.write_text(
        """
        #include <cstdio>
        #include "launch.h"
        using namespace fastconcept::cuda;
        __global__ void skips() { if (threadIdx.x > 0) __syncthreads(); else __shfl_sync(kAllLanes, 1, 0); }
        __global__ void leaves() { if (threadIdx.x > 0) __shfl_sync(kAllLanes, 1, 0); }
        __global__ void large() { SHARED_ARRAY(char, bytes, 48 * 1024 + 1); bytes[threadIdx.x] = 0; }
        __global__ void sums(int* out) { const int s = warp_sum(int(threadIdx.x)); if (threadIdx.x == 0) *out = s; }
        int main() {
            for (auto* kernel : {&skips, &leaves, &large}) {
                try { launch("broken", kernel, dim3(1), 64, 0, nullptr); puts("no error"); }
                catch (const std::exception& error) { puts(error.what()); }
            }
            int out = 0;
            launch("sums", sums, dim3(1), 32, 0, nullptr, &out);
            printf("%d\\n", out);
        }
        """
    )
    program = tmp_path / "broken"
    includes = [f"-I{HERE / 'host'}", f"-I{HERE.parents[1] / 'csrc' / 'cuda'}"]
    flags = ["-std=c++17", "-DFASTCONCEPT_HOST_EMULATION", *includes]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
    lines = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.split("\n")
    assert "a barrier that not every thread reaches" in lines[0]
    assert "a warp operation with a lane missing" in lines[1] or "while its warp waits" in lines[1]
    assert "49153 bytes of shared memory where 49152 are allowed" in lines[2]
    assert lines[3] == "496"
