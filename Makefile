# make demo: set up and run the whole study on synthetic archives. make test: set up and run the tests.
# make check: format, lint, types and the tests of the pure core, in two minutes. make docs: the site, in site/.
# make test-cluster: `ray up` to `ray down`, then SLURM, on three hosts in network namespaces, and the image. Needs root.
# make lock: locked/, the digests of all that may be installed. make sbom: sbom.cdx.json, what is installed (CycloneDX).
PYTHON ?= python3
BIN := .venv/bin

# Where it is set, as in many containers, each of a sweep's processes compiles the project anew: seconds of a core.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint format test-cluster docs setup check-cluster lock sbom clean

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
	$(PYTEST) -m 'not slow and not chaos and not cluster and not gpu' $(FLAGS)

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

PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
# Is this machine one whose files' digests are in locked/? Others get the same versions by constraints.txt.
HAS_DIGESTS = $(BIN)/python -c 'import platform, sys; \
  sys.exit(not (platform.system() == "Linux" and platform.libc_ver()[0] == "glibc" \
  and platform.machine() in ("x86_64", "aarch64") and (3, 11, 5) <= sys.version_info[:3] < (3, 14)))'

.venv/ready: pyproject.toml constraints.txt locked/build.txt locked/run.txt locked/test.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "radsweep needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if $(HAS_DIGESTS); then \
	  $(PIP) --require-hashes -r locked/build.txt \
	  && $(PIP) --require-hashes --no-build-isolation -r locked/test.txt \
	  && $(PIP) --no-deps --no-build-isolation --editable .; \
	else $(PIP) --constraint constraints.txt --editable '.[test]'; fi
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # pip would on one core; torch has a file for Python 3.12
	touch $@

.venv/ready-for-docs: .venv/ready locked/docs.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11, 5) and "the site needs Python 3.11.5 or newer, for pymdown-extensions; this is " + sys.version.split()[0])'
	if $(HAS_DIGESTS); then $(PIP) --require-hashes --no-build-isolation -r locked/docs.txt; \
	else $(PIP) --constraint constraints.txt --editable '.[docs]'; fi
	touch $@

# After a change of constraints.txt or pyproject.toml: asks the package index which files there are.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) uv==0.13.9 packaging
	$(BIN)/python -m benchmarks.supply_chain.lock

sbom: setup
	$(BIN)/python -m benchmarks.supply_chain.sbom

clean:
	rm -rf .venv site sbom.cdx.json
