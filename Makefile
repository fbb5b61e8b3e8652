PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
PEERS := .venv-bench/.installed
PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check docs pictures rooms bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## tell the whole story on a small language model made here (minutes)
	$(BIN)/rewardgap demo --out runs/demo

test: $(INSTALLED) ## run the tests; pytest options go into ARGS="..."
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

fuzz: $(INSTALLED) ## damage input of every format and read it; options go into ARGS="--count 10000 --seed 1"
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzzing $(ARGS)

check: $(INSTALLED) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

docs: $(INSTALLED) ## build the documentation into site/, without a network; a broken link fails
	$(BIN)/python docs/make_site.py

pictures: $(INSTALLED) ## take the pictures of the README in Chromium, from what make demo has left
	HF_HUB_OFFLINE=1 $(BIN)/python docs/make_pictures.py

rooms: $(INSTALLED) ## print the rooms, what they import, and the figures of the structure
	$(BIN)/python tests/structure.py

bench: $(INSTALLED) $(PEERS) ## measure speed and memory against peers; options go into ARGS="..."
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove caches and build outputs; .venv, .venv-bench and runs stay
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip:
	$(PYTHON) -m venv .venv

$(INSTALLED): $(BIN)/pip pyproject.toml constraints.txt
	@echo "Installing into .venv (the first time this takes a few minutes)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(PEERS): pyproject.toml constraints.txt benchmarks/requirements.txt
	@echo "Installing the peers into .venv-bench (the first time this takes a few minutes)"
	@$(PYTHON) -m venv .venv-bench
	@echo '*' > .venv-bench/.gitignore
	@.venv-bench/bin/pip install -qq --disable-pip-version-check \
		-c constraints.txt -r benchmarks/requirements.txt -e .
	@touch $@
