# make demo: re-identification on a generated dataset.  make demo-fgvc: classification on another.  make test: all tests.
# Each makes the environment first.
# On a machine with a GPU: make FAISS=gpu demo
PYTHON ?= python3
VENV ?= .venv
FAISS ?= cpu
BIN := $(VENV)/bin
# Python 2 must be able to read it.
IS_NEW_ENOUGH := import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or later is needed, but " \
	+ sys.executable + " is " + sys.version.split()[0] + "; remove $(VENV) if it is there, and name another: PYTHON=python3.13")

.PHONY: demo demo-fgvc test lint env

demo: env
	$(BIN)/python tools/demo.py

demo-fgvc: env
	$(BIN)/python tools/demo.py --config-file configs/demo/dcal_fgvc.yml

test: env
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

env: $(VENV)/installed

$(VENV)/installed: setup.py pyproject.toml
	@python=$(BIN)/python; test -x $$python || python=$(PYTHON); $$python -c '$(IS_NEW_ENOUGH)'
	test -x $(BIN)/python && test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e ".[$(FAISS),dev]"
	$(BIN)/pip install --no-deps fastreid==1.4.0
	touch $@
