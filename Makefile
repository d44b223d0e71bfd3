# `make demo` and `make test` are all it takes on a fresh machine with Python 3.11 or newer.
# PYTHON says which Python makes the environment, VENV where it goes, BOUNDS which versions pip may choose;
# `make coverage` says how many of the lines the tests run, and on Python 3.11 takes about half as long again.

PYTHON ?= python3
VENV ?= .venv
BOUNDS ?= -c constraints.txt
SITE ?= build/site
NEWEST = .venv-newest
LOWEST = .venv-lowest
# What `make lowest` installs beside the package, and the tests that it runs: not the list of all families of models
# that the newest transformers and timm have.
LOWEST_EXTRAS = detection,offline,parquet,peft,plots,samples,search,sentencepiece
LOWEST_TOOLS = 'hypothesis>=6.115' 'packaging>=24' 'pytest>=8.3'
LOWEST_TESTS = tests/data tests/config tests/tuning tests/test_predictor.py \
  --ignore=tests/tuning/layers/test_families.py

OFFLINE = $(VENV)/.installed-offline
DEV = $(VENV)/.installed-dev

.PHONY: help setup demo test notebooks docs links pictures coverage newest lowest lint types clean

help:
	@echo "make demo      fine-tune on a sample frame, compare with baselines, save, load, predict (minutes)"
	@echo "make test      all tests"
	@echo "make notebooks runs the notebooks from top to bottom and compares their key figures"
	@echo "make docs      the site of docs/, in build/site; a warning is an error, and no network is needed"
	@echo "make links     lists the addresses elsewhere that README and docs name; nothing is fetched"
	@echo "make coverage  the same, and the share of the code that they run"
	@echo "make pictures  makes the pictures of the docs from real runs (minutes; needs the browser chromium)"
	@echo "make newest    all tests with the newest versions of what Thermocline needs, in $(NEWEST)"
	@echo "make lowest    a part of the tests with the lowest versions that pyproject.toml allows, in $(LOWEST)"
	@echo "make lint      ruff: rules and format"
	@echo "make types     mypy, strict"
	@echo "make setup     the environment in $(VENV), with everything that development needs"
	@echo "make clean     remove the environment and what tools left behind"

setup: $(DEV)

demo: $(OFFLINE)
	$(VENV)/bin/thermocline demo

# Two test processes share the cores, so each computes on one.
test: export OMP_NUM_THREADS = 1
test: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 tests $(COVERAGE)

notebooks: export OMP_NUM_THREADS = 1
notebooks: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 --nbmake notebooks $(NOTEBOOKS)

# mkdocs-material tells of its successor at each build.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(DEV)
	$(VENV)/bin/mkdocs build --strict --site-dir $(SITE)

links:
	@grep -rhoE --include='*.md' 'https?://[^] )>"`,]+' README.md CONTRIBUTING.md SECURITY.md docs | sed 's/[.;:]*$$//' | sort | uniq -c

pictures: export OMP_NUM_THREADS = 1
pictures: $(DEV)
	$(VENV)/bin/python benchmarks/pictures.py

coverage:
	$(MAKE) --no-print-directory COVERAGE='--cov --cov-report=' test

# The bounds of constraints.txt are lifted; what is installed already is upgraded.
newest:
	rm -f $(NEWEST)/.installed-*
	$(MAKE) --no-print-directory VENV=$(NEWEST) BOUNDS='--upgrade --upgrade-strategy eager' setup
	$(NEWEST)/bin/pip freeze --exclude-editable
	$(MAKE) --no-print-directory VENV=$(NEWEST) test

# pip has no such resolution, so uv does it; what only others require is taken as new as it may be.
lowest: export OMP_NUM_THREADS = 1
lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[$(LOWEST_EXTRAS)]' $(LOWEST_TOOLS)
	$(LOWEST)/bin/uv pip list --python $(LOWEST)/bin/python
	$(LOWEST)/bin/python -m pytest $(LOWEST_TESTS)

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(DEV)
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(NEWEST) $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Thermocline needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A stamp is newer than both files, so a changed dependency or bound is installed by the next command.
$(OFFLINE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/pip install $(BOUNDS) -e '.[offline]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/pip install $(BOUNDS) -e '.[dev]'
	@touch $@ $(OFFLINE)
