# make quickstart   a whole small study on the built-in phantom: pack, train, report
# make test         format, lint, types, tests
# Everything is installed into .venv, which the first target makes.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED ?= $(VENV)/.installed
EXTRAS ?= dev

.PHONY: quickstart test lint bench clean

quickstart: $(INSTALLED)
	test -e packs/phantom || $(BIN)/clr-hpc pack phantom --images 1000 --size 64 --output packs/phantom
	$(BIN)/clr-hpc run jobs/quickstart.yaml
	$(BIN)/clr-hpc report jobs/quickstart.yaml

# what starts clusters has the machine to itself
test: lint
	$(BIN)/python -m pytest --ignore tests/integration --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest tests/integration

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: EXTRAS := dev,benchmarks
bench: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$(EXTRAS)]'
	for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf $(VENV) packs results build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	# compiled, since importing torch takes twice as long where Python may not keep what it compiles
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[$(EXTRAS)]'
	touch $@
