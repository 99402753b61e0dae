# `make help` lists everything. Every target sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo living check test lint format types imports dist-check bench bench-evals bench-guests chaos environments guests guests-repeated soak conformance hosts test-pythons clean
.PHONY: smoke-use-cases smoke-repro-fix-loop smoke-untrusted-inspection smoke-cold-start-validation smoke-review-eval
.PHONY: smoke-parallel-workspaces

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: $(STAMP) ## make .venv with sandlot and all tools

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## the main job on real input: a released package with a known bug, reproduced, patched, proved
	$(BIN)/python examples/real_bug.py

living: $(STAMP) ## a web service from a package index, in an allow-listed network, probed and stopped
	$(BIN)/python examples/living_service.py

check: lint types imports test ## what CI runs: format, lint, types, import contract, tests

# A test that fails gets two more tries, and the summary names it (RERUN): thousands of tests with real processes on a
# busy machine are not to be refused for one moment of it, and not to hide it either. Three at a time on two processors:
# tests wait a lot.
test: $(STAMP) ## all tests but the slow ones, in parallel
	$(PYTEST) -n 3 -m "not slow" --reruns 2 -rR

lint: $(STAMP) ## format check and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## strict type check
	$(BIN)/mypy

imports: $(STAMP) ## the rooms import downwards only
	$(BIN)/lint-imports

smoke-use-cases: $(STAMP) ## the recipes of docs/use-cases for real; RUNTIME=NAME chooses what isolates
	$(BIN)/python -m smokes all

smoke-repro-fix-loop: $(STAMP) ## recipe: reproduce a failure, fix it, prove it, hand it back
	$(BIN)/python -m smokes repro-fix-loop

smoke-untrusted-inspection: $(STAMP) ## recipe: run a hostile package where it can do no harm
	$(BIN)/python -m smokes untrusted-inspection

smoke-cold-start-validation: $(STAMP) ## recipe: does a fresh checkout install, test and run?
	$(BIN)/python -m smokes cold-start-validation

smoke-review-eval: $(STAMP) ## recipe: a change against a checklist, with proofs
	$(BIN)/python -m smokes review-eval

smoke-parallel-workspaces: $(STAMP) ## recipe: one workspace for each issue, at the same time
	$(BIN)/python -m smokes parallel-workspaces

dist-check: $(STAMP) ## build sdist and wheel, install the wheel alone, run it from an empty folder
	$(BIN)/python scripts/dist_check.py

bench: $(STAMP) ## benchmarks against what a user would use instead (minutes)
	$(BIN)/python -m benchmarks

# In an environment of its own, as it has two hundred megabytes of dependencies; offline the rest is measured all the same.
INSPECT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sandlot-inspect
INSPECT_PACKAGE := inspect-ai==0.3.285

bench-evals: $(STAMP) ## what the eval runner costs, beside a bare script and inspect-ai that do the same work (minutes)
	-@$(BIN)/python -m venv "$(INSPECT)" && "$(INSPECT)/bin/python" -m pip install --quiet "$(INSPECT_PACKAGE)"
	$(BIN)/python -m benchmarks.evals --inspect-ai "$(INSPECT)/bin/python"

bench-guests: $(STAMP) ## what workspaces in virtual machines cost, beside bubblewrap and a plain boot of QEMU (minutes)
	$(BIN)/python -m benchmarks.guests

chaos: $(STAMP) ## kill -9 at 200 random moments, 32 clients, 50 workspaces (minutes)
	$(PYTEST) -n 2 -m slow -s tests --ignore tests/hosts --ignore tests/conformance --ignore tests/runtimes/qemu \
		--ignore tests/workspaces/test_debian.py --deselect tests/chaos/test_soak.py

guests: $(STAMP) ## tests that boot virtual machines, attacks and kills among them (needs qemu-system-x86, squashfs-tools, e2fsprogs, cpio)
	$(PYTEST) -n 0 -m "slow or not slow" tests/runtimes/qemu
	SANDLOT_RUNTIME=qemu $(PYTEST) -n 0 -m "not slow" tests/security tests/chaos/test_kill.py

guests-repeated: $(STAMP) ## conformance and smokes in guests 20 times, half of them beside four busy loops (an hour)
	$(BIN)/python scripts/repeat_guests.py

environments: $(STAMP) ## build debian:12 and a setup on it for real, from this machine's apt sources (minutes)
	$(PYTEST) -n 0 -m slow -s tests/workspaces/test_debian.py

conformance: $(STAMP) ## the official MCP conformance suite and Inspector against the server (needs npm)
	$(BIN)/python -m tests.conformance.clients
	$(PYTEST) -n 2 -m slow tests/conformance

CLIENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sandlot-clients
CLIENT_PACKAGES := @anthropic-ai/claude-code@2.1.329 @openai/codex@0.169.0 opencode-ai@1.18.33 @google/gemini-cli@0.61.0

hosts: $(STAMP) ## real chat clients from npm, in a cache folder: connect, doctor, repair, one model turn each; as targets of evals (minutes)
	npm install --no-audit --no-fund --prefix "$(CLIENTS)" $(CLIENT_PACKAGES)
	SANDLOT_CLIENTS="$(CLIENTS)" $(PYTEST) -m slow tests/hosts tests/evals/targets/test_real_agents.py

soak: $(STAMP) ## 20 shells and 20 services in 10 workspaces, 10 minutes of mixed work (SANDLOT_SOAK_S)
	$(PYTEST) -n 0 -m slow -s tests/chaos/test_soak.py

test-pythons: ## the tests on every Python of PYTHONS, each in an environment of its own
	for python in $(PYTHONS); do \
	  $(MAKE) test PYTHON=$$python VENV=.venv-$$(basename $$(dirname $$(dirname $$python))) || exit 1; \
	done

clean: ## remove what the other targets made
	rm -rf .venv .venv-* dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
