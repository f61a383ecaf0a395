# Everyday commands; `make` alone explains them. Works with GNU Make 3.81 and newer.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough; override with `make setup PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCKS := requirements/runtime.txt requirements/dev.txt
PROJECTS := server/pyproject.toml sdk/pyproject.toml

# More arguments for pytest: make test ARGS="-k sleep -x".
ARGS ?=
# How many seeded worlds `make simulate` runs; tests/simulation reads it from the environment.
SEEDS ?= 200
# Or for how many minutes: make simulate MINUTES=30.
MINUTES ?=
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup run test unit check format lint types simulate bench lock reference clean \
	interop interop-python interop-typescript interop-typescript-v3

help: ## explain the targets
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'More arguments for pytest: make test ARGS="-k sleep -x"'

# ---- environment -------------------------------------------------------------------------------

setup: $(INSTALLED) ## make .venv with the locked packages and both distributions

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "Python 3.11 or newer is needed; found: $$("$(or $(PYTHON),python3)" --version 2>&1 || true)" >&2; \
		echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi
	@"$(PYTHON)" -m venv --clear $(VENV)

# Silent but for errors: a first `make run` should show the run.
PIP_INSTALL = $(BIN)/python -m pip install -qq

# Of the tools' settings in the root pyproject.toml none is installed, so it is not a prerequisite.
$(INSTALLED): $(LOCKS) $(PROJECTS) | $(BIN)/python
	@echo "Installing the locked packages into $(VENV) ..."
	@$(PIP_INSTALL) --require-hashes $(addprefix -r ,$(LOCKS))
	@$(PIP_INSTALL) --no-index --no-build-isolation --no-deps -e server -e sdk
	@touch $@

lock: setup ## renew the locked versions in requirements/ (ARGS="--upgrade" for newer ones)
	$(UV_COMPILE) $(PROJECTS) --output-file requirements/runtime.txt
	$(UV_COMPILE) requirements/dev.in --constraint requirements/runtime.txt --output-file requirements/dev.txt

# One file serves every platform and Python from 3.11 on, and names no host to download from.
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

reference: setup ## write docs/reference/python-sdk.md from the docstrings of the SDK
	$(BIN)/python sdk/write_reference.py

clean: ## remove the environments, caches and build results
	rm -rf $(VENV) $(INTEROP_PYTHON)/.venv $(addsuffix /node_modules,$(INTEROP_NODE))
	rm -rf .pytest_cache .ruff_cache .hypothesis server/dist sdk/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the official SDKs, each in an environment of its own ---------------------------------------

INTEROP_PYTHON := tests/interop/python
# Version 4 and version 3 of the TypeScript SDK.
INTEROP_NODE := tests/interop/typescript tests/interop/typescript_v3

# $(call missing,WHAT,REASON): a missing piece is skipped on a laptop and fails in continuous integration.
missing = if [ "$${CI:-}" = true ]; then echo "$(1): $(2)" >&2; exit 1; else echo "$(1) skipped: $(2)"; fi

interop: interop-python interop-typescript interop-typescript-v3 ## install the official SDKs that the interop tests talk to

ifeq ($(wildcard $(INTEROP_PYTHON)/requirements.txt),)
interop-python:
	@$(call missing,interop-python,$(INTEROP_PYTHON)/requirements.txt is not there)
else
interop-python: $(INTEROP_PYTHON)/.venv/.installed
endif

$(INTEROP_PYTHON)/.venv/.installed: $(INTEROP_PYTHON)/requirements.txt | $(BIN)/python
	@echo "Installing the official Python SDK into $(INTEROP_PYTHON)/.venv ..."
	@$(BIN)/python -m venv --clear $(INTEROP_PYTHON)/.venv
	@$(INTEROP_PYTHON)/.venv/bin/python -m pip install -qq --require-hashes -r $<
	@touch $@

ifeq ($(shell command -v npm 2>/dev/null),)
interop-typescript interop-typescript-v3:
	@$(call missing,$@,Node.js and npm are not installed)
else
interop-typescript: tests/interop/typescript/node_modules/.installed
interop-typescript-v3: tests/interop/typescript_v3/node_modules/.installed
endif

$(addsuffix /node_modules/.installed,$(INTEROP_NODE)): %/node_modules/.installed: %/package.json %/package-lock.json
	@echo "Installing an official TypeScript SDK into $*/node_modules ..."
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# ---- work ---------------------------------------------------------------------------------------

run: setup ## start a server and a small app, and show a run from start to end
	$(BIN)/python examples/demo.py $(ARGS)

test: setup interop ## run every test
	$(BIN)/python -m pytest -n auto --dist=loadgroup $(ARGS)

unit: setup ## run the fast tests: units and house rules
	$(BIN)/python -m pytest -n auto $(wildcard tests/unit) $(wildcard tests/test_*.py) $(ARGS)

check: format lint types unit ## format, lint, check types and run the fast tests

format: setup ## format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## check format and lint rules, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## check types: strict in the packages, basic in tests
	$(BIN)/pyright

simulate: setup ## run seeded worlds in virtual time: make simulate SEEDS=2000, or MINUTES=30
	$(BIN)/python -m tests.simulation $(if $(MINUTES),--minutes $(MINUTES),--seeds $(SEEDS)) $(ARGS)

bench: setup ## measure on this machine: make bench ARGS="--help"
	$(BIN)/python -m benchmarks.driver $(ARGS)
