# Everything runs in one .venv, which is made on first use from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
# Plain `torch` takes gigabytes for a GPU; this version is found as a CPU build.
TORCH ?= 2.13.0
export KERAS_BACKEND ?= tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_ENABLE_ONEDNN_OPTS ?= 0
# No make-made parallelism and no echo: each target says what it does.
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help:  ## Say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/	/' | expand -t 16

$(STAMP): requirements.lock settings.ini setup.py pyproject.toml
	@echo "Making $(VENV) from requirements.lock: about 3 GB, a few minutes, once."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and f"Expected Python 3.11 to 3.13, received {sys.version.split()[0]}")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

.PHONY: venv reproduce reproduce-full test test-slow
venv: $(STAMP)  ## Make .venv from requirements.lock

reproduce: $(STAMP)  ## Execute every tutorial (NB=03: one), write results/, end with the table of figures
	@$(BIN)/python tools/reproduce.py $(NB)

reproduce-full: $(STAMP)  ## Make the stored long runs again, then reproduce; says first how long it takes
	@$(BIN)/python tools/reproduce.py --full $(NB)

test: $(STAMP)  ## Run every check but the slow tests and the tutorials
	@$(BIN)/python tools/run_checks.py

test-slow: $(STAMP)  ## Run every check, slow tests and tutorials too
	@$(BIN)/python tools/run_checks.py --slow

.PHONY: torch test-backends
torch: $(STAMP)  ## Add PyTorch (a CPU build) to .venv, for the checks on it
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet torch==$(TORCH)

test-backends: $(STAMP)  ## Run library notebooks and tests on TensorFlow, JAX and PyTorch
	@$(BIN)/python tools/on_backends.py

.PHONY: export readme run lock site-address docs
export: $(STAMP)  ## Write modules from notebooks, format, clean, renew README.md
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean
	@$(BIN)/python tools/make_readme.py

readme: $(STAMP)  ## Write README.md and its pictures from nbs/index.ipynb
	@$(BIN)/python tools/make_readme.py

run: $(STAMP)  ## Execute notebooks and store their outputs (NB=22_marginal)
	@test -n "$(NB)" || { echo "Expected NB=..., such as NB=22_marginal or NB=tutorials/03"; exit 2; }
	@$(BIN)/python tools/run_notebook.py $(NB)

lock: $(STAMP)  ## Renew requirements.lock from settings.ini
	@$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --no-header --no-emit-index-url \
		setup.py --extra dev --extra jax --output-file requirements.lock

site-address: $(STAMP)  ## Carry settings.ini's public address into _quarto.yml
	@$(BIN)/python tools/check_site.py --set-address

docs: $(STAMP)  ## Build the website into _docs/ (needs Quarto: nbdev_install_quarto)
	@command -v quarto > /dev/null || { echo "Quarto is not installed: $(BIN)/nbdev_install_quarto, or quarto.org"; exit 2; }
	@$(BIN)/python tools/make_docs.py
