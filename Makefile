# make demo: set up and run the whole study on synthetic archives. make test: set up and run the tests.
# make check: format, lint, types and the tests of the pure core, in two minutes. make docs: the site, in site/.
# make test-cluster: `ray up` to `ray down` on three hosts in network namespaces, where one may make them.
PYTHON ?= python3
BIN := .venv/bin

# Where it is set, as in many containers, each of a sweep's processes compiles the project anew: seconds of a core.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint format test-cluster docs setup check-cluster clean

# Of make test: more flags for pytest, such as FLAGS=--cov, and how many processes share the tests. Tests of one group
# share a process (tests/conftest.py).
FLAGS ?=
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder

demo: setup
	$(BIN)/python -m sweep.run

test: setup
	$(PYTEST) $(FLAGS)

check: lint
	$(PYTEST) -m 'not slow and not chaos and not cluster' $(FLAGS)

lint: setup
	$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format" >&2; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

test-cluster: setup
	$(BIN)/python -m pytest -m cluster -k 'not for_good' -rs --durations 3 tests/cluster

docs: .venv/ready-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: .venv/ready

check-cluster: setup
	$(BIN)/python -m pytest tests/test_cluster.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "radsweep needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # pip would on one core; torch has a file for Python 3.12
	touch $@

.venv/ready-for-docs: .venv/ready
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv site
