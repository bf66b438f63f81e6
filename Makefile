# make repro and make test are all that is needed; both make .venv first where it is missing.

SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help repro test lint lock smoke mlflow prefect notebook clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

repro: $(INSTALLED) ## run the pipeline: data to gated release (dvc repro)
	dvc repro

test: $(INSTALLED) ## run the test suite
	pytest

lint: $(INSTALLED) ## check format, lint rules and types
	ruff format --check .
	ruff check .
	mypy

smoke: $(INSTALLED) ## run the whole DAG on a small digit set in a scratch folder
	python -m tests.smoke

mlflow: $(INSTALLED) ## show the runs and the model in the browser, http://127.0.0.1:5000
	mlflow server --backend-store-uri sqlite:///mlflow.db --default-artifact-root mlartifacts

prefect: export PREFECT_API_URL = http://127.0.0.1:4200/api
prefect: $(INSTALLED) ## start Prefect to look at, http://127.0.0.1:4200, and a worker for deployments
	@if prefect work-pool ls >/dev/null 2>&1; then echo "a server runs there already" >&2; exit 1; fi; \
	set -m; prefect server start & server=$$!; set +m; trap 'kill $$server' EXIT; \
	until prefect work-pool ls >/dev/null 2>&1; do sleep 1; kill -0 $$server || exit 1; done; \
	prefect work-pool create --overwrite --type process local && \
	prefect work-pool create --overwrite --type docker containers && \
	prefect deploy --all && \
	prefect worker start --pool local

notebook: $(INSTALLED) ## run notebooks/walkthrough.ipynb again, after make repro
	jupyter nbconvert --execute --inplace --to notebook \
	  --ExecutePreprocessor.record_timing=False notebooks/walkthrough.ipynb

lock: $(INSTALLED) ## rewrite requirements.txt from pyproject.toml
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-annotate \
	  --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" \
	  --upgrade --quiet --output-file requirements.txt

clean: ## remove all that the pipeline made except models/ and reports/
	rm -rf data artifacts dvc_plots mlflow.db mlartifacts .prefect .dvc/cache .dvc/tmp

# pip brings uv, itself from the lock; uv does the rest, in a tenth of the time
$(INSTALLED): requirements.txt
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > .venv/uv.txt
	pip install --quiet --require-hashes --requirement .venv/uv.txt
	uv pip sync --quiet --require-hashes --compile-bytecode --python .venv requirements.txt
	touch $@
