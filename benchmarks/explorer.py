"""How long does a person wait in the explorer? Requests to a server on loopback, one after the other.

python -m benchmarks.explorer
python -m benchmarks.explorer --bundle DIR --requests 200 --json explorer.json
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

import fastconcept as fc


def measure(engine: fc.Engine, photograph: Path, requests: int) -> dict[str, dict[str, float]]:
    """Milliseconds of every kind of request: median and 95th percentile, and of the first ones how long they took."""
    names = engine.bank.names
    rng = np.random.default_rng(0)
    some = [names[k] for k in rng.permutation(len(names))]
    found: dict[str, dict[str, float]] = {}
    with served(engine) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def timed(path: str, parameters: dict[str, Any], body: bytes | None = None) -> tuple[float, Any]:
            method = "GET" if body is None else "POST"
            headers = {} if body is None else {"Content-Type": "image/png"}
            began = time.perf_counter()
            connection.request(method, f"/api/{path}?{urlencode(parameters, doseq=True)}", body, headers)
            response = connection.getresponse()
            content = response.read()
            spent = (time.perf_counter() - began) * 1e3
            if response.status != 200:
                raise RuntimeError(f"{path}: {response.status} {content[:200]!r}")
            return spent, json.loads(content)

        spent, sent = timed("photographs", {}, photograph.read_bytes())
        here = f"photographs/{sent['id']}"
        found["photograph sent"] = {"ms": spent}
        found["first level, 12 maps"] = {"ms": timed(f"{here}/level", {})[0]}
        timed(f"{here}/maps", {"concept": "a warm-up of the text encoder"})
        kinds: dict[str, Callable[[int], tuple[str, dict[str, Any]]]] = {
            "a further concept": lambda k: (f"{here}/maps", {"concept": some[k]}),
            "a further phrase": lambda k: (f"{here}/maps", {"concept": f"a photo of {some[k]} number {k}"}),
            "a further level, 12 maps": lambda k: (f"{here}/level", {"below": _wide(engine, k)}),
            "a place": lambda k: (f"{here}/place", {"x": k % sent["width"], "y": k % sent["height"]}),
            "words": lambda k: (f"{here}/words", {"l1_penalty": 0.1 + 0.4 * (k % 97) / 97}),
            "search": lambda k: ("search", {"q": some[k].partition(".")[0].replace("_", " ")[:5]}),
        }
        for kind, ask in kinds.items():
            times = [timed(*ask(k))[0] for k in range(requests)]
            found[kind] = {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95))}
        connection.close()
    return found


def _wide(engine: fc.Engine, k: int) -> str:
    """One of the concepts with the most below them."""
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    order = np.argsort(-taxonomy.subtree_sizes, kind="stable")
    return engine.bank.names[int(order[k % 200])]


@contextmanager
def served(engine: fc.Engine) -> Iterator[int]:
    """The port of an explorer that a thread serves."""
    import uvicorn

    from fastconcept.saliency.layout import Layout
    from fastconcept.serve import run
    from fastconcept.serve.app import make_app
    from fastconcept.serve.explorer.explorer import modes_of
    from fastconcept.serve.explorer.opening import add_explorer

    app = make_app(engine, hosts=run.LOOPBACK)
    add_explorer(app, layout=Layout(mode=modes_of(engine)[0]))
    bound = run.bind("127.0.0.1", 0)
    bound.listen()  # who connects before the server has started waits
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield int(bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle")
    parser.add_argument("--photograph", type=Path, default=Path(str(files("skimage.data") / "chelsea.png")))
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    engine = fc.load(chosen.bundle)
    engine.warmup(images=())
    found = measure(engine, chosen.photograph, chosen.requests)
    print("| request | median | 95th percentile |\n|---|---|---|")
    for kind, values in found.items():
        numbers = [values["ms"], None] if "ms" in values else [values["p50_ms"], values["p95_ms"]]
        print(f"| {kind} | " + " | ".join("" if n is None else f"{n:.0f} ms" for n in numbers) + " |")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
