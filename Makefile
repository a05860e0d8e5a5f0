# Two commands matter: `make run` and `make test`. Both set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9

SDK_FILES := src/saytics_server/sdk_files
SDK_SOURCES := $(wildcard sdks/node/package.json sdks/browser/package.json sdks/browser/package-lock.json $(wildcard sdks/browser/src/*) $(wildcard sdks/node/src/*) sdks/python/pyproject.toml sdks/python/src/saytics/*.py sdks/python/src/saytics/integrations/*.py)

.PHONY: run test test-slow test-browser lint types format bench soak sdks lock clean ci

run: $(VENV)/.installed $(SDK_FILES)/.built
	$(BIN)/saytics serve

test: $(VENV)/.installed-dev $(SDK_FILES)/.built
	$(BIN)/python -m pytest
	node --test sdks/node/test/*.test.js

test-slow: $(VENV)/.installed-dev $(SDK_FILES)/.built
	$(BIN)/python -m pytest -m slow --timeout 900

test-browser: $(VENV)/.installed-dev $(SDK_FILES)/.built
	$(BIN)/python -m pytest -m browser

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench

# A long run of the SDKs against a server that fails now and then; `make soak EVENTS=500000` for a look.
EVENTS ?= 10000000
soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench sdk_soak --events $(EVENTS)

ci:
	bash .ci/run

# The locks carry hashes and no addresses; `uv.lock` would carry both (docs/decisions/0001).
lock: $(UV)
	$(UV) pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements.lock
	$(UV) pip compile pyproject.toml --group dev -c requirements.lock --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements-dev.lock

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Saytics needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	@echo "Installing the server (about 180 MB, most of it the embedded column store) ..."
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps -e .
	$(BIN)/python -m compileall -q src/saytics_server
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/.installed
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@

sdks: $(SDK_FILES)/.built

# The packages the server hands out under /sdk/.
$(SDK_FILES)/.built: $(SDK_SOURCES) | $(UV)
	@mkdir -p $(SDK_FILES) && rm -f $(SDK_FILES)/*.tgz $(SDK_FILES)/*.whl
	cd sdks/browser && npm ci --silent --ignore-scripts --no-audit --no-fund && npm run --silent build
	cp sdks/browser/dist/saytics.js $(SDK_FILES)/
	npm pack --silent --ignore-scripts --pack-destination $(SDK_FILES) ./sdks/browser > /dev/null
	npm pack --silent --pack-destination $(SDK_FILES) ./sdks/node > /dev/null
	$(UV) build --quiet --wheel --python $(BIN)/python --out-dir $(SDK_FILES) sdks/python
	@rm -f $(SDK_FILES)/.gitignore && touch $@

clean:
	rm -rf $(VENV)
