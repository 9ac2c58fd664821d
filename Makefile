# `make` alone lists what there is. Everything runs in .venv, which the first target that needs it
# sets up; a second run finds it there. Pip's own settings (PIP_INDEX_URL, pip.conf …) are honoured.

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
ARGS ?=
# Test files run side by side: most of their time is waiting. JOBS=0 runs them one after the other.
JOBS ?= 3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Images in, thumbnails out: BROKER=kafka or redis for two nodes, IMAGES=folder for your own
	@$(BIN)/python examples/thumbnails/demo.py $(if $(BROKER),--broker "$(BROKER)") $(if $(IMAGES),--images "$(IMAGES)") $(ARGS)

test: $(INSTALLED) ## Run all tests; ARGS="-k name -x" for some, JOBS=0 one by one
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --max-worker-restart 0 $(ARGS)
	$(BIN)/python -m pytest examples/thumbnails

check: $(INSTALLED) ## Format, lint, types and the direction of imports, in seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## Measure speed and memory against a floor taken in the same run
	@$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove .venv and all that builds, tests and the demo left behind
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	rm -rf examples/thumbnails/.pytest_cache examples/thumbnails/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found; name one with 'make PYTHON=/path/to/python …'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) does not run or is older than Python 3.11; name another with 'make PYTHON=/path/to/python …'" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): a minute, this once"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { rm -rf $(VENV); echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(INSTALLED): pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@
