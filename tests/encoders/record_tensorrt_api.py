"""Records what the bindings of TensorRT contain, for test_tensorrt_api.py. Run where the network is, once per version:

    pip install --target LEAN --no-deps tensorrt-lean-cu13-bindings==V tensorrt-lean-cu13-libs==V
    pip install --target FULL --no-deps tensorrt-cu13-bindings==V
    python tests/encoders/record_tensorrt_api.py LEAN FULL

The lean bindings import without a GPU and are asked for their members; nothing is created. The full bindings do not
import without the builder's library, which PyPI does not have: of them, the words in the binary are kept.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).with_name("tensorrt_api.json")
CLASSES = [
    *("Runtime", "ICudaEngine", "IExecutionContext", "Logger", "TensorIOMode", "DataType"),
    *("BuilderFlag", "MemoryPoolType", "IOptimizationProfile", "ITimingCache"),
]
BUILDER_WORDS = [
    *("Builder", "OnnxParser", "NetworkDefinitionCreationFlag", "STRONGLY_TYPED", "create_network", "get_input"),
    *("create_builder_config", "create_optimization_profile", "build_serialized_network", "parse_from_file"),
    *("num_errors", "get_error", "set_memory_pool_limit", "clear_flag", "set_flag", "create_timing_cache"),
    *("set_timing_cache", "get_timing_cache", "add_optimization_profile", "ignore_mismatch", "name"),
]


def main(lean: str, full: str) -> None:
    sys.path.insert(0, lean)
    import tensorrt_lean_bindings as trt

    (binary,) = Path(full).rglob("tensorrt.so")
    words = set(re.findall(rb"[A-Za-z_][A-Za-z_0-9]+", binary.read_bytes()))
    record = {
        "module": [*sorted(name for name in dir(trt) if not name.startswith("_")), "__version__"],
        "classes": {name: sorted(n for n in dir(getattr(trt, name)) if not n.startswith("_")) for name in CLASSES},
        "builder": [word for word in BUILDER_WORDS if word.encode() in words],
    }
    known = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    known[trt.__version__] = record
    TARGET.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
