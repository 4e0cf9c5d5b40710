# siren_sweep. `make help` says what each target does.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.venv-uv/bin/uv)
PYTHON ?= $(or $(shell command -v python3.11 2>/dev/null),$(shell command -v python3.12 2>/dev/null),python3)
RUN := .venv/bin/python
SWEEP ?= outputs/demo
QUICK := not slow and not browser and not gpu and not chaos and not cluster

comma := ,
# $(call dotted,WHAT,COMMAND): says what, and a dot a second for as long as the command runs
dotted = printf '%s ' "$(1)"; while sleep 1; do printf .; done & trap "kill $$!; echo" EXIT; $(2)

.PHONY: help setup sweep test test-slow test-browser test-cluster test-gpu ui export report docs check \
	audit bench bench-job bench-search chaos lock clean

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## the environment in .venv, from requirements.lock

.venv/.ready: requirements.lock pyproject.toml
	@command -v $(UV) >/dev/null || { $(call dotted,uv is missing: installing it into .venv-uv,$(PYTHON) -m venv .venv-uv \
		&& .venv-uv/bin/python -m pip install -q uv==$(UV_VERSION)); }
	@echo "siren_sweep's environment: $$(grep -c '==' requirements.lock) packages at most, 7 GB, most of it PyTorch's"
	@$(call dotted,making .venv anew,$(UV) venv -q --clear --python $(PYTHON) .venv)
	@$(call dotted,installing and compiling them$(comma) minutes,$(UV) pip sync -q --compile-bytecode --python $(RUN) \
		--require-hashes requirements.lock)
	@$(call dotted,installing siren_sweep,$(UV) pip install -q --python $(RUN) --no-build-isolation --no-deps \
		--editable .)
	@touch $@

sweep: setup ## the demo: two short blocks on the embedded stimulus, exported to outputs/demo/best
	$(RUN) -m siren_sweep -m blocks=demo sweep.name=demo

test: setup ## the quick tests, as CI runs them
	$(RUN) -m pytest -m "$(QUICK)"

test-slow: setup ## the tests that take minutes
	$(RUN) -m pytest -m slow

test-browser: setup ## the tests that open pages in headless Chromium
	$(RUN) -m pytest -m browser

test-cluster: setup ## the tests on a real SLURM and PostgreSQL, of Debian's packages, as root
	$(RUN) -m pytest -m cluster

test-gpu: setup ## the tests that need CUDA
	$(RUN) -m pytest -m gpu

chaos: setup ## the tests that kill processes and fill disks
	$(RUN) -m pytest -m chaos

ui: setup ## MLflow's pages, open on the runs of the newest sweep; Ctrl-C ends them
	@.venv/bin/siren-sweep ui

export: setup ## the best configs of SWEEP (outputs/demo) again
	.venv/bin/siren-sweep export $(SWEEP)

report: setup ## the report of SWEEP (outputs/demo) again
	.venv/bin/siren-sweep report $(SWEEP)

docs: setup ## the documentation in site/, without a warning
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --clean

check: setup ## lint, format, types, that imports go down only, the documentation, and the audit where it can be made
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(RUN) -m pytest -q tests/test_layers.py
	@$(MAKE) --no-print-directory docs
	@$(RUN) .ci/audit.py || test $$? -eq 3  # not audited: said in capitals, and the rest of the check stands

audit: setup ## known vulnerabilities among the locked dependencies; exit code 3 where that could not be found out
	$(RUN) .ci/audit.py

bench: setup ## the training step against the plain loop and the machine's matrix products
	$(RUN) bench/engine.py

bench-job: setup ## the whole job beside what one would use otherwise: DATA=PATH [FRAMES= SEEDS= SIDES= MINUTES= OUT=]
	@test -n "$(DATA)" || { echo 'error: DATA must name the data, a folder with stimulus.zarr and pos.zarr' >&2; exit 2; }
	@PYTHONPATH=bench $(RUN) bench/job/job.py "$(DATA)" $(foreach name,FRAMES SEEDS SIDES MINUTES STEPS NEURONS OUT,$\
		$(if $($(name)),--$(shell tr A-Z a-z <<< $(name)) "$($(name))"))

bench-search: setup ## our search against stock pairs on tables of real learning curves, each left out once: hours on one core
	OMP_NUM_THREADS=1 $(RUN) bench/search/leave_one_out.py run
	$(RUN) bench/search/leave_one_out.py report

lock: ## requirements.lock again, from pyproject.toml
	$(UV) pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --upgrade --output-file requirements.lock

clean: ## remove what the tests and tools left; outputs/ stays
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build site
