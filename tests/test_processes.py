"""Copies, other processes, forks and the exit of the interpreter."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.encoders import session
from fastconcept.errors import ConceptError, InputError, MissingDependencyError
from fastconcept.kernels import forks
from fastconcept.kernels.cpu.nnlasso import prepare_dictionary
from fastconcept.parts import Parts


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    return fc.load()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def copies(thing: object) -> list[object]:
    return [copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))]  # noqa: S301


def test_results_are_copied(engine: fc.Engine, picture: np.ndarray) -> None:
    row = engine.encode_text(["a dog", "a cat"])
    batch = engine.decompose(embeddings=row)
    for other in copies(batch):
        np.testing.assert_array_equal(other.codes.values, batch.codes.values)
        assert other[0].top() == batch[0].top() and other[0].without(other[0].top(1)[0][0]).l0 == batch[0].l0 - 1
        assert not other.dictionary.embeddings.flags.writeable
        np.testing.assert_array_equal(other.dictionary.embeddings, engine.dictionary.embeddings)
    for thing in (batch[0], batch.average()):
        assert all(other.to_dict() == thing.to_dict() for other in copies(thing))
    evidence = engine.evidence(picture, sizes=128, stride=64)
    seen, concepts = engine.read(evidence, ["dog", "a red ball"]), engine.concepts(evidence, top=3)
    for other in copies(seen):
        assert (other.maps == seen.maps).all() and other["dog"].to_dict() == seen["dog"].to_dict()
    assert all(other.to_dict() == concepts.to_dict() for other in copies(concepts))
    assert concepts[1:].names == concepts.names[1:]
    assert all((engine.read(other, "dog").maps == seen["dog"].map).all() for other in copies(evidence))


def test_engines_are_copied(engine: fc.Engine) -> None:
    expected = engine.encode_text("dog")
    small = fc.load(num_threads=1, max_pixels=1000)
    for other in copies(small):
        assert (other.num_threads, other.parts.max_pixels, other.bundle.path) == (1, 1000, small.bundle.path)
        np.testing.assert_allclose(other.encode_text("dog"), expected, atol=1e-6)
    bank = fc.ConceptBank(np.eye(3), phrases=["red", "green", "blue"])
    memory = fc.Engine.from_parts(embedding_dim=3, bank=bank, image_mean=np.ones(3))
    replaced = fc.Engine(memory.parts.replace(image_mean=np.zeros(3, np.float32)))
    for other in copies(replaced):
        assert other.bank.names == bank.names and (other.image_mean == 0).all()
    with pytest.raises(InputError, match="cannot be copied"):
        copy.deepcopy(Parts({}, memory.parts.preprocess, 3))


def test_errors_come_back_from_other_processes() -> None:
    for error in (ConceptError("no cat", ["car"]), MissingDependencyError("scipy", "evaluate")):
        for other in copies(error):
            assert str(other) == str(error) and vars(other) == vars(error)


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_drops_and_leaves_its_parents_engine() -> None:
    result = run(
        """
        import os, sys, time, numpy as np, fastconcept as fc
        engine = fc.load(num_threads=2)
        expected = engine.encode_text("dog")
        for ending in ("exit", "drop", "leave"):
            child = os.fork()
            if child == 0:
                if ending != "exit":
                    assert np.allclose(engine.encode_text("dog"), expected)
                if ending == "drop":
                    del engine
                sys.exit(7)
            for _ in range(300):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    break
                time.sleep(0.1)
            else:
                os.kill(child, 9)
            print(ending, os.waitstatus_to_exitcode(status) if done else "hangs")
        assert np.array_equal(engine.encode_text("dog"), expected)
        """
    )
    assert result.stdout.split() == ["exit", "7", "drop", "7", "leave", "7"], result.stderr


def test_daemon_threads_do_not_abort_the_exit() -> None:
    result = run(
        """
        import threading, time, numpy as np, fastconcept as fc
        engine = fc.load(num_threads=1)
        def work():
            while True:
                engine.encode_text("dog")
        def open_and_work():
            while True:
                fc.load(num_threads=1).encode_text("dog")
        engine.encode_text("dog")
        for target in (work, work, open_and_work, open_and_work):
            threading.Thread(target=target, daemon=True).start()
        time.sleep(0.2)
        """
    )
    assert result.returncode == 0, result.stderr


def test_forks_and_calls_of_native_code_wait_for_each_other() -> None:
    calls, inside, done = forks._NativeCalls(), threading.Event(), threading.Event()
    order: list[str] = []

    def work(name: str) -> None:
        with calls.one():
            inside.set()
            assert done.wait(30)
            order.append(name)

    first, fork = threading.Thread(target=work, args=["first"]), threading.Thread(target=calls.before_fork)
    first.start()
    assert inside.wait(30)
    fork.start()
    while not calls._forks:
        time.sleep(0.001)
    second = threading.Thread(target=work, args=["second"])
    second.start()
    done.set()
    fork.join(30)
    assert order == ["first"] and not fork.is_alive() and second.is_alive()
    calls.after_fork()
    second.join(30)
    assert order == ["first", "second"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_a_value_that_a_thread_of_its_parent_was_making() -> None:
    result = run(
        """
        import os, signal, threading
        from fastconcept.kernels.forks import cached_property
        begun, end = threading.Event(), threading.Event()
        class Words:
            @cached_property
            def first(self):
                begun.set()
                end.wait()
                return "dog"
        slow = Words()
        thread = threading.Thread(target=lambda: slow.first)
        thread.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            end.set()
            os._exit(7 if Words().first == slow.first == "dog" else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        end.set()
        thread.join()
        assert slow.__dict__ == {"first": "dog"}
        """
    )
    assert result.stdout.split() == ["7"], result.stderr


def test_no_fork_cuts_a_product_of_matrices_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS ends its threads before a fork; a product that waits for one of them would never return."""
    seen: list[int] = []
    real = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: seen.append(forks.native_calls._count) or real(matrix))
    prepare_dictionary(np.eye(64, dtype=np.float32))
    assert seen == [1] and forks.native_calls._count == 0


def test_onnx_runtime_writes_nothing_into_the_cache_of_the_user(tmp_path: Path) -> None:
    result = run(
        """
        import os
        os.environ.pop("ORT_DISABLE_TELEMETRY", None)  # inherited from this test
        from fastconcept.environment import environment
        print(environment()["providers"], os.environ["ORT_DISABLE_TELEMETRY"])
        """,
        HOME=str(tmp_path),
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert result.stdout.startswith("['") and result.stdout.endswith(" 1\n"), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_telemetry_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    calls: list[int] = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append(1), raising=False)
    session.onnxruntime()
    assert calls == [1]
