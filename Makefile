# make quickstart   a whole small study on the built-in phantom: pack, train, report
# make test         format, lint, types, and the tests that need no cluster and no browser: six minutes on 2 cores
# make test-rest    those that kill commands, those with a browser, Ray or SLURM, and the README's commands
# make test-all     all of these, and what takes minutes
# make test-lowest  the tests of make test with the oldest packages that pyproject.toml accepts, in .venv-lowest
# make docs         the documentation as a site in build/docs/html; a dead link fails
# make release-check  sdist and wheel, and the quickstart with the wheel alone, in an empty environment
# make campaign     200 drawn faults at every place: FAULTS=, SEED=, PLACES=here,ray,slurm, AT_ONCE= studies on this machine
# Everything is installed into .venv, which the first target makes.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED ?= $(VENV)/.installed
EXTRAS ?= dev
# where Python keeps no bytecode, each process would compile torch anew, which takes as long as importing it
COMPILED := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: quickstart test test-rest test-all test-lowest campaign docs release-check lint bench clean

quickstart: $(INSTALLED)
	test -e packs/phantom || $(BIN)/clr-hpc pack phantom --images 1000 --size 64 --output packs/phantom
	$(BIN)/clr-hpc run jobs/quickstart.yaml
	$(BIN)/clr-hpc report jobs/quickstart.yaml

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# one after the other but for the first: what starts clusters has the machine to itself
test-rest: $(INSTALLED)
	$(BIN)/python -m pytest -m 'commands and not slow' --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest -m '(browser or cluster or walkthrough) and not slow'

test-all: test test-rest
	$(BIN)/python -m pytest -m slow

# each lower bound as the version to install: --resolution lowest-direct takes a later one where others would conflict.
# warnings are not errors: old releases warn of what newer Pythons and packages will change
LOWEST := .venv-lowest
test-lowest: $(INSTALLED)
	test -x $(LOWEST)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(LOWEST)
	grep -oE '"[A-Za-z0-9._-]+(\[[a-z,]+\])?>=[0-9.]+' pyproject.toml | sed 's/"//; s/\[.*\]//; s/>=/==/' >$(LOWEST)/bounds.txt
	$(BIN)/uv pip install --quiet $(COMPILED) --python $(LOWEST)/bin/python --constraint $(LOWEST)/bounds.txt --editable '.[dev]'
	PATH=$(abspath $(LOWEST)/bin):$$PATH $(LOWEST)/bin/python -m pytest --numprocesses 2 --dist worksteal -o filterwarnings=default

FAULTS ?= 200
SEED ?= 1
PLACES ?= here,ray,slurm
AT_ONCE ?= 1
campaign: $(INSTALLED)
	$(BIN)/python -m tests.campaign --faults $(FAULTS) --seed $(SEED) --places $(PLACES) --at-once $(AT_ONCE)

docs: $(INSTALLED)
	$(BIN)/python -m docs.site

release-check: $(INSTALLED)
	UV=$(abspath $(BIN)/uv) .ci/release-check

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# benchmarks/gpu.py runs what of these a GPU answers
bench: EXTRAS := dev,benchmarks
bench: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$(EXTRAS)]'
	for benchmark in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf $(VENV) $(LOWEST) packs results build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet $(COMPILED) --python $(BIN)/python --editable '.[$(EXTRAS)]'
	touch $@
