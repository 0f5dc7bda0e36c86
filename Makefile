# Every verb sets up what it needs; `make help` lists them. Nothing here deploys to a real AWS account.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := build/uv/bin/uv
BIN := .venv/bin

export UV_PYTHON_DOWNLOADS := never
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 1

.PHONY: help
help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# ---- set-up: each stamp is made again when what it is made from changes ----

$(UV):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is %d.%d; set PYTHON=python3.12, say" % v[:2])'
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.stamp: uv.lock pyproject.toml executor/pyproject.toml | $(UV)
	@echo "Installing the Python packages of uv.lock into .venv"
	@$(UV) sync --quiet --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

build/venv/local-aws/.stamp: uv.lock | $(UV)
	@echo "Installing the embedded AWS into a venv of its own"
	@UV_PROJECT_ENVIRONMENT=build/venv/local-aws $(UV) sync --quiet --frozen --only-group local-aws --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

node_modules/.stamp: package-lock.json
	@command -v npm > /dev/null || { echo "npm is needed: install Node.js 20 or newer"; exit 1; }
	@echo "Installing the CDK CLI of package-lock.json"
	@npm ci --silent --no-audit --no-fund
	@touch $@

.PHONY: setup
setup: .venv/.stamp build/venv/local-aws/.stamp node_modules/.stamp ## Install everything the other verbs need
