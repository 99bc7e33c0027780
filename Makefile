# make run CATEGORY=cable   one category end to end      make test   all that CI checks
# make env                  just the environment         make book   the book in _build/html
# make lab                  Jupyter Lab on the notebooks make lock   resolve requirements.lock anew

CATEGORY ?= cable
RECIPE ?=
DATA ?=
SEED ?=
DEVICE ?= auto
OUT ?= notebooks/runs/$(CATEGORY)
PYTHON ?= python3
EXECUTE ?= 0

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
UV := $(shell command -v uv 2>/dev/null)
WORKERS ?= 2
THREADS ?= 1
ONLY ?= $(shell cat notebooks/tested.txt) tests

.PHONY: run env test lint pytest torture book pdf sheets lab lock clean
.DEFAULT_GOAL := run

run: $(STAMP)
	@$(BIN)/padim-nb run $(CATEGORY) $(if $(RECIPE),--recipe $(RECIPE)) $(if $(DATA),--data $(DATA)) \
	  $(if $(SEED),--seed $(SEED)) --device $(DEVICE) --out $(OUT)

env: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
ifneq ($(UV),)
	@test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV)
	@echo "installing the environment with uv (about 6 GB on disk: torch brings its GPU libraries) ..."
	uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	uv pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the environment with pip (about 6 GB on disk, some minutes; uv is much faster) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
	@touch $@

lock:
	uv pip compile pyproject.toml --extra lab --extra book --extra dev --universal --python-version 3.10 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

test: lint book pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

pytest: $(STAMP)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(ONLY) --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder \
	  --nbval --nbval-current-env --nbval-sanitize-with tests/nbval-sanitize.cfg --nbval-cell-timeout 600

torture: $(STAMP)
	$(BIN)/python -m pytest tests -k "kill_9 or steady" --kills 20

book: $(STAMP)
	$(BIN)/python book/build.py $(if $(filter 1,$(EXECUTE)),--execute)

pdf: $(STAMP)
	$(BIN)/python book/print.py

sheets: $(STAMP)
	$(BIN)/padim-nb data sheets book/images/twin

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf _build $(VENV) dist .pytest_cache .ruff_cache .hypothesis
	find notebooks/runs -mindepth 1 ! -name .gitkeep -delete
