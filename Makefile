# make demo: re-identification on a generated dataset.  make demo-fgvc: classification on another.  make test: all tests.
# Each makes the environment first.
# On a machine with a GPU: make FAISS=gpu demo
PYTHON ?= python3
VENV ?= .venv
FAISS ?= cpu
BIN := $(VENV)/bin

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
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e ".[$(FAISS),dev]"
	$(BIN)/pip install --no-deps fastreid==1.4.0
	touch $@
