# Two commands do everything, set-up included: `make demo` and `make test`.
# The virtual environment .venv is made anew when requirements.lock, pyproject.toml or the C accelerator changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Imports without byte code would compile 200 modules at each start of the command.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long check format lock clean tools

$(READY): requirements.lock pyproject.toml scripts/set-up $(wildcard balenawasm/engine/accelerator*.[ch])
	@PYTHON="$(PYTHON)" scripts/set-up "$(VENV)"
	@touch $@

demo: $(READY)
	@$(BIN)/python scripts/demo

tools: $(READY)
	@scripts/install-test-tools $(VENV)

test: $(READY) tools
	@$(BIN)/python -m pytest -m "not long"

test-long: $(READY)
	@scripts/install-test-tools $(VENV) long
	@$(BIN)/python -m pytest

check: $(READY)
	@$(BIN)/python -m pytest tests/test_house.py

format: $(READY)
	@$(BIN)/ruff format balenawasm tests benchmarks
	@$(BIN)/ruff check --fix balenawasm tests benchmarks

# Needs pip-tools on PATH; pins every dependency by version and hash.
lock:
	pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras \
	    --allow-unsafe --no-header --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
