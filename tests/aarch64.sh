#!/usr/bin/env bash
# The kernels compiled for aarch64 and their tests run by an emulated CPU (`make test-aarch64`): the same C++ with NEON.
# Arguments go to pytest. It takes minutes, so continuous integration runs the tests on aarch64 machines instead.
#
# Needs Debian or Ubuntu with g++-aarch64-linux-gnu, qemu-user and network access. Python for aarch64 comes from the
# distribution's packages and NumPy and the others from PyPI; they are unpacked into .cache/aarch64, nothing is installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python3}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
compiler=${CXX_AARCH64:-aarch64-linux-gnu-g++}
for tool in "$compiler" qemu-aarch64 apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || {
        echo "$tool is missing; apt-get install g++-aarch64-linux-gnu qemu-user" >&2
        exit 1
    }
done
cache=$root/.cache/aarch64
system=$cache/system site=$cache/site library=$cache/library
mkdir -p "$cache"

# Python of the distribution. The lists of packages of aarch64 are kept apart from those of this machine.
if [ ! -e "$system/.complete" ]; then
    mkdir -p "$cache"/apt/state/lists/partial "$cache"/apt/cache/archives/partial "$cache/debs" "$system"
    get=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$cache/apt/state"
        -o Dir::State::status=/dev/null -o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User=)
    "${get[@]}" update
    version=$(apt-cache depends python3-minimal | sed -n 's/.*Depends: python\(3\.[0-9]*\)-minimal$/\1/p')
    (cd "$cache/debs" && "${get[@]}" download libc6 libgcc-s1 libstdc++6 libexpat1 zlib1g libssl3 libffi8 libbz2-1.0 \
        liblzma5 libsqlite3-0 libuuid1 "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" \
        "libpython$version-dev")
    for package in "$cache"/debs/*.deb; do dpkg-deb -x "$package" "$system"; done
    touch "$system/.complete"
fi
interpreter=$(echo "$system"/usr/bin/python3.[0-9]*)
version=${interpreter##*python}

# What the tests import, as wheels of aarch64.
if [ ! -e "$site/.complete" ]; then
    platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64)
    "$python" -m pip install -q --no-compile --target "$site" "${platforms[@]}" --python-version "$version" \
        --implementation cp --only-binary=:all: \
        numpy pillow safetensors scipy-openblas32 scikit-learn pytest pytest-timeout hypothesis
    touch "$site/.complete"
fi

# The package, with a core of aarch64 instead of this machine's.
rm -rf "$library"
mkdir -p "$library"
cp -rL "$root/fastconcept" "$library/" # a copy: the tests take minutes, and the sources may change meanwhile
rm -f "$library"/fastconcept/kernels/_c*.so
flags=(-std=c++17 -O3 -fno-math-errno -fno-trapping-math -Wall -Wextra -fvisibility=hidden -pthread -fPIC)
headers=("-I$root/csrc/cpu" "-I$("$python" -c 'import pybind11; print(pybind11.get_include())')"
    "-I$system/usr/include/python$version" "-I$system/usr/include")
mkdir -p "$cache/objects"
for source in "$root"/csrc/cpu/*.cpp; do
    printf '%s\0' "$source"
done | xargs -0 -P "$(nproc)" -I {} sh -c 'out=$1/$(basename "$2").o; shift 2; exec "$@" -o "$out"' _ \
    "$cache/objects" {} "$compiler" "${flags[@]}" "${headers[@]}" -c {}
core=$library/fastconcept/kernels/_cpu.cpython-${version/./}-aarch64-linux-gnu.so
"$compiler" -shared -pthread "$cache"/objects/*.o -o "$core"
vectors=$("${compiler%g++}objdump" -d "$core" | grep -cE '\bv[0-9]+\.(4s|2d|8h|16b)')
echo "the core has $vectors instructions on NEON vectors"
[ "$vectors" -gt 1000 ]

export FASTCONCEPT_CORE=$library # tests/kernels/conftest.py refuses to test any other core
export PYTHONPATH=$library:$site:$root PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
cd "$cache"
exec qemu-aarch64 -L "$system" "$interpreter" -m pytest -c "$root/pyproject.toml" --rootdir "$root" \
    -o pythonpath="$library $root" -o timeout=3000 -p no:cacheprovider -m "not emulated" "${@:-$root/tests/kernels}"
