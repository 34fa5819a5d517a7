# make demo: train and evaluate on a generated dataset.  make test: all tests.  Both make the environment first.
# On a machine with a GPU: make FAISS=gpu demo
PYTHON ?= python3
VENV ?= .venv
FAISS ?= cpu
BIN := $(VENV)/bin

.PHONY: demo test lint env

demo: env
	$(BIN)/python tools/demo.py

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

env: $(VENV)/installed

$(VENV)/installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e ".[$(FAISS),dev]"
	$(BIN)/pip install --no-deps fastreid==1.4.0
	touch $@
