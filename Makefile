# `make test` needs only Python 3.11 or later, and PyPI. It uses the machine's ffmpeg if there is one.
PYTHON ?= python3
VENV := .venv
RIVALS := .venv-bench
HOMESEC := .venv-homesec
BIN := $(VENV)/bin
TESTS ?= tests
# The plugin's tests that need no HomeSec; make test-homesec runs them all.
ADAPTER := $(addprefix plugins/homesec/tests/,test_sidecar.py test_folder.py test_delivery.py)
SEED ?= 1
MINUTES ?= 45

.PHONY: help test test-homesec check format bench campaign demo picture vendor clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "TESTS=tests/test_keys.py   make test runs this file only."
	@echo "ONLY=small,boot            make bench measures these rows only."
	@echo "MINUTES=45 SEED=1          make campaign runs so many minutes with this seed."

test: check ## Checks the code and runs all tests.
	$(BIN)/python -m pytest $(TESTS)
	PYTHONPATH=.:plugins/homesec $(BIN)/python -m pytest -n 0 -c plugins/homesec/pyproject.toml --rootdir plugins/homesec $(ADAPTER)

test-homesec: $(HOMESEC)/ready ## Tests the plugin for HomeSec, with an unchanged HomeSec.
	$(HOMESEC)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall . ./plugins/homesec
	PYTHONPATH=. $(HOMESEC)/bin/python -m pytest -c plugins/homesec/pyproject.toml --rootdir plugins/homesec plugins/homesec/tests

check: $(VENV)/ready ## Checks style, types and shell scripts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck *.sh demo/*.sh

format: $(VENV)/ready ## Formats the Python files.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/ready $(RIVALS)/ready ## Measures against rivals; writes docs/performance.md.
	$(BIN)/python -m lab.bench $(if $(ONLY),--only $(ONLY)) --report docs/performance.md

campaign: $(VENV)/ready ## Injects faults for 45 minutes; writes docs/reliability.md.
	$(BIN)/python -m lab.campaign --seed $(SEED) --minutes $(MINUTES) --report docs/reliability.md
	$(BIN)/python -m lab.campaign.backfill  # 20 minutes more, for the backfill of recordings
	$(BIN)/python -m lab.movies  # the reader of mp4 files beside ffprobe
	RECORDER_LIVE=1 $(BIN)/python -m pytest -n 2 tests/test_recorder_live.py  # the recorder, with real cameras
	RECORDER_LIVE=1 $(BIN)/python -m pytest -n 0 tests/test_recorder_systemd.py  # its services, on a machine with systemd
	$(BIN)/python -m lab.cameras || [ $$? -eq 2 ]  # the recorder; 2 means that the machine has no RTSP server

demo: ## Shows the mirror at work, without Docker or a bucket.
	./setup_s3_mirror.sh demo

picture: ## Draws the picture of the README from what the demo prints.
	$(PYTHON) -m lab.picture docs/demo.svg

vendor: ## Downloads the mirror's libraries into vendor/.
	./setup_s3_mirror.sh --vendor-only

clean: ## Removes what the other targets made.
	rm -rf $(VENV) $(RIVALS) $(HOMESEC) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/ready: requirements/dev.lock requirements/ffmpeg.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "Python's venv module is missing: install it (Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.lock
	command -v ffmpeg >/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ffmpeg.lock
	$(BIN)/python requirements/prune.py
	$(BIN)/python -m pip uninstall --quiet --yes setuptools pip  # the tests need neither
	touch $@

# The other tools that `make bench` measures have an environment of their own.
$(RIVALS)/ready: requirements/bench.lock $(VENV)/ready
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.lock
	touch $@

# HomeSec has an environment of its own, and is installed without its own requirements (see the .in files).
$(HOMESEC)/ready: plugins/homesec/requirements/test.lock plugins/homesec/requirements/homesec.lock
	$(PYTHON) -m venv --clear $(HOMESEC)
	$(HOMESEC)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r plugins/homesec/requirements/test.lock
	$(HOMESEC)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r plugins/homesec/requirements/homesec.lock
	$(HOMESEC)/bin/python requirements/prune.py
	touch $@
