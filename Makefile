# `make demo` and `make test` are all it takes on a fresh machine with Python 3.11 or newer.
# PYTHON says which Python makes the environment, VENV where it goes.

PYTHON ?= python3
VENV ?= .venv

OFFLINE = $(VENV)/.installed-offline
DEV = $(VENV)/.installed-dev

.PHONY: help setup demo test lint types clean

help:
	@echo "make demo    fine-tune on a sample frame, compare with baselines, save, load, predict (minutes)"
	@echo "make test    all tests, notebooks included"
	@echo "make lint    ruff: rules and format"
	@echo "make types   mypy, strict"
	@echo "make setup   the environment in $(VENV), with everything that development needs"
	@echo "make clean   remove the environment and what tools left behind"

setup: $(DEV)

demo: $(OFFLINE)
	$(VENV)/bin/thermocline demo

# Two test processes share the cores, so each computes on one.
test: export OMP_NUM_THREADS = 1
test: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 --nbmake tests notebooks

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(DEV)
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Thermocline needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps are newer than pyproject.toml, so a changed dependency is installed by the next command.
$(OFFLINE): pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install -e '.[offline]'
	@touch $@

$(DEV): pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install -e '.[dev]'
	@touch $@ $(OFFLINE)
