# `make report` and `make test` set up all they need in .venv on a fresh machine, once.

PYTHON ?= python3
JOBS   ?= 2

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/installed.stamp

# One BLAS thread a process: the work is many small matrices, and processes run side by side.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
# Figures are written to files, also where there is no screen.
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help setup report test test-all bench train retrain tables lint format clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Options: PYTHON=python3.12 (3.11 or newer), JOBS=2 (test processes)"

setup: $(STAMP) ## create .venv with all that the report and the tests need

report: $(STAMP) ## run the studies, draw the figures, write out/report/index.html
	$(BIN)/python -m figures.report

docs: $(STAMP) ## build the documentation, site/index.html (readable offline)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: lint ## ruff, mypy, tests and doctests
	$(BIN)/python -m pytest -n $(JOBS) --durations 10 --durations-min 5

test-all: lint ## the same with the tests marked heavy
	$(BIN)/python -m pytest -n $(JOBS) --durations 10 --durations-min 5 -m ""

train: $(STAMP) ## train and measure what is missing of the paper's tables, JOBS at a time (hours)
	$(BIN)/python -m paper_repro queue --jobs $(JOBS)

retrain: $(STAMP) ## train one short row anew and compare with its shipped number (2 minutes)
	$(BIN)/python -m analysis.retrained_row

bench: $(STAMP) ## time our ways beside others, write docs/benchmarks.md
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[bench]'
	mkdir -p out
	$(BIN)/python -m pytest tests/benchmarks -p no:xdist --benchmark-timer time.process_time \
	    --benchmark-columns median,iqr,rounds --benchmark-json out/benchmarks.json
	$(BIN)/python -m tests.benchmarks out/benchmarks.json

tables: $(STAMP) ## print the paper's tables, published and measured side by side
	@$(BIN)/python -m analysis.paper_tables

lint: $(STAMP) ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff format and fix what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove what was made (out/, caches), keep .venv
	rm -rf out build dist site .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

# The backend comes first and pinned, and builds without isolation: nothing unpinned is used,
# and nothing is fetched when all is there already.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed; PYTHON=$(PYTHON) is" \
	         "$$( ($(PYTHON) --version || echo not found) 2>&1 | tail -n 1)." \
	         "Name another: make PYTHON=python3.12" >&2; \
	    exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[report,test]'
	@touch $@
