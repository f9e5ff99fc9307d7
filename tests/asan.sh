#!/usr/bin/env bash
# The tests of the kernels under AddressSanitizer and UndefinedBehaviorSanitizer (`make test-asan`).
# Arguments go to pytest. The instrumented core is built into a directory of its own; the installed one is left as it is.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python3}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

cd "$root"
FASTCONCEPT_SANITIZE=1 FASTCONCEPT_CUDA=0 "$python" setup.py -q \
    build --build-base "$build/base" --build-lib "$build/lib" build_ext --build-temp "$build/objects" >/dev/null

compiler=${CXX:-g++}
preload=""
for library in libasan.so libubsan.so libstdc++.so.6; do # the last one so that exceptions can be intercepted
    preload="$preload $($compiler -print-file-name=$library)"
done
export LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
export FASTCONCEPT_CORE=$build/lib # tests/kernels/conftest.py refuses to test any other core
cd "$build"
"$python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -o pythonpath="$build/lib $root" -p no:cacheprovider \
    -m "not emulated" "${@:-$root/tests/kernels}"
