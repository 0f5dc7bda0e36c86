# Every verb installs what it needs; `make help` lists the verbs. Only `prove` deploys to an AWS
# account, and only `prove`, `destroy` and `prune` change one.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := build/uv/bin/uv
BIN := .venv/bin

export UV_PYTHON_DOWNLOADS := never
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20

.PHONY: help
help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# ---- set-up: a stamp is made again when one of its sources changes ----

# Checked before anything is installed. Order-only, so it never causes an installation.
.PHONY: tools
tools:
	@command -v "$(PYTHON)" > /dev/null || { echo "There is no $(PYTHON): install Python 3.11, 3.12 or 3.13, or name the one to use: make PYTHON=python3.12"; exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is %d.%d: name another one, make PYTHON=python3.12" % v[:2])'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; } >&2
	@command -v node > /dev/null || { echo "There is no node: install Node.js 20 or newer, which the CDK CLI runs on"; exit 1; } >&2
	@node -e 'const v = process.versions.node; if (parseInt(v) < 20) { console.error(`Node.js 20 or newer is needed, node is $${v}: install a newer one, first in PATH`); process.exit(1) }'
	@command -v npm > /dev/null || { echo "There is no npm: install it, it comes with Node.js 20 or newer (Debian, Ubuntu: apt-get install npm)"; exit 1; } >&2

$(UV): | tools
	@"$(PYTHON)" -m venv build/uv
	@build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.stamp: uv.lock pyproject.toml constructs/pyproject.toml executor/pyproject.toml | tools $(UV)
	@echo "Installing the Python packages of uv.lock into .venv"
	@$(UV) sync --quiet --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

# One venv for each dependency group that conflicts with the others: build/venv/<group>.
build/venv/%/.stamp: uv.lock executor/pyproject.toml local_aws/pyproject.toml | tools $(UV)
	@echo "Installing the dependency group $* into build/venv/$*"
	@UV_PROJECT_ENVIRONMENT=build/venv/$* $(UV) sync --quiet --frozen --only-group $* --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

# The packages of the image with the default Airflow, fewer than its group has.
DEFAULT_LOCK := lambda_image/locks/3.3.2.txt

build/venv/image/.stamp: $(DEFAULT_LOCK) | tools $(UV)
	@echo "Installing the image's packages into build/venv/image"
	@test -x build/venv/image/bin/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" build/venv/image
	@$(UV) pip sync --quiet --python build/venv/image/bin/python $<
	@touch $@

node_modules/.stamp: package-lock.json | tools
	@echo "Installing the CDK CLI of package-lock.json"
	@npm ci --silent --no-audit --no-fund
	@node -e 'const v = process.versions.node; if (parseInt(v) < 22) console.error(`Node.js $${v} works, but is no longer supported by its makers: 22 or newer is recommended.`)'
	@touch $@

.PHONY: setup
setup: .venv/.stamp build/venv/local-aws/.stamp node_modules/.stamp ## Install what the other verbs need
	@:

# ---- the product on one machine ----

.PHONY: demo
demo: setup ## Run DAGs on an embedded AWS; one of examples/ with EXAMPLE=s3_etl
	@$(BIN)/python -m demo run $(if $(EXAMPLE),--example "$(EXAMPLE)")

# What may be given to `make local`. Only the command line counts: a shell may export ENV.
OF_LOCAL := DAGS REQUIREMENTS ENV PLUGINS
on_command_line = $(filter command,$(origin $1))
option = $(if $(call on_command_line,$1),--$2="$($1)")
UNKNOWN = $(strip $(foreach v,$(filter-out $(OF_LOCAL) PYTHON MAKE%,$(.VARIABLES)),$(if $(call on_command_line,$v),$v)))

.PHONY: local
local: setup ## Keep it running, with the UI; yours: DAGS=../repo/dags
	@test -z "$(UNKNOWN)" || { echo "make local has no $(UNKNOWN): it has $(OF_LOCAL), as in make local DAGS=../my-repo/dags"; exit 1; } >&2
	@$(BIN)/python -m demo up $(call option,DAGS,dags) $(call option,REQUIREMENTS,requirements) \
	  $(call option,ENV,env) $(call option,PLUGINS,plugins)

.PHONY: local-aws
local-aws: setup ## Run only the embedded AWS, until Ctrl-C
	@$(BIN)/python -m demo aws

.PHONY: local-down
local-down: ## Stop what `make local` started
	@if [ -e build/local/state.json ]; then $(BIN)/python -m demo down; else echo "Nothing is up: \`make local\` starts it."; fi

.PHONY: synth
synth: setup ## Write every stage's templates to cdk.out/<stage>
	@for stage in local dev prod; do \
	  echo "Synthesising $$stage into cdk.out/$$stage"; \
	  AWS_EC2_METADATA_DISABLED=true CDK_DISABLE_CLI_TELEMETRY=true \
	    node_modules/.bin/cdk synth --quiet --no-notices --output cdk.out/$$stage -c stage=$$stage 2>&1 \
	    | sed '/^Supply a stack id /d'; \
	done

.PHONY: destroy
destroy: setup ## Delete a stage, with buckets: make destroy STAGE=dev
	@test -n "$(STAGE)" || { echo "Which stage? make destroy STAGE=dev"; exit 1; } >&2
	@$(BIN)/python destroy.py "$(STAGE)"

.PHONY: costs
costs: setup ## What a stage costs: make costs STAGE=dev OVERRIDE='{"control_plane": {"spot": false}}'
	@test -n "$(STAGE)" || { echo "Which stage? make costs STAGE=dev"; exit 1; } >&2
	@$(BIN)/python -m stacks.reference.costs "$(STAGE)" --override "$${OVERRIDE:-}"

.PHONY: prove
prove: setup ## Try in an account what is unproven: make prove STAGE=dev ARGS=--dry-run
	@test -n "$(STAGE)" || { echo "Which stage? make prove STAGE=dev"; exit 1; } >&2
	@$(BIN)/python -m prove "$(STAGE)" $(ARGS)

.PHONY: preflight
preflight: setup ## Compare a stage with the account's quotas: make preflight STAGE=dev
	@test -n "$(STAGE)" || { echo "Which stage? make preflight STAGE=dev"; exit 1; } >&2
	@$(BIN)/python -m prove "$(STAGE)" --preflight

.PHONY: prune
prune: setup ## Delete old versions and images: make prune STAGE=dev
	@test -n "$(STAGE)" || { echo "Which stage? make prune STAGE=dev, with KEEP=3 or DRY_RUN=1"; exit 1; } >&2
	@$(BIN)/python prune.py "$(STAGE)" $(if $(KEEP),--keep "$(KEEP)") $(if $(DRY_RUN),--dry-run)

# ---- checks ----

.PHONY: lint
lint: setup ## Check format, style, types, imports, lock files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@env PYTHONPATH=local_aws/src $(BIN)/lint-imports --no-cache
	@$(BIN)/hadolint lambda_image/Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml .github/workflows/release.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/zizmor --offline --quiet .github
	@$(UV) lock --check --quiet
	@$(MAKE) requirements-check

.PHONY: format
format: setup ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

EXPORT := $(UV) export --quiet --frozen --no-hashes --no-header --no-annotate --no-emit-local

.PHONY: docs
docs: setup ## Write the generated reference pages
	@$(BIN)/python -m lambda_executor.contract.options_page > docs/reference/options.md
	@$(BIN)/python -m lambda_executor.core.metrics > docs/reference/metrics.md
	@$(BIN)/python -m lambda_executor.core.ledger > docs/reference/invocation-states.md
	@$(BIN)/python -m stacks.config.reference > docs/reference/stage-config.md
	@$(BIN)/python -m stacks.reference.costs > docs/reference/costs.md
	@$(BIN)/python -m stacks.reference.alternatives > docs/reference/costs-compared.md
	@$(BIN)/python -m stacks.reference.cost_charts
	@$(BIN)/python -m stacks.reference.targets > docs/reference/costs-of-targets.md
	@$(BIN)/python -m stacks.reference.snapshots > docs/reference/costs-of-snapshots.md
	@$(BIN)/python -m stacks.reference.snapshots --chart > docs/images/costs-of-snapshots.svg
	@$(BIN)/python -m tests.soak.charts
	@$(BIN)/python -m tests.bench.charts
	@PYTHONPATH=local_aws/src $(BIN)/python -m tests.chaos.attack.page
	@$(BIN)/python -m docs_site.troubleshooting

.PHONY: site
site: setup build/venv/docs/.stamp ## Build the documentation site: build/site/index.html
	@NO_MKDOCS_2_WARNING=1 build/venv/docs/bin/mkdocs build --strict
	@echo "Wrote build/site/index.html"

.PHONY: site-serve
site-serve: setup build/venv/docs/.stamp ## Show the site while you write, until Ctrl-C
	@NO_MKDOCS_2_WARNING=1 build/venv/docs/bin/mkdocs serve --dev-addr 127.0.0.1:8000

# Dependencies of the image's packages that no task, log, secrets backend or program of Airflow uses.
# docs/decisions/0015-what-is-in-the-image.md has a reason for each.
PRUNED := \
  apache-airflow-providers-http pyathena redshift-connector sagemaker-studio \
  babel email-validator fastapi-cli opentelemetry-exporter-otlp opentelemetry-proto \
  uvloop watchfiles websockets
NATIVE_LOCK := lambda_image/native.txt
EXPORT_NATIVE := $(EXPORT) --only-group native
EXPORT_IMAGE := $(EXPORT) --only-group image $(PRUNED:%=--prune %)

.PHONY: requirements
requirements: setup ## Export requirements.txt and the default lock from uv.lock
	@$(EXPORT) --output-file requirements.txt > /dev/null
	@$(EXPORT_IMAGE) --output-file $(DEFAULT_LOCK) > /dev/null
	@$(EXPORT_NATIVE) --output-file $(NATIVE_LOCK) > /dev/null

# Newer packages that an older Airflow allows and does not work with. 3.0's API server answers 500
# with a newer pyjwt if [core] simple_auth_manager_all_admins is set; 3.1 needs sqlalchemy-utils,
# which uses what SQLAlchemy 2.1 removed.
TOO_NEW := $(if $(filter 3.0.%,$(AIRFLOW_VERSION)),pyjwt<2.11)
TOO_NEW += $(if $(filter 3.1.%,$(AIRFLOW_VERSION)),sqlalchemy<2.1)

.PHONY: image-requirements
image-requirements: setup ## The image's packages for AIRFLOW_VERSION=3.2.2
	@test -n "$(AIRFLOW_VERSION)" || { echo "Say which: make image-requirements AIRFLOW_VERSION=3.2.2"; exit 1; } >&2
	@test "lambda_image/locks/$(AIRFLOW_VERSION).txt" != $(DEFAULT_LOCK) || { echo "$(DEFAULT_LOCK) is exported from uv.lock: make requirements"; exit 1; } >&2
	@cp $(DEFAULT_LOCK) lambda_image/locks/$(AIRFLOW_VERSION).new # Keeps the versions that still fit.
	@$(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --group image \
	  --override <(printf '%s==$(AIRFLOW_VERSION)\n' apache-airflow apache-airflow-core; printf '%s; python_version < "0"\n' $(PRUNED)) \
	  --constraint <(printf '%s\n' '$(strip $(TOO_NEW))') \
	  --output-file lambda_image/locks/$(AIRFLOW_VERSION).new > /dev/null \
	  || { rm lambda_image/locks/$(AIRFLOW_VERSION).new; exit 1; }
	@mv lambda_image/locks/$(AIRFLOW_VERSION).new lambda_image/locks/$(AIRFLOW_VERSION).txt
	@echo "Wrote lambda_image/locks/$(AIRFLOW_VERSION).txt: commit it, so that two builds give the same image"

.PHONY: requirements-check
requirements-check: setup
	@diff -u requirements.txt <($(EXPORT)) || { echo "requirements.txt is stale: make requirements"; exit 1; }
	@diff -u $(DEFAULT_LOCK) <($(EXPORT_IMAGE)) || { echo "$(DEFAULT_LOCK) is stale: make requirements"; exit 1; }
	@diff -u $(NATIVE_LOCK) <($(EXPORT_NATIVE)) || { echo "$(NATIVE_LOCK) is stale: make requirements"; exit 1; }
	@$(BIN)/pytest -q tests/unit/lambda_image/test_locks.py

# One Airflow of each other minor version that we support.
AIRFLOWS := oldest 3-1 3-2 3-4

# The first suites need every processor, the others wait for processes and time-outs half of the
# time. More workers than these need more memory than a machine has. The longest suites go first.
PROCESSORS := $(shell nproc 2> /dev/null || echo 2)
FEW := $(shell echo $$(($(PROCESSORS) < 2 ? 2 : $(PROCESSORS) > 8 ? 8 : $(PROCESSORS))))
MANY := $(shell echo $$((2 * $(FEW))))
PARALLEL := --no-loadscope-reorder
# It still finds what is not mended (docs/reference/reliability.md): `make chaos` runs it.
ATTACK := tests/chaos/test_attack.py

.PHONY: test
test: setup build/venv/image/.stamp build/venv/docs/.stamp $(AIRFLOWS:%=build/venv/airflow-%/.stamp) ## Run every test
	@$(BIN)/pytest -n $(FEW) $(PARALLEL) tests/e2e tests/container tests/synth
	@$(BIN)/pytest -n $(MANY) $(PARALLEL) tests/contract tests/security local_aws/tests tests/chaos tests/fuzz tests/unit --ignore $(ATTACK)

# The dependency group of AIRFLOW=3.1; that of the default one is in .venv.
GROUP_OF_AIRFLOW = $(filter $(if $(filter 3.0,$(AIRFLOW)),oldest,$(subst .,-,$(AIRFLOW))),$(AIRFLOWS))

.PHONY: test-airflow
test-airflow: setup build/venv/image/.stamp $(GROUP_OF_AIRFLOW:%=build/venv/airflow-%/.stamp) ## Test one Airflow: make test-airflow AIRFLOW=3.1
	@test -n "$(AIRFLOW)" || { echo "Which Airflow? make test-airflow AIRFLOW=3.1"; exit 1; } >&2
	@$(BIN)/pytest -n $(FEW) tests/contract -k "$(AIRFLOW)"

.PHONY: test-container
test-container: setup build/venv/image/.stamp ## Build the image with podman and test it
	@$(BIN)/pytest tests/container

# What runs outside of pytest finds the embedded AWS's image store by this.
bench chaos: export PYTHONPATH := local_aws/src

# One run of 5,000 tasks, and ten of 300, beside the reference's executor.
CHAOS_SEEDS := 1 2 3 4 5 6 7 8 9 10

.PHONY: chaos
chaos: setup build/venv/image/.stamp ## Attack 8,000 tasks and 200,000 invocations; takes hours
	@HISTORIES=10000 INVOCATIONS=200000 $(BIN)/pytest tests/chaos --ignore $(ATTACK)
	@$(BIN)/python -m tests.chaos.attack --seeds $(CHAOS_SEEDS)
	@$(BIN)/python -m tests.chaos.attack --seeds 1 --tasks 5000 --rounds 2
	@$(BIN)/python -m tests.chaos.attack --seeds 1 --reference || test $$? -le 1

# atheris, which brings the fuzzer, is put on the path of .venv, which has everything else.
.PHONY: fuzz
fuzz: setup build/venv/fuzz/.stamp ## Fuzz every decoder: make fuzz ARGS="--seconds 300 --only event"
	@$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: audit
audit: setup build/venv/image/.stamp ## Vulnerabilities, licences, SBOMs of what is shipped
	@$(BIN)/python -m audit $(PRUNED:%=--prune %)

# What a release publishes.
PACKAGES := executor constructs local_aws

.PHONY: wheels
wheels: setup ## Build the packages into build/wheels and test them without these sources
	@rm -rf build/wheels
	@for package in $(PACKAGES); do $(UV) build --quiet --out-dir build/wheels $$package; done
	@rm build/wheels/.gitignore
	@WHEELS=build/wheels $(BIN)/pytest tests/contract/project/test_wheels.py

.PHONY: release-notes
release-notes: setup ## Check the versions for a tag, write its notes: TAG=v0.1.0
	@test -n "$(TAG)" || { echo "Which tag? make release-notes TAG=v0.1.0"; exit 1; } >&2
	@$(BIN)/python release.py "$(TAG)" > build/release-notes.md || { rm build/release-notes.md; exit 1; }

.PHONY: test-fast
test-fast: setup ## Run the unit tests
	@$(BIN)/pytest tests/unit local_aws/tests/unit

.PHONY: bench
bench: setup build/venv/image/.stamp ## Compare with the reference; writes build/bench/
	@$(BIN)/python -m tests.bench.executor
	@$(BIN)/python -m tests.bench.order
	@$(BIN)/python -m tests.bench.targets
	@$(BIN)/python -m tests.bench.handler
	@$(BIN)/python -m tests.bench.end_to_end
	@$(BIN)/python -m tests.bench.burst
	@$(BIN)/python -m tests.bench.charts --fresh

.PHONY: soak
soak: setup ## An hour of steady load: does anything grow? MINUTES=60 RATE=2
	@$(BIN)/python -m tests.soak --minutes "$(or $(MINUTES),60)" --rate "$(or $(RATE),2)"

.PHONY: clean
clean: ## Remove what the other verbs made; ends `make local`
	@if [ -e build/local/state.json ]; then $(BIN)/python -m demo down; fi
	rm -rf .venv build cdk.out node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
