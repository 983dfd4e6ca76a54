# Every target creates .venv and installs mmtl with its dependencies, if needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs docs-commands install

install: $(VENV)/installed

# The marker is written last, so an interrupted installation is repeated.
$(VENV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mmtl needs Python 3.10 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python tools/demo.py

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m sphinx --quiet --fail-on-warning docs docs/_build
	@echo "docs/_build/index.html"

docs-commands: install
	$(BIN)/python tests/run_documented_commands.py
