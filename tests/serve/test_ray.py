"""The server on Ray Serve; what needs Ray skips where it is not installed (``make test-ray`` installs it)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastconcept as fc
from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.serve.ray import application, deployment
from tests.jobs.test_cluster import quick

HAS_RAY = importlib.util.find_spec("ray") is not None

# Two replicas on this machine: many requests at once, one that is wrong, and one without a key.
_PROGRAM = """
import asyncio, json, logging, socket, sys
from pathlib import Path

import httpx, ray
from functools import partial
from ray import serve
from fastconcept import load
from fastconcept.serve.ray import application, deployment

photograph, keys = Path(sys.argv[1]).read_bytes(), sys.argv[2]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
serve.start(http_options={"host": "127.0.0.1", "port": port})
application({"num_threads": "1", "max_batch": 8, "api_keys": keys})  # as the command and files make it
serve.run(deployment(partial(load, num_threads=1), api_keys=["alpha"], num_replicas=2))
found = {}

async def ask():
    headers = {"Authorization": "Bearer alpha"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300, headers=headers) as client:
        async def decompose(k):
            answer = await client.post("/v1/decompose?l0=4", content=photograph, headers={"Content-Type": "image/png"})
            return answer.status_code, answer.json()["images"][0]["words"]
        found["answers"] = await asyncio.gather(*map(decompose, range(16)))
        wrong = await client.post("/v1/embed", content=b"no", headers={"Content-Type": "image/png"})
        found["wrong"] = wrong.status_code, wrong.json()["error"]["type"]
        found["keyless"] = (await client.post("/v1/embed", headers={"Authorization": ""})).status_code

asyncio.run(ask())
found["status"] = {name: len(each.replica_states) and sum(each.replica_states.values()) for name, each in
                   serve.status().applications["default"].deployments.items()}
serve.shutdown()
ray.shutdown()
print(json.dumps(found))
"""


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (make test-ray)")
def test_replicas_answer_as_the_engine_does(engine: fc.Engine, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "cup.png").write_bytes(picture)
    (tmp_path / "keys").write_text("alpha\n")
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "cup.png"), str(tmp_path / "keys")]
    ended = subprocess.run(command, env=quick(), capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    expected = engine.decompose(picture, l0=4).top()
    for status, words in found["answers"]:
        assert status == 200
        assert [word for word, _ in words] == [word for word, _ in expected]
        assert [weight for _, weight in words] == pytest.approx([weight for _, weight in expected], abs=1e-4)
    assert found["wrong"] == [422, "ImageError"]
    assert found["keyless"] == 401
    assert found["status"] == {"fastconcept": 2}


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[ray\]"):
        deployment()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bundel": "x"}, r"'bundel' is no argument here; there are api_keys, bank, batch_window, bundle"),
        ({"max_batch": "many"}, "max_batch must be a number, got 'many'"),
        ({"max_batch": "0"}, "max_batch must be positive"),
        ({"api_keys": "/nowhere"}, "cannot read the API keys"),
    ],
)
def test_arguments_that_are_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        application(arguments)
