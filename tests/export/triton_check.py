"""Compares the answers of a real Triton Inference Server with the engine's; run by ``triton_server.sh``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton

import fastconcept as fc
from fastconcept.export.triton import export_triton

CONCEPTS = ["cup.n.01", "a wooden table"]


def main(server: Path) -> int:
    """Export, start, ask, compare, stop."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        names = export_triton(repository)
        shutil.rmtree(repository / "image_encoder")  # this Triton has no ONNX backend
        names.remove("image_encoder")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = Path(folder) / "log"
        process = _start(server, repository, port, log)
        try:
            client = triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=120, connection_timeout=120)
            _wait(client, process, log)
            _compare(client, names)
        except BaseException:
            print(log.read_text()[-30000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(60)
    print("Triton's answers are the engine's")
    return 0


def _start(server: Path, repository: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [
        str(server / "bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={server / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--exit-timeout-secs=30",
    ]
    libraries = [str(path) for path in server.parents[1].glob("*.libs")]
    paths = [str(server.parents[1] / "numpy"), *(path for path in sys.path if path), os.getcwd()]
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]),
        "PYTHONPATH": os.pathsep.join(paths),  # see the models' model.py
    }
    with log.open("wb") as stream:
        return subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)


def _wait(client: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while True:
        assert process.poll() is None, f"Triton ended with {process.returncode}"
        assert time.monotonic() < end, "Triton did not become ready"
        try:
            if client.is_server_ready():
                return
        except OSError:
            pass
        time.sleep(0.2)


def _tensor(name: str, values: list[Any], shape: list[int]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    made = triton.InferInput(name, shape, "BYTES")
    made.set_data_from_numpy(array.reshape(shape))
    return made


def _compare(client: Any, names: list[str]) -> None:
    engine = fc.load()
    images = [Path(str(files("skimage.data") / name)).read_bytes() for name in ("coffee.png", "chelsea.png")]
    both = _tensor("IMAGE", images, [2, 1])
    assert all(client.is_model_ready(name) for name in names)

    rows = client.infer("embed", [both]).as_numpy("EMBEDDING")
    assert np.array_equal(rows, engine.encode_image(images))

    texts = ["a cat", "a red ball"]
    rows = client.infer("embed_text", [_tensor("TEXT", texts, [2, 1])]).as_numpy("EMBEDDING")
    assert np.array_equal(rows, engine.encode_text(texts))

    answer = client.infer("decompose", [both], parameters={"l0": 6})
    codes = engine.decompose(images, l0=6)
    for index, code in enumerate(codes):
        words = [word.decode() for word in answer.as_numpy("WORDS")[index][: code.l0]]
        assert words == [word for word, _ in code.top()]
        assert np.allclose(answer.as_numpy("COSINE")[index], code.cosine, rtol=1e-6, atol=0)

    inputs = [_tensor("IMAGE", images[:1], [1]), _tensor("CONCEPTS", CONCEPTS, [2])]
    answer = client.infer("explain", inputs, parameters={"mode": "windows", "stride": "32"})
    seen = engine.explain(images[0], CONCEPTS, mode="windows", stride=32)
    assert np.array_equal(answer.as_numpy("MAPS"), seen.maps)
    assert [name.decode() for name in answer.as_numpy("NAMES")] == [concept.name for concept in seen]

    answer = client.infer("concepts", inputs[:1], parameters={"mode": "windows", "stride": "32", "top": 3})
    found = engine.concepts(images[0], 3, mode="windows", stride=32)
    assert [name.decode() for name in answer.as_numpy("NAMES")] == found.names

    _refused(client, "embed", [_tensor("IMAGE", [b"no image"], [1, 1])], "not an image")
    _refused(client, "explain", [inputs[0], _tensor("CONCEPTS", ["dgo.n.01"], [1])], "did you mean dog.n.01")
    _refused(client, "decompose", [both], "no parameter 'l2'", parameters={"l2": 1})


def _refused(client: Any, model: str, inputs: list[Any], message: str, **options: Any) -> None:
    try:
        client.infer(model, inputs, **options)
    except triton.InferenceServerException as error:
        assert message in str(error), error
    else:
        raise AssertionError(f"{model} should have refused")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
