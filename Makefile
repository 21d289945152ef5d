# One place for every command that people and CI run. `make` alone lists them.

PYTHON ?= python3
VENV := .venv/bin

# Some shells and WSL set these for their own purposes: they count on make's command line only.
ifneq ($(origin HOST),command line)
unexport HOST
endif
ifneq ($(origin NAME),command line)
unexport NAME
endif

# Everything from Python 3.7 on gets its answer from the preflight; older ones can't even read that.
READS_PREFLIGHT := import sys; sys.version_info >= (3, 7) or sys.exit("Python 3.11 to 3.13 is needed: name one, as in make PYTHON=python3.12 serve")
LOCAL := $(PYTHON) -m deploy.local

.DEFAULT_GOAL := help
.PHONY: help serve install test lint types layers deploy-check all-extras check bench bench-peers bench-decoder bench-growth load chaos soak fuzz reference beside-tests client-programs test-network dashboards test-clients clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make serve takes PORT API_KEY MODEL NAME HOST TRITON_HTTP_PORT TRITON_GRPC_PORT TRITON_METRICS_PORT;'
	@echo '  every target takes PYTHON, the interpreter that .venv and .triton are made with (now: $(PYTHON)).'

# Settings travel by environment, where make puts its command line's variables: a key is not seen by `ps`.
serve:  ## install, export, start Triton and the façade, print a URL, a key and curl lines
	@$(PYTHON) -c '$(READS_PREFLIGHT)'
	@exec $(LOCAL) serve

install:  ## install what serving needs into .venv and .triton
	@$(PYTHON) -c '$(READS_PREFLIGHT)'
	@$(LOCAL) install export

test:  ## install what tests need, and run them
	@$(LOCAL) install export test
	$(VENV)/python -m pytest $(TESTS)

lint:  ## ruff (docstrings included), spelling
	@$(LOCAL) install export test lint
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/codespell

types:  ## mypy, strict
	@$(LOCAL) install export test lint
	$(VENV)/mypy

layers:  ## who may import whom
	@$(LOCAL) install export test lint
	$(VENV)/lint-imports

deploy-check:  ## every file in deploy/, by the tool that will read it
	@$(LOCAL) install export test deploy
	$(VENV)/python -m deploy.check

# In one go: each further extra would have pip look at everything again.
all-extras:
	@$(LOCAL) install export test lint deploy

# The tests wait for processes half of the time: what needs a processor goes on beside them.
check: all-extras  ## everything that CI runs
	@$(MAKE) --no-print-directory -j2 beside-tests test
	@$(MAKE) --no-print-directory test-clients

beside-tests: lint types layers deploy-check client-programs

client-programs:
	$(VENV)/python -m tests.clients.install

bench:  ## measure on this machine, for minutes
	@$(LOCAL) install export test
	$(VENV)/python -m tests.load.bench $(BENCH)

bench-peers:  ## install other servers of the same model, and measure beside them
	@$(LOCAL) install export test
	-$(VENV)/python -m tests.load.peers.install
	$(VENV)/python -m tests.load.bench --peers $(BENCH)

bench-decoder:  ## measure text generation, alone and through Triton and the façade
	@$(LOCAL) install export test
	$(VENV)/python -m tests.load.decoder.bench $(BENCH)
	$(VENV)/python -m tests.load.decoder.served $(BENCH)

load:  ## 50 to 1,000 users with Locust, half an hour; LOAD="--minutes 3" for less
	@$(LOCAL) install export test
	$(VENV)/python -m tests.load.users $(LOAD)

bench-growth:  ## how cost grows with callers, texts, models, keys, cached answers; twenty minutes
	@$(LOCAL) install export test
	$(VENV)/python -m tests.load.growth.bench $(BENCH)

soak:  ## half an hour of load; whose memory grows?
	@$(LOCAL) install export test
	$(VENV)/python -m tests.load.soak $(SOAK)

chaos:  ## one fault after another under load, a quarter of an hour; CHAOS="--list", CHAOS="--only kill-triton"
	@$(LOCAL) install export test
	$(VENV)/python -m tests.chaos $(CHAOS)

fuzz:  ## thousands of generated requests over every surface, for minutes
	@$(LOCAL) install export test
	$(VENV)/python -m tests.security.fuzz $(FUZZ)
	$(VENV)/python -m tests.security.decoders

dashboards:  ## write Grafana's dashboards, and draw them from a stack under load
	@$(LOCAL) install export test
	$(VENV)/python -m deploy.grafana
	$(VENV)/python -m tests.deploy.draw_dashboards $(DASHBOARDS)

reference:  ## write docs/reference from the code
	@$(LOCAL) install export test
	$(VENV)/python -m docs.reference

test-network:  ## several Tritons under faults that last, for minutes; network namespaces need root
	@$(LOCAL) install export test
	$(VENV)/python -m pytest tests/network/test_endpoints.py tests/network/long_faults.py

test-clients:  ## install clients that people use, each into its own environment, and run them against the real stack
	@$(LOCAL) install export test
	$(VENV)/python -m tests.clients.install
	$(VENV)/python -m pytest -q tests/clients/everyone.py

clean:  ## remove both environments, logs and caches; exported models stay
	rm -rf .venv .triton .clients .peers .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
