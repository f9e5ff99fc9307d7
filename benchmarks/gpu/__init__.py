"""The GPU path on one machine: ``python -m benchmarks.gpu.run --json FILE``. Needs no network; see docs/gpu.md."""
