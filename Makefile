# `make demo` and `make test` need nothing but Python 3.11+ and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two processes with one thread each are faster than one with two, and never fight over the cores.
JOBS ?= 2
FUZZ_SECONDS ?= 600
FUZZ_START ?= 0

.PHONY: demo test slow fuzz lint types imports check wheel bench docs help clean

help:
	@echo "make demo   set up .venv and run the whole way on a made-up farmland scene (about 3 minutes)"
	@echo "make test   set up .venv and run the test suite"
	@echo "make slow   the tests that take long: whole trainings, killed processes, clusters"
	@echo "make fuzz   damaged files of every kind, FUZZ_SECONDS=600 of them; findings are kept in fuzz-findings"
	@echo "make lowest the tests with the lowest versions of everything that pyproject.toml allows (8 GB)"
	@echo "make check  lint, types, import contracts, tests and a wheel that installs and runs"
	@echo "make bench  the benchmarks, each a ratio against what a user would pick instead"
	@echo "make docs   the pages of the verbs in docs/verbs, from their --help"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.user

demo: $(VENV)/.user
	$(BIN)/geoseg demo --output demo --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

# Whole trainings, killed processes, clusters: minutes for a few tests. CI runs them too.
slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

# The same inputs each time; FUZZ_START=100000 and the like are others.
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) --start $(FUZZ_START)

# Floors are promises: an environment of its own with the lowest versions, and the tests in it.
lowest: $(VENV)/.dev
	$(BIN)/python tests/lowest.py --environment .venv-lowest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

wheel: $(VENV)/.dev
	PYTHON=$(BIN)/python sh tests/check_wheel.sh

check: lint types imports test slow wheel

bench: $(VENV)/.dev
	@for script in benchmarks/train.py benchmarks/predict.py benchmarks/vectorize.py benchmarks/simplify.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.user
	$(BIN)/python docs/make_verbs.py

clean:
	rm -rf $(VENV) .venv-lowest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
