# make run CATEGORY=cable   one category end to end       make test     all that CI checks
# make check                the developer's loop          make torture  kills, memory, sweeps, every Python; coverage
# make env                  just the environment          make anywhere the tests on other machines, pretended
# make lab                  Jupyter Lab on the notebooks  make lock     resolve requirements.lock anew
# make reproduce SOURCE= DATA=  a published table, measured: fetched, swept, compared, certified
# make gpu                  EfficientAD trained in full on a GPU, a few minutes a call
# make book                 the book in _build/html       make dist     sdist and wheel in dist/, checked
# make floor                the unit tests with the oldest Python and libraries that pyproject.toml allows

CATEGORY ?= cable
RECIPE ?=
DATA ?=
SEED ?=
SOURCE ?=
DEVICE ?= auto
OUT ?=
PYTHON ?= python3
EXECUTE ?= 0
OLDEST := 3.11

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
UV := $(shell command -v uv 2>/dev/null)
SYNC := --quiet --python $(BIN)/python requirements.lock
PIP := $(if $(UV),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)
WORKERS ?= 2
THREADS ?= 1
STEPS ?= 2
SWEPT := padim-lite0 padim-gabor padim-random
CHAPTERS = $(shell cat notebooks/tested.txt)
ONLY ?= $(CHAPTERS) tests
PARTS := $(filter-out __init__,$(basename $(notdir $(wildcard padim_nb/twin/parts/*.py))))
TWIN = $(foreach part,$(PARTS),$(if $(shell grep -l '\\"$(part)\\"' notebooks/*.ipynb),$(part)))
CACHE := $(CURDIR)/_build/cache
FLOOR := _build/floor
UNITS ?= $(addprefix tests/,data deploy efficientad evaluation features padim textures util experiments/test_compare.py test_cli.py)

.PHONY: run reproduce gpu env check pure test lint twin pytest torture anywhere solutions floor dist book pdf sheets lab lock clean distclean
.DEFAULT_GOAL := run

run: $(STAMP)
	@$(BIN)/padim-nb run $(CATEGORY) $(if $(RECIPE),--recipe $(RECIPE)) $(if $(DATA),--data $(DATA)) \
	  $(if $(SEED),--seed $(SEED)) --device $(DEVICE) $(if $(OUT),--out $(OUT))

reproduce: $(STAMP)  # a published table: SOURCE=padim-efficientnet-pytorch DATA=/data/mvtec [YES=1]
	@$(BIN)/padim-nb reproduce $(SOURCE) --data $(DATA) --device $(DEVICE) $(if $(OUT),--out $(OUT)) $(if $(YES),--yes)

MINUTES ?= 9
gpu: $(STAMP)  # EfficientAD trained in full on a GPU: give it again until all is done
	$(BIN)/python benchmarks/train_gpu.py --minutes $(MINUTES) $(if $(DATA),--data $(DATA))

env: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(if $(UV),uv venv --quiet --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	@echo "installing the environment (about 6 GB on disk: torch brings its GPU libraries) ..."
ifneq ($(UV),)
	uv pip sync $(SYNC)
else  # the locked uv, by pip; where it finds no registry (it does not read pip's settings), pip does the rest
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.txt
	$(PIP) --require-hashes --requirement $(VENV)/uv.txt
	$(BIN)/uv pip sync $(SYNC) || $(PIP) --require-hashes --requirement requirements.lock
endif
	$(PIP) --no-deps --editable .
	@touch $@

lock:
	uv pip compile pyproject.toml --extra run --extra onnx --extra lab --extra book --extra dev --universal --python-version $(OLDEST) \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

# Two at a time, since the book and the linters use one core each. Everything shares one cache, made here from nothing,
# in which each category that a chapter shows is rendered once. Compiled modules are kept, whatever the shell says, and
# memory that was given back is not returned to the system, which clears each page anew (as `padim-nb run` does).
test: export OMP_NUM_THREADS = $(THREADS)
test: export PADIM_NB_CACHE = $(CACHE)
test: export PYTHONDONTWRITEBYTECODE =
test: export MALLOC_MMAP_MAX_ = 0
test: export MALLOC_TRIM_THRESHOLD_ = 1099511627776
test: $(STAMP)
	$(MAKE) --jobs 2 lint twin
	$(MAKE) --jobs 2 book pytest ONLY="$(CHAPTERS)"
	$(MAKE) pytest ONLY=tests

# What needs no kernel, network, browser or rendered category: seconds each, and the examples of docstrings.
PURE := $(addprefix tests/,data/test_maps.py data/test_mvtec.py evaluation padim/test_moments.py padim/test_settings.py \
  padim/test_shrinkage.py padim/test_smoothing.py features/test_dimensions.py efficientad/test_settings.py util test_words.py)
check: $(STAMP)
	$(MAKE) --jobs 2 lint pure

pure: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PURE) --doctest-modules padim_nb/evaluation padim_nb/padim padim_nb/util

twin: $(STAMP)  # the categories that chapters show
	$(BIN)/padim-nb data render $(TWIN)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tests/words.py

pytest: $(STAMP)
	OMP_NUM_THREADS=$(THREADS) PADIM_NB_STEPS=$(STEPS) PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python \
	  -m pytest $(ONLY) -p warm_kernels \
	  --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder \
	  --nbval --nbval-current-env --nbval-sanitize-with tests/nbval-sanitize.cfg --nbval-cell-timeout 600

torture: $(STAMP)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest tests -v -m "torture or not torture" --kills 20 \
	  $(if $(SEED),--seed $(SEED)) --numprocesses $(WORKERS) --dist worksteal \
	  --cov --cov-report term:skip-covered --cov-fail-under 95
	$(BIN)/padim-nb sweep --recipes $(SWEPT) --seeds 0 --out _build/torture/undisturbed
	$(BIN)/python benchmarks/survive.py _build/torture/undisturbed --recipes $(SWEPT) --seeds 0 --kills 20 \
	  $(if $(SEED),--seed $(SEED))
	$(BIN)/python benchmarks/pythons.py
	$(MAKE) anywhere
	$(MAKE) solutions

# Other machines, pretended one after the other: ONLY="tests/padim notebooks/metrics.ipynb" limits what runs on them.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell
ELSEWHERE := _build/an other pläce
anywhere: $(STAMP)
	taskset -c 0 $(MAKE) pytest WORKERS=1
	PRETENDED_CORES=16 PYTHONPATH=$(CURDIR)/tests/cores $(MAKE) pytest
	$(AVX2) $(MAKE) pytest
	$(MAKE) pytest THREADS=4
	rm -rf "$(ELSEWHERE)"
	mkdir -p "$(ELSEWHERE)"
	git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$(ELSEWHERE)"
	cd "$(ELSEWHERE)" && PADIM_NB_CACHE="$$PWD/cache" OMP_NUM_THREADS=$(THREADS) PADIM_NB_STEPS=$(STEPS) \
	  PYTHONPATH="$$PWD:$$PWD/tests" $(CURDIR)/$(BIN)/python -m pytest $(ONLY) -p warm_kernels --numprocesses $(WORKERS) \
	  --dist loadscope --nbval --nbval-current-env --nbval-sanitize-with tests/nbval-sanitize.cfg --nbval-cell-timeout 600

solutions: $(STAMP)  # of all exercises, each after its chapter's cells
	OMP_NUM_THREADS=$(THREADS) PADIM_NB_CACHE=$(CACHE) PADIM_NB_STEPS=$(STEPS) $(BIN)/python book/solutions.py $(CHAPTERS)

floor: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra run --extra onnx --extra dev --resolution lowest-direct \
	  --python-version $(OLDEST) --no-header --no-annotate --quiet --output-file _build/floor.txt
	test -x $(FLOOR)/bin/python || $(BIN)/uv venv --quiet --python $(OLDEST) $(FLOOR)
	$(BIN)/uv pip sync --quiet --python $(FLOOR)/bin/python _build/floor.txt
	$(BIN)/uv pip install --quiet --python $(FLOOR)/bin/python --no-deps --editable .
	OMP_NUM_THREADS=$(THREADS) PADIM_NB_CACHE=$(CACHE) PADIM_NB_STEPS=$(STEPS) $(FLOOR)/bin/python -m pytest $(UNITS) \
	  --numprocesses $(WORKERS) --dist loadscope

dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

book: $(STAMP)
	$(BIN)/python book/build.py $(if $(filter 1,$(EXECUTE)),--execute)

pdf: $(STAMP)
	$(BIN)/python book/print.py

sheets: $(STAMP)
	$(BIN)/padim-nb data sheets book/images/twin

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

clean:  # results and checkpoints stay: `make distclean` removes them too
	rm -rf _build $(VENV) dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage

RESULTS = $(wildcard runs) $(wildcard notebooks/runs/*)

distclean: clean
	@for place in $(RESULTS); do \
	  echo "removing $$place: $$(find $$place -name record.json | wc -l) records," \
	    "$$(find $$place -name checkpoint.safetensors | wc -l) checkpoints"; done
	rm -rf $(RESULTS)
