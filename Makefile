# What a person types. `make` alone lists it. Everything lives in .venv; nothing else of this machine is touched,
# except that `make test` installs a browser where it may (Debian, as root or by sudo without a password).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# A lock file names every package with its hash, so there is nothing left to resolve.
PIP_LOCKED := $(PIP) install --require-hashes --no-deps
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate

# A stamp is newer than what it was made from; a changed lock file makes it old.
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: help setup setup-dev system-packages up test prove check format bench flags map lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Install what running needs into .venv; does nothing when nothing changed

setup-dev: $(INSTALLED_DEV) ## The same for what tests and checks need

up: setup ## Start the system and print the link to its page: make up ARGS='--port 9000'
	@$(BIN)/chimera up $(ARGS)

test: setup-dev system-packages ## Run all tests: make test ARGS='-k ledger'
	@$(BIN)/python -m pytest -n logical --dist loadgroup $(ARGS)

prove: setup-dev ## Run all proofs in full, an hour or more, and write docs/proof: make prove ARGS='--every 10'
	@CHIMERA_PROVE=full $(BIN)/python -m tests.prove $(ARGS)

check: setup-dev ## Format, lint, types, import contracts: all of them, whatever the first one says
	@failed=0; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/ruff check --quiet . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports || failed=1; \
	exit $$failed

format: setup-dev ## Let ruff format, and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## Measure everything, or one thing: make bench ARGS='sim --json'
ifeq ($(strip $(ARGS)),)
	@for name in sim memory decide features dryrun config venue connector orders reconcile recovery tick-to-order \
		'tick-to-order --venue http'; do \
		$(BIN)/chimera bench $$name; \
	done
else
	@$(BIN)/chimera bench $(ARGS)
endif

flags: setup ## Write docs/flags.md anew: everything that may be set
	@$(BIN)/chimera flags > $(VENV)/flags.md
	@cat $(VENV)/flags.md > docs/flags.md

map: setup ## Draw the stream map in ARCHITECTURE.md anew
	@$(BIN)/chimera map > $(VENV)/stream-map.md
	@awk '/^<!-- end of stream map/ { skip = 0 } !skip { print } \
		/^<!-- stream map:/ { skip = 1; while ((getline line < "$(VENV)/stream-map.md") > 0) print line }' \
		ARCHITECTURE.md > $(VENV)/architecture.md
	@cat $(VENV)/architecture.md > ARCHITECTURE.md

lock: setup-dev ## Resolve the lock files again; newer versions by make lock ARGS=--upgrade
	@$(COMPILE) $(ARGS) pyproject.toml -o requirements/base.lock
	@$(COMPILE) $(ARGS) requirements/build.in -o requirements/build.lock
	@$(COMPILE) $(ARGS) pyproject.toml --group dev -c requirements/base.lock -o requirements/dev.lock
	@$(COMPILE) $(ARGS) pyproject.toml --extra cluster -c requirements/base.lock -o requirements/cluster.lock
	@$(COMPILE) $(ARGS) pyproject.toml --extra research -c requirements/base.lock -o requirements/research.lock

clean: ## Remove .venv and every cache; the data folder var/ stays
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .nicegui
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@tools/system-packages

$(MADE): tools/make-venv
	@tools/make-venv $(VENV)
	@touch $@

$(INSTALLED): $(MADE) requirements/build.lock requirements/base.lock pyproject.toml
	@echo "Installing Chimera into $(VENV), about a minute the first time"
	@$(PIP_LOCKED) -r requirements/build.lock -r requirements/base.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements/dev.lock
	@echo "Installing what tests and checks need into $(VENV)"
	@$(PIP_LOCKED) -r requirements/dev.lock
	@touch $@
