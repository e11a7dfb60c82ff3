# make demo: set up and run the whole study on synthetic archives. make test: set up and run the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup check-cluster clean

demo: setup
	$(BIN)/python -m sweep.run

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

setup: .venv/ready

check-cluster: setup
	$(BIN)/python -m pytest tests/test_cluster.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "radsweep needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv
