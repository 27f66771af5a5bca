# make demo, make test and make lint each set up .venv by themselves the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint clean

help:
	@echo "make demo   the whole job offline, in about two minutes: train, compare, export"
	@echo "make test   the test suite"
	@echo "make lint   style and types"
	@echo "make clean  remove the environment and what tests and demo left behind"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ssft needs Python 3.10 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 6 GB with PyTorch, a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,praat]'
	@touch $@

demo: $(READY)
	$(BIN)/ssft demo

# One thread per process: two test processes with two threads each would only wait for each other. In the order of the
# files, so that the long ones do not come last, for one process alone.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) ssft-demo runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
