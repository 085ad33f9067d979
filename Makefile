# Signward's two commands are `make demo` and `make test`; `make help` lists the others.

SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test interop lint bench docs transcript lock clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 12

demo: .venv/.run ## fetch real signed code, scan it, write report.html
	$(BIN)/python -m demo --report report.html

test: .venv/.test ## install what the tests need, run everything
	tools/install-test-tools
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered

interop: .venv/.test ## run only the comparisons with other tools
	tools/install-test-tools
	$(BIN)/python -m pytest -n $(WORKERS) -m interop

lint: .venv/.test ## ruff, mypy --strict, the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.test ## measure, write bench/results.md
	$(BIN)/python -m bench.run

docs: .venv/.test ## write the generated pages, check every link
	$(BIN)/python -m tools.pages
	$(BIN)/python -m pytest -q tests/architecture/test_docs.py

transcript: .venv/.test ## run the README's transcript anew, take the picture
	$(BIN)/python -m tools.transcript --write README.md
	$(BIN)/python -m tools.picture docs/report.png

lock: ## pin the dependencies anew (needs uv)
	tools/lock

clean: ## remove what the targets wrote, keep .venv and the corpus
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis htmlcov
	rm -rf .coverage .coverage.* build dist report.html
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	rm -rf .venv

# --- the environment: each stamp says which locked set .venv holds -------------------------

.venv/.made: tools/make-venv
	tools/make-venv
	@touch $@

.venv/.run: .venv/.made requirements/build.txt requirements/run.txt pyproject.toml
	$(PIP) install -q --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(PIP) install -q --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.test: .venv/.run requirements/test.txt
	$(PIP) install -q --require-hashes -r requirements/test.txt
	@touch $@
