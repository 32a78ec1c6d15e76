# One file for every task. `make demo` and `make test` set up all they need in .venv.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help setup models demo test check format bench wheel wheel-check dashboards dashboards-check clean

help:
	@echo "make demo    set up, fetch the model files (accepts their licence), run on demo/astronaut.mp4 into demo/out"
	@echo "make test    set up, fetch the model files (accepts their licence), run the tests"
	@echo "make check   formatting, lint, types, direction of imports"
	@echo "make bench   measure speed and memory on the demo clip, keep the result"
	@echo "make format  format the code"
	@echo "make wheel   build the source distribution, and the wheel from it, into dist/"
	@echo "make wheel-check  build both, look at what is in them, run the demo from the wheel in an empty environment"
	@echo "make dashboards        write Grafana's dashboards and the table of metrics anew"
	@echo "make dashboards-check  check them against Grafana's own types (npm and a network)"

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "auflow needs Python 3.11 to 3.13 with venv (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed

models: setup
	$(BIN)/auflow models fetch --accept-license

demo: models
	$(BIN)/auflow run demo/astronaut.mp4 -o demo/out --overlay
	$(BIN)/auflow plot demo/out/astronaut.csv -o demo/out/astronaut.png
	$(BIN)/auflow report demo/out/astronaut.csv --video demo/astronaut.mp4 -o demo/out
	@ls -l demo/out

# Without a network the tests that need model files skip, with the reason.
test: setup
	-$(BIN)/auflow models fetch --accept-license
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@mkdir -p build/typing && ln -sfn ../.. build/typing/auflow
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: models
	$(BIN)/auflow bench

wheel: setup
	rm -rf dist
	$(BIN)/python -m build --outdir dist

wheel-check: setup
	$(BIN)/python .ci/check_wheel.py

dashboards: setup
	$(BIN)/python -m auflow.grafana.build

# Not part of `make test`: it installs from npm.
dashboards-check: setup
	$(BIN)/python -m auflow.grafana.check_types

clean:
	rm -rf build dist demo/out .mypy_cache .ruff_cache .pytest_cache *.egg-info
