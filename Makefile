# Targets for people and for CI. A virtual environment is made in .venv when there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

CLIP := cbvc_jax/assets/clip/city_cc0.mp4

CLIPS ?=
LARGE ?=
RD := $(BIN)/cbvc rd --out docs/results
CITE := $(BIN)/python -m cbvc_jax.evaluation.report.cite
CITING := README.md $(wildcard cbvc_jax/assets/models/*/MODEL_CARD.md)
METRICS := --metrics vmaf lpips_alex --lpips-every 13

.PHONY: help demo crosscheck results test test-all check lint format clean

help:
	@echo "make demo      encode and decode the bundled clip; results in demo/"
	@echo "make crosscheck  decode the bundled clip on every backend and compare; report in demo/crosscheck/"
	@echo "make results CLIPS='a.mp4 b.mp4' LARGE='c.mp4'  measure the bundled models on your clips; docs/results and README anew"
	@echo "make test      the quick tests"
	@echo "make test-all  the slow ones too"
	@echo "make check     lint, format, types, import contracts, quick tests"
	@echo "make format    format the code and fix what ruff can"
	@echo "make clean     remove what these targets made, but not $(VENV)"
	@echo "PYTHON=python3.12 picks the Python that $(VENV) is made with"

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py $(DEMO)

crosscheck: $(VENV)/.dev
	mkdir -p demo
	$(BIN)/cbvc encode $(CLIP) demo/crosscheck.cbv --rate medium
	$(BIN)/cbvc crosscheck demo/crosscheck.cbv --source $(CLIP) --report demo/crosscheck

results: $(VENV)/.dev
	@test -n "$(CLIPS)" || { echo "Which clips? make results CLIPS='a.mp4 b.mp4' LARGE='c.mp4'"; exit 2; }
	$(RD) $(CLIPS) --model tiny small small-msssim --dataset "small clips" --levels 30 60 90 $(METRICS)
	$(RD) $(CLIPS) --model small small-msssim --dataset "small clips" --rates --levels 75 97 --anchors $(METRICS)
	$(RD) $(CLIPS) --model tiny --dataset "small clips" --codings fixed --anchors
	$(RD) $(CLIPS) --model tiny --dataset "small clips" --rates --codings adaptive --levels 30 60 90 --anchors
	test -z "$(LARGE)" || $(RD) $(LARGE) --model tiny --dataset "720p and 1080p clips" --frames 32
	$(RD) $(CLIP) --model tiny small --dataset bundled --pictures city_cc0 $(METRICS)
	$(CITE) docs/results $(CITING)
	$(BIN)/python examples/known_failures.py --model tiny --output docs/known_failures.png
	$(BIN)/python examples/known_failures.py --model small --output docs/known_failures_small.png
	$(BIN)/python examples/known_failures.py --model small-msssim --output docs/known_failures_small_msssim.png

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(VENV)/.dev
	XLA_FLAGS= $(BIN)/python -m pytest -m ''

check: lint test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find cbvc_jax configs examples tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as new as its installation: a changed pyproject.toml or constraints.txt installs again.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..."
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), with all extras ..."
	$(INSTALL) --editable '.[train,anchors,lpips,export,onnx,openvino,litert,iree,failure,dev]'
	@touch $@ $(VENV)/.core

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
	  "This needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: name one, as in make PYTHON=python3.12 ..." % v)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
