# The newcomer's commands. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEBIAN_HINT := the venv module of Python 3.11 or later is needed (on Debian: apt-get install python3-venv)

.PHONY: help setup bench benchmarks test coverage check inception features site clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/ready  ## make .venv from the lock file

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..." && exit 1)
	$(PYTHON) -m venv --clear $(VENV) || (echo "$(DEBIAN_HINT)" && exit 1)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

bench: setup  ## run the study `quick` on the digits (no download) and print its table
	$(BIN)/latentbench -m sweep=quick seed=0,1,2
	$(BIN)/latentbench-tables sweep=quick

# Leave the machine alone meanwhile. The longer ones, by hand: gpu, samplers, set_metrics, significance, training_throughput.
benchmarks: setup  ## measure speed and memory anew (ten minutes), MNIST where $LATENTBENCH_DATA holds it
	for name in step_ratio evaluation negative_log_likelihood frechet_distance tables; do \
		$(BIN)/python benchmarks/$$name.py > $$name.new && mv $$name.new benchmarks/$$name.md || exit 1; done

test: setup  ## run the tests, on MNIST and Fashion-MNIST too where $LATENTBENCH_DATA holds them
	$(BIN)/pytest -n auto --dist worksteal

coverage: setup  ## run the tests, a sixth slower, and show what they cover
	$(BIN)/python -m slipcover --source src/latentbench --omit 'src/latentbench/contracts/*' --out .coverage.txt \
		-m pytest -n auto --dist worksteal
	@echo "Lines of src that no test ran, of files below 90 % and in all:"
	@awk '$$1 == "(summary)" || (/^src/ && $$4 < 90)' .coverage.txt

check: setup  ## ruff, mypy --strict on src and mypy on benchmarks, the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini
	$(BIN)/lint-imports

# With their dependencies torch-fidelity and timm bring gigabytes that no test needs.
inception: setup  ## get the networks of features=inception, dinov2 and clip alone, so that their tests run
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/inception torch-fidelity==0.4.0 timm==1.0.31

# That of cifar10 takes half an hour and its own command, which is in the metadata of its file.
features: setup  ## train the classifiers of grey images anew (needs MNIST and Fashion-MNIST)
	for data in digits mnist fashion_mnist sprites; do $(BIN)/python -m latentbench.features.train data=$$data || exit 1; done

# mkdocs has a folder of its own, since nothing else needs it.
SITE := $(VENV)/site
site: setup $(SITE)/ready  ## make build/site/index.html, the documents, results and methods as a static site
	$(BIN)/python -m latentbench.cli.site
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict --config-file build/mkdocs.yml

$(SITE)/ready: $(VENV)/ready
	$(PYTHON) -m venv --clear $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check mkdocs-material==9.8.1
	@touch $@

clean:  ## remove .venv, caches and the site, keep outputs
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage dist
