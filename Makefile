PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate

# What the wheel holds, as links: the checkers follow files, not `spool.__path__`.
LAYOUT := $(abspath $(VENV))/layout

# Settings are read by the checks too, but nothing is connected to.
LINT_ENV := DATABASE_URL=postgresql://nobody@127.0.0.1:1/none REDIS_URL=redis://127.0.0.1:1/0

# What `test-newest` installs into an environment of its own.
NEWEST := .venv-newest
NEWEST_BIN := $(abspath $(NEWEST))/bin

.PHONY: serve test test-long test-newest test-pins lint format screenshots bench bench-scale lock wheel

serve: $(VENV)/.runtime
	@$(BIN)/spool serve $(if $(LANGGRAPH_CONFIG)$(findstring --config,$(ARGS)),,--config examples/langgraph.json) $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest $(if $(ARGS),$(ARGS),-n 4)

test-long: $(VENV)/.dev
	$(BIN)/pytest -m long $(if $(ARGS),$(ARGS),-n 2)

# The newest version of everything that pyproject.toml allows, and private names of it.
# Without ARGS only what is likely to break; ARGS="-n 4" runs the whole suite.
test-newest: $(VENV)/.dev
	$(BIN)/uv venv --quiet --allow-existing $(NEWEST)
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate pyproject.toml --extra embedded --group dev -o $(NEWEST)/requirements.txt
	$(BIN)/uv pip sync --quiet --python $(NEWEST_BIN)/python $(NEWEST)/requirements.txt
	$(BIN)/uv pip install --quiet --python $(NEWEST_BIN)/python --no-deps --no-build-isolation --editable .
	@echo "Newer than the pins:" && sed 's/ ;.*//' requirements-dev.txt | grep -vxFf - $(NEWEST)/requirements.txt || echo none
	$(NEWEST_BIN)/pytest $(if $(ARGS),$(ARGS),-n 0 tests/structure access/tests/test_handlers.py runs/tests/test_executor.py threads/tests/test_state.py)

# Every pin has a wheel for Python 3.14, which Spool does not claim to support yet.
test-pins: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --python-version 3.14 --only-binary :all: --no-header --no-annotate requirements.txt -o /dev/null
	$(BIN)/uv pip compile --quiet --python-version 3.14 --only-binary :all: --no-header --no-annotate requirements-dev.txt -o /dev/null

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@rm -rf $(LAYOUT) && mkdir -p $(LAYOUT)/spool
	@ln -s $(CURDIR)/spool/* $(patsubst %/__init__.py,$(CURDIR)/%,$(filter-out spool/%,$(wildcard */__init__.py))) $(CURDIR)/conftest.py $(LAYOUT)/spool
	cd $(LAYOUT) && $(LINT_ENV) MYPYPATH=$(LAYOUT) $(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p spool
	cd $(LAYOUT) && PYTHONPATH=$(LAYOUT) $(BIN)/lint-imports --no-logo --config $(CURDIR)/pyproject.toml --no-cache
	$(LINT_ENV) LANGGRAPH_CONFIG=examples/langgraph.json $(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The console's pictures in docs/images.
screenshots: $(VENV)/.dev
	$(BIN)/python -m spool.tests.screenshots

bench: $(VENV)/.dev
	$(BIN)/python -m spool.bench $(ARGS)

# An hour on two cores. What is missed is in the report, and stops nothing.
bench-scale: $(VENV)/.dev
	-$(BIN)/python -m spool.bench.runs_scale
	-$(BIN)/python -m spool.bench.claims_scale
	-$(BIN)/python -m spool.bench.fairness_scale
	-$(BIN)/python -m spool.bench.subscribers_scale
	-$(BIN)/python -m spool.bench.crons_scale
	-$(BIN)/python -m spool.bench.threads_scale
	-$(BIN)/python -m spool.bench.threads_scale --open
	-$(BIN)/python -m spool.bench.store_scale
	-$(BIN)/python -m spool.bench.console_scale

# What an earlier build has left would be packed again.
wheel: $(VENV)/.dev
	@rm -rf build dist
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .
	@rm -rf build
	@ls dist/*.whl

lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --extra embedded -o requirements.txt
	$(COMPILE) pyproject.toml --extra embedded --group dev -c requirements.txt -o requirements-dev.txt

$(VENV)/.runtime: requirements.txt setup.py pyproject.toml
	@echo "Installing what Spool runs on into $(VENV) (this happens once)"
	@test -x $(BIN)/python || \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Spool needs Python 3.11 to 3.13: name one, as in make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing the development tools"
	@$(PIP) -r requirements-dev.txt
	@touch $@
