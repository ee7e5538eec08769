# ESP. `make help` lists the targets. Needs Python >= 3.11, cargo and make; everything else is fetched and built.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The system's own interpreter where it will do: distributions build theirs with profile-guided optimisation, and ESP
# takes a fifth less processor time than with one that pyenv built (docs/performance-log.md).
PYTHON ?= $(shell for python in /usr/bin/python3 python3; do \
  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done; echo $$python)
VENV := .venv
BIN := $(VENV)/bin
# All state of `make run`; ESP_VAR=DIR puts it elsewhere.
VAR := $(if $(ESP_VAR),$(ESP_VAR),var)
STAMPS := $(VENV)/stamps
RUST_SOURCES := $(wildcard Cargo.toml Cargo.lock rust/*/Cargo.toml rust/*/src/*.rs rust/*/src/*/*.rs rust/*/src/*/*/*.rs)
NATIVE := python/esp/native/_native.abi3.so
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
N ?= 1

.PHONY: help run test build lint check soak fuzz fmt migrate bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done

run: build ## Start ESP with its own PostgreSQL and Valkey, a demo domain and accounts; Ctrl-C stops it
	@exec $(BIN)/esp-server serve --demo "$(VAR)"

test: $(STAMPS)/dev $(STAMPS)/package ## Build, and run the whole test suite
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-5321} cargo test --workspace --exclude esp-py --quiet
	$(BIN)/python -m pytest $(PYTEST_ARGS)

build: $(STAMPS)/package python/esp/_build.json ## Make the environment, build the extension and install esp-server and esp-cli into .venv/bin

lint: $(STAMPS)/dev $(STAMPS)/package ## Formatting, types, layers, clippy, stubs: everything but tests
	$(BIN)/ruff format --check python tests benchmarks
	$(BIN)/ruff check python tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest esp.native._native --allowlist rust/esp-py/stubtest.allowlist
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo clippy --manifest-path rust/fuzz/Cargo.toml --locked --no-default-features --target-dir target/fuzz --quiet -- -D warnings

check: lint test ## All that CI runs

soak: $(STAMPS)/dev $(STAMPS)/package ## Kill processes and cut the power at random for long, and run the stories again and again
	ESP_CRASH_KILLS=$${ESP_CRASH_KILLS:-300} ESP_POWER_CUTS=$${ESP_POWER_CUTS:-20} ESP_MODEL_STEPS=$${ESP_MODEL_STEPS:-10000} $(BIN)/python -m pytest tests/scenarios $(PYTEST_ARGS)

fuzz: $(STAMPS)/dev $(STAMPS)/package ## Fuzz both doors and the parsers (FUZZ_SECONDS for each; cargo-fuzz where it is installed)
	ESP_FUZZ_SECONDS=$(FUZZ_SECONDS) ESP_FUZZ_SEED=$${ESP_FUZZ_SEED:-$$$$} $(BIN)/python -m pytest tests/scenarios/test_imap_fuzz.py \
	  -o faulthandler_timeout=$$(($(FUZZ_SECONDS) + 600)) $(PYTEST_ARGS)
	PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --workspace --exclude esp-py --release --quiet -- --include-ignored
	rust/fuzz/run $(FUZZ_SECONDS)

fmt: $(STAMPS)/dev ## Format everything
	$(BIN)/ruff format python tests benchmarks
	$(BIN)/ruff check --fix-only --quiet python tests benchmarks
	cargo fmt --all

migrate: build ## Bring the database of the configuration in force to the current schema (ESP must be running)
	$(BIN)/esp-server migrate up

bench: $(STAMPS)/dev $(STAMPS)/package ## Measure ESP and Postfix + Dovecot by turns and print ratios
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: build ## Write the generated pages and the example configuration anew
	$(BIN)/python -m esp.cli.pages

clean: ## Remove what was built (never var, which holds mail)
	rm -rf $(VENV) target build dist $(NATIVE) python/esp/_build.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find python tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; give another one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@command -v cargo >/dev/null || { echo "make: cargo is missing; install a Rust toolchain (1.95 or later)" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) lacks venv or ensurepip; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: $(STAMPS)/venv requirements.txt requirements-build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-build.txt
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

# An editable install: the package is python/esp itself, with the extension beside its Python code.
$(STAMPS)/package: $(STAMPS)/runtime pyproject.toml $(RUST_SOURCES)
	@echo "building the extension (some minutes the first time)"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Which commit this is; written only when that changed.
python/esp/_build.json: FORCE
	@commit=$$(git rev-parse HEAD 2>/dev/null) && { git diff --quiet HEAD -- python rust || commit="$$commit-dirty"; } || commit=unknown; \
	grep -qs "\"$$commit\"" $@ || printf '{"commit": "%s", "built_at": "%s"}\n' "$$commit" "$$(date -u +%Y-%m-%dT%H:%M:%SZ)" > $@

FORCE:
