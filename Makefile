# `make test` needs nothing but Python 3.11 or later, and PyPI.
PYTHON ?= python3
VENV := .venv
RIVALS := .venv-bench
BIN := $(VENV)/bin
TESTS ?= tests
SEED ?= 1
MINUTES ?= 45

.PHONY: help test check format bench campaign demo vendor clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: check ## check the code, run all tests (TESTS=tests/test_keys.py: only these)
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/ready ## lint, format, types, shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck *.sh demo/*.sh

format: $(VENV)/ready ## format the Python files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/ready $(RIVALS)/ready ## figures beside rivals (ONLY=small,boot: these rows); see docs/performance.md
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) --report docs/performance.md

campaign: $(VENV)/ready ## the fault campaign (MINUTES=45 SEED=1); its table: docs/reliability.md
	$(BIN)/python -m campaign --seed $(SEED) --minutes $(MINUTES) --report docs/reliability.md

demo: ## see it work on this machine, without Docker and without a bucket
	./setup_s3_mirror.sh demo

vendor: ## bring the libraries that the mirror needs into vendor/
	./setup_s3_mirror.sh --vendor-only

clean: ## remove what the other targets made
	rm -rf $(VENV) $(RIVALS) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/ready: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) \
		|| { echo "no venv: install Python's venv module (Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

# The rivals that `make bench` measures against, apart from what the program and its tests need.
$(RIVALS)/ready: requirements-bench.lock $(VENV)/ready
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	touch $@
