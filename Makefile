# make up      start a cluster on this machine and chat: see README.md
# make test    run the tests
# `make help` lists the rest.

BIN := .venv/bin
TOPOLOGY ?=
INSTALLED := .venv/.installed
COMPILED ?=
JOBS ?= $(shell expr 2 \* $$(nproc))
PYTEST := -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
ifeq ($(COMPILED),1)
# What these targets start finds the compiled packages before the source.
up bench chaos soak: private export PYTHONPATH := $(CURDIR)/.compiled$(if $(PYTHONPATH),:$(PYTHONPATH))
NEEDED := .compiled/.installed
endif

.PHONY: help setup compiled test-compiled up format lint test test-long sim processes check coverage bench soak chaos clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

$(INSTALLED): setup.cfg pyproject.toml tools/setup.sh $(wildcard tests/clients/package.json)
	@tools/setup.sh

setup: $(INSTALLED)  ## make .venv with everything that is needed

.compiled/.installed: $(INSTALLED) setup.py setup.cfg $(wildcard topology/*.toml) $(shell find zmqim -name '*.py')
	@echo "Compiling what runs for each message into .compiled; this takes two or three minutes ..."
	@rm -rf .compiled.new build/lib* build/bdist*
	@PYTHONPATH= ZMQIM_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --no-build-isolation --no-deps --target .compiled.new .
	@PYTHONPATH=.compiled.new $(BIN)/python -P -m zmqim.cli --version | grep compiled
	@rm -rf .compiled && mv .compiled.new .compiled
	@touch $@

compiled: .compiled/.installed  ## the same code compiled (a C compiler): then COMPILED=1 with up, bench, chaos

up: $(INSTALLED) $(NEEDED)  ## start topology/quickstart.toml (or TOPOLOGY=…); Ctrl-C stops it
	@$(BIN)/zmqim up $(TOPOLOGY)

format: $(INSTALLED)  ## format the source
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(INSTALLED)  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(INSTALLED)  ## the tests, JOBS (two a core) at once; says which were left out and how to run them
	$(BIN)/python $(PYTEST)

test-long: $(INSTALLED)  ## those that only go on where others showed an example: all mutants, more seeds
	$(BIN)/python $(PYTEST) -m long

test-compiled: .compiled/.installed  ## the same for the compiled code: what does not take it apart, and real processes
	PYTHONPATH=$(CURDIR)/.compiled ZMQIM_COMPILED=1 $(BIN)/python -P $(PYTEST) \
	    tests/unit tests/property tests/clients tests/processes/test_chaos.py tests/processes/test_gateway_plugin.py

sim: $(INSTALLED)  ## the simulated cluster only: SEEDS (100) seeds, then the tests of the simulation
	$(BIN)/python -m zmqim.sim --seeds $(or $(SEEDS),100) --jobs $$(nproc)
	$(BIN)/python $(PYTEST) tests/simulation

processes: $(INSTALLED)  ## real processes and real clients only
	$(BIN)/python $(PYTEST) tests/processes tests/clients

check: lint  ## lint, and whether every promise has its test
	$(BIN)/python tools/promises.py --check

coverage: $(INSTALLED)  ## branch coverage of the pure packages
	$(BIN)/python -m coverage run -m pytest tests/unit tests/property
	$(BIN)/python -m coverage report --fail-under=95 --skip-covered --include='zmqim/gossip/*,zmqim/ring/*,zmqim/raft/*,zmqim/chat/*,zmqim/wkproto/*,zmqim/jsonrpc/*,zmqim/bus/links.py,zmqim/*/core.py,zmqim/node/supervision.py'

bench: $(INSTALLED) $(NEEDED)  ## load on a fresh quickstart; BENCH="idle --connections 10000" for another shape
	tools/bench/run.sh $(BENCH)

soak: $(INSTALLED) $(NEEDED) test-long  ## hours: test-long, SEEDS (10000) seeds (resumed), STATES (100000000) of the log core (resumed), CUTS (50), KILLS (100), HTTP (10000) requests, FUZZ (50000) random frames, chaos
	$(BIN)/python -m zmqim.sim --seeds $(or $(SEEDS),10000) --first 1000 --jobs $$(nproc) --held $(or $(HELD),.held)
	$(BIN)/python -m zmqim.sim.explorer --states $(or $(STATES),100000000) --checkpoint $(or $(EXPLORED),.explored)
	ZMQIM_HTTP_REQUESTS=$(or $(HTTP),10000) $(BIN)/python -m pytest tests/clients/test_http_document.py
	ZMQIM_FUZZ_FRAMES=$(or $(FUZZ),50000) $(BIN)/python -m pytest tests/clients/test_fuzz.py
	ZMQIM_POWER_CUTS=$(or $(CUTS),50) $(BIN)/python -m pytest tests/processes/test_power_cut.py
	$(BIN)/python -m tools.chaos --netns --nemeses kill-leader --count $(or $(KILLS),100) --calm 12 --rate $(or $(RATE),2000) --buffers $$((64<<20)) --seconds 3600
	$(BIN)/python -m tools.chaos --netns --runs 6 --seconds 600 --rate $(or $(RATE),2000) --buffers $$((64<<20))

chaos: $(INSTALLED) $(NEEDED)  ## trouble on real processes (root): CHAOS="--seed 7 --seconds 300"
	$(BIN)/python -m tools.chaos --netns $(CHAOS)

clean:  ## remove what can be made again; never zmqim-data
	rm -rf .venv .compiled .compiled.new build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .explored .held
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
