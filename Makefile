# `make help` says what there is. PYTHON chooses the interpreter (3.11 or later), VENV the place,
# CONSTRAINTS the versions: constraints.txt (tested together) or constraints-lowest.txt.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(basename $(CONSTRAINTS))
newest = $$(ls -td runs/$(1)/version_*/ | head -n 1)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-faces check test docs weights

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the package and its tools into it, once

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make setup PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[dev]'
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup ## Train and test on the shapes without, with random and with quality-diversity samples
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/qdgs shapes-demo --overlay configs/shapes_rare.yaml

demo-faces: setup ## Train and test on avatars after nothing, plain and even synthetic faces; prints a table
	$(BIN)/qdgs avatars-table --seeds 1 --output runs/avatars_demo

check: setup ## Check style, types, layers and the container files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

test: check ## Check style and types, and run the tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest --numprocesses auto --dist worksteal

docs: setup ## Build the documentation into build/site
	test -x $(BIN)/mkdocs || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict --site-dir build/site

weights: setup ## Remake the shipped weights (two hours or so) and run their acceptance tests
	$(BIN)/qdgs fit --config configs/shapes_clip.yaml
	$(BIN)/qdgs fit --config configs/shapes_annotator.yaml
	$(BIN)/qdgs fit --config configs/shapes_generator.yaml
	$(BIN)/qdgs fit --config configs/shapes_generator_098.yaml \
	  --model.init_args.init_from $(call newest,shapes_generator)checkpoints/last.ckpt
	for run in shapes_clip shapes_annotator shapes_generator shapes_generator_098; do \
	  cp $(call newest,$$run)shapes_*.safetensors src/qdgs_lightning/weights/ || exit 1; done
	for run in avatars_generator avatars_clip avatars_reader; do \
	  $(BIN)/qdgs fit --config configs/$$run.yaml || exit 1; \
	  cp $(call newest,$$run)$$run.safetensors src/qdgs_lightning/weights/ || exit 1; done
	$(BIN)/qdgs avatars-edits --output src/qdgs_lightning/weights/avatars_edits.safetensors
	$(BIN)/pytest tests/weights tests/guidance tests/generators tests/models
