# make demo: set up and run the whole study on synthetic archives. make test: set up and run the tests.
# make docs: the documentation as a site, in site/.
# make test-cluster: `ray up` to `ray down` on three hosts in network namespaces, where one may make them.
PYTHON ?= python3
BIN := .venv/bin

# Where it is set, as in many containers, each of a sweep's processes compiles the project anew: seconds of a core.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-cluster docs setup check-cluster clean

demo: setup
	$(BIN)/python -m sweep.run

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

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
