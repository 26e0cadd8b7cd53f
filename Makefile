# Everything a newcomer or CI calls. `make help` lists it.
PYTHON ?= python3
HOME_DIR ?= ./demo
SERVE ?= 1
BIN := .venv/bin
# Four processes with a thread each, since tests wait for servers and browsers a good deal; a file stays in one of
# them, with what it sets up once, and files go in the order of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo serve client test check format bench vendor clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: .venv/.installed  ## set .venv up; does nothing when it is up to date

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samespace needs Python 3.11 or newer, got " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## upgrade a model on real data without backfilling; SERVE=0 stops before the page
	rm -rf $(HOME_DIR)
	$(BIN)/samespace --home $(HOME_DIR) demo
	$(if $(filter 0,$(SERVE)),,$(BIN)/samespace --home $(HOME_DIR) serve)

serve: install  ## open the page on the demo's home
	$(BIN)/samespace --home $(HOME_DIR) serve

client: install  ## the README's client example, from an environment that has the client alone; needs the demo's home
	$(BIN)/python -m bench.client_only --home $(HOME_DIR)

test: install  ## the whole test suite
	$(PYTEST)

check: install  ## formatting, lint, types, layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

format: install  ## format and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## every benchmark of bench/RESULTS.md (a few minutes)
	$(BIN)/python -m bench

vendor: install  ## fetch the front-end libraries anew at their pinned versions; needs npm, which nothing else does
	$(BIN)/python -m web.vendoring

clean:  ## remove what the targets made
	rm -rf .venv .venv-client demo .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
