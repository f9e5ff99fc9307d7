#!/usr/bin/env bash
# Runs a real Triton Inference Server over an exported model repository and compares its answers with the engine's:
# make test-triton. The server comes from the wheel of nvidia-pytriton (CPU, Python backend), of which nothing else is
# used; what it needs is installed beside it, into .cache/triton. Without the wheel for this machine there is no test.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath "${PYTHON:-.venv/bin/python}" --no-symlinks)
home=$PWD/.cache/triton
server=$home/pytriton/tritonserver
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ ! -x "$server/bin/tritonserver" ]; then
    "$python" -m pip install -q --no-deps --target "$home" nvidia-pytriton
    "$python" -m pip install -q --no-deps --target "$home/numpy" "numpy<2" # this Triton misreads the arrays of NumPy 2
fi
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$server/backends/python/"
exec "$python" tests/export/triton_check.py "$server" "$@"
