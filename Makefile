PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## tell the whole story on a small language model made here (minutes)
	$(BIN)/rewardgap demo --out runs/demo

test: $(INSTALLED) ## run the tests; pytest options go into ARGS="..."
	$(BIN)/python -m pytest $(ARGS)

check: $(INSTALLED) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## remove caches and build outputs; .venv and runs stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip:
	$(PYTHON) -m venv .venv

$(INSTALLED): $(BIN)/pip pyproject.toml constraints.txt
	@echo "Installing into .venv (the first time this takes a few minutes)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@
