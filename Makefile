# Two commands matter: make demo, make test. Both set everything up first.
SHELL := /bin/bash
BIN := .venv/bin
DIST := dist
# Hundreds of tests start a process: none compiles what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE

# Which tests a command runs; tests/test_loops.py holds that together they run every one.
QUICK := not slow and not deep and not azurite
TEST := not deep and not azurite
DEEP := deep or azurite or simulation
# One process more than processors: many tests wait for another process.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: azurite bench bicep checkov compiled cover flood kusto soak help pictures quick setup demo run test test-deep check fix package clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready  ## uv, Python 3.13 and the locked packages, in .venv

.venv/.ready: pyproject.toml uv.lock .ci/setup
	@.ci/setup
	@touch $@

demo: setup  ## watch incidents get their tickets, against stand-ins of the remote services
	@$(BIN)/contraforce-sentinel demo

run: setup  ## serve the app on port 7071 with local.settings.json
	@test -f local.settings.json || echo "no local.settings.json: copy local.settings.sample.json and fill it in" >&2
	@if command -v func >/dev/null; then PATH="$(CURDIR)/$(BIN):$$PATH" func start; else $(BIN)/python -m functions_host; fi

quick: setup  ## the tests that need no second process: for every save
	@$(PYTEST) -m "$(QUICK)" $(ARGS)

test: setup  ## every test but the deep ones, offline: for every commit; ARGS="-k name" for some of them
	@$(PYTEST) -m "$(TEST)" $(ARGS)

test-deep: setup azurite kusto  ## the rest: a short bench, the wide tests, Azurite, 1,000 simulations (needs npm)
	@$(MAKE) --no-print-directory bench SHORT=1 ARGS=
	@SIMULATION_COUNT=1000 SIMULATION_TABLES_COUNT=300 REQUIRE_AZURITE=1 REQUIRE_KUSTO=1 \
		$(PYTEST) -m "$(DEEP)" $(ARGS)

soak: setup  ## 20,000 simulations of faults and deaths, an hour or less
	@SIMULATION_COUNT=20000 $(PYTEST) -q tests/test_simulation.py --timeout 0

check: setup  ## style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

cover: setup  ## make test, with 95 % or more of the deployed lines and branches covered
	@$(BIN)/python -m coverage erase
	@$(MAKE) --no-print-directory test ARGS="-q --cov --cov-report=term"

bench: setup  ## measure the app beside its floors; SHORT=1: two minutes, fails on a regression
	@$(BIN)/python -m bench $(if $(SHORT),--short) $(ARGS)

flood: setup  ## memory and time of 20,000 deliveries and a hostile minute, ten minutes; fails over a limit (Linux)
	@$(BIN)/python -m bench.flood $(ARGS)

azurite:  ## Microsoft's emulator of Azure Tables, for the tests of the link store there (needs npm)
	@command -v npm >/dev/null || { echo "azurite: npm is missing; install Node.js" >&2; exit 1; }
	@npm install --prefix .tools --no-fund --no-audit --silent azurite@3.37.0

kusto:  ## the language service of Kusto queries, for the tests of queries, workbook and alerts (needs npm)
	@command -v npm >/dev/null || { echo "kusto: npm is missing; install Node.js" >&2; exit 1; }
	@npm install --prefix .tools --no-fund --no-audit --silent @kusto/language-service-next@12.4.1

fix: setup  ## let ruff correct what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

package: setup  ## the zip that is deployed: code, host.json, requirements.txt from the lock
	@rm -rf "$(DIST)/package" && mkdir -p "$(DIST)/package/src"
	@cp function_app.py host.json "$(DIST)/package"
	@tar -C src --exclude __pycache__ -cf - contraforce_sentinel | tar -C "$(DIST)/package/src" -xf -
	@if [ -f workspaces.json ]; then cp workspaces.json "$(DIST)/package"; fi
	@$(BIN)/python -m compileall -q --invalidation-mode unchecked-hash -s "$(DIST)/package" -p /home/site/wwwroot "$(DIST)/package"
	@.tools/bin/uv export --quiet --frozen --no-dev --group worker --no-emit-project --no-annotate \
		--output-file "$(DIST)/package/requirements.txt" >/dev/null
	@cd "$(DIST)/package" && rm -f ../contraforce-sentinel.zip && "$(CURDIR)/$(BIN)/python" -m zipfile -c ../contraforce-sentinel.zip *
	@du -h "$(DIST)/contraforce-sentinel.zip"

pictures: setup  ## draw the README's terminal pictures anew
	@$(BIN)/python -m operators_tool.pictures docs

bicep:  ## build, lint and format check of infra/ with the real Bicep, from the PATH or from az
	@.ci/bicep

compiled: setup  ## record infra/compiled and the snapshots anew, after a change of a template (needs the Bicep of .ci/bicep-version)
	@$(BIN)/python tests/infra/compiler.py

checkov: setup  ## a scanner of templates, for the test of what would be deployed (in an environment of its own)
	@UV_SYSTEM_CERTS=1 UV_TOOL_DIR="$(CURDIR)/.tools/uv" UV_TOOL_BIN_DIR="$(CURDIR)/.tools/bin" \
		.tools/bin/uv tool install --quiet --python "$$($(BIN)/python -c 'import sys; print(sys._base_executable)')" checkov==3.3.30

clean:  ## remove everything that was made here
	rm -rf .venv .tools .data dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
