# The front door. Every target builds what it needs first; nothing but git, make and python3 >= 3.11 must be there.
# A target that people type says what it does behind `##`, which is what `make` shows.
.PHONY: help demo up down wheel docs check format test test-integration test-e2e test-long chaos test-docker test-cluster test-gpu \
        test-keyless test-cluster-dagster test-cluster-dagster-image test-cluster-dagster-short test-upgrade demo-cluster lock audit bench-image bench-serving bench-prediction-log bench-scale bench-signing simulate clean

SHELL := /bin/sh
PYTHON ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
ARGS ?=
SEEDS ?= 500
SUMMARY ?=

# $(call install,LOCK): what is installed is what the lock names, no more, and this checkout. PyPI's wheels only, as
# locked: a local index must not slip in another build of torch, and a package that had to be built here would fetch what
# builds it past the lock. The checkout itself is built by the setuptools that was just installed, and fetches nothing.
define install
@echo "Installing requirements/$(1).txt into .venv (about a minute the first time, and longer over a slow network)"
@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
@$(UV) pip sync --quiet --require-hashes --no-build --python $(BIN)/python requirements/$(1).txt
@$(UV) pip install --quiet --no-deps --no-index --no-build-isolation --python $(BIN)/python --editable .
endef

COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
  --override requirements/overrides.in

export PYTHONUNBUFFERED := 1
# A process that may keep what it compiled starts three times as fast the second time, and the suites start thousands.
unexport PYTHONDONTWRITEBYTECODE
# An interpreter that uv fetched by itself would be pinned by nothing.
export UV_PYTHON_DOWNLOADS := never

help: ## Show what can be made (what `make` alone does)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: .venv/.product ## Play five deliveries of real models under client load, in a folder of its own
	@$(BIN)/banana-delivery demo $(if $(SUMMARY),--summary $(SUMMARY))

# The same on a Kubernetes cluster. Builds use the host's network, where the package index is surely reached.
demo-cluster: .venv/.product ## The same on a Kubernetes cluster (docs/kubernetes.md)
	@for name in KUBECONFIG REGISTRY BASE_IMAGE GATEWAY_URL GATEWAY_METRICS_URL; do \
	  printenv "$$name" >/dev/null || { echo "$$name is not set; docs/kubernetes.md says what it has to name." >&2; exit 2; }; done
	@BANANA_TARGET=kubernetes BANANA_REGISTRY_REPOSITORY="$$REGISTRY/banana-demo/banana" \
	  BANANA_BASE_IMAGE="$$BASE_IMAGE" BANANA_BUILD_NETWORK="$${BANANA_BUILD_NETWORK-host}" \
	  BANANA_KUBERNETES_ROUTER_METRICS_URL="$$GATEWAY_METRICS_URL" \
	  $(BIN)/banana-delivery demo --gateway "$$GATEWAY_URL" $(if $(SUMMARY),--summary $(SUMMARY))

up: .venv/.product ## Start the stack, leave it running, and say where its pages are
	@$(BIN)/banana-delivery up

down: .venv/.product ## Stop it; what it knows is kept
	@$(BIN)/banana-delivery down

# The package and its lock, to install without a checkout: README.md says how.
wheel: $(UV) ## The package and its lock into dist/, to install without a checkout
	rm -rf build dist
	$(UV) build --quiet --wheel --python $(PYTHON) --build-constraints requirements/tools.txt --require-hashes .
	cp requirements/runtime.txt dist/requirements.txt
	rm -rf build

# The documentation as a site, build/docs/docs/index.html; a link that leads nowhere ends it.
docs: .docs/.installed ## The documentation as a site, build/docs/docs/index.html
	.docs/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs -b html . build/docs

check: .venv/.installed ## Linter, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed ## Mend what the linter can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Decisions, parts and contracts: what to run before every commit.
test: .venv/.installed ## Unit and contract tests: what to run before every commit
	$(BIN)/pytest tests/unit tests/contract --numprocesses 4 $(ARGS)

# Whole deliveries in memory, and the parts with the real servers and files that they talk to.
test-integration: .venv/.installed ## Whole deliveries in memory, and the parts with real servers
	$(BIN)/pytest tests/integration --numprocesses 4 --dist loadgroup $(ARGS)

test-e2e: .venv/.installed ## The embedded stack with real processes
	$(BIN)/pytest tests/e2e -m "e2e and not long" --timeout 900 $(ARGS)

# Most of an hour: every outcome by the daemon, each part of the stack killed at each phase, serving at ten times its load.
test-long: .venv/.installed ## Most of an hour: every outcome by the daemon, each part killed at each phase
	$(BIN)/pytest tests/integration/serving tests/integration/runs tests/integration/export tests/integration/delivery/gameday tests/e2e -m long --timeout 900 $(ARGS)

# Deliveries, rollbacks and people in memory, while any call may fail, hang, lose its answer or kill its process. A seed that
# breaks an invariant tells its story; .venv/bin/python -m tests.chaos --seed N plays it again.
chaos: .venv/.installed ## The fault simulator (SEEDS=500)
	$(BIN)/python -m tests.chaos --seeds $(SEEDS)

# UPGRADE_FROM is a tag or commit; without it, the last tag.
test-upgrade: .venv/.installed ## The version before and this one take turns with one home
	$(BIN)/pytest tests/upgrade -m upgrade --timeout 1800 $(ARGS)

test-docker: .venv/.installed ## Images by a real engine and registry (REGISTRY, BASE_IMAGE)
	$(BIN)/pytest tests/docker -m docker --timeout 480 $(ARGS)

# Without the five acts and what takes longest besides: make test-cluster ARGS="-m 'cluster and long'" plays those.
test-cluster: .venv/.installed ## The pipeline on a Kubernetes that it may break (KUBECONFIG)
	$(BIN)/pytest tests/cluster -m "cluster and not long" --timeout 600 $(ARGS)

# Dagster itself on the cluster; half an hour.
test-cluster-dagster: .venv/.installed ## Dagster itself on that cluster
	$(BIN)/pytest tests/cluster/dagster -m dagster --timeout 1200 $(ARGS)

test-cluster-dagster-short: .venv/.installed ## The same, what takes under eight minutes
	$(BIN)/pytest tests/cluster/dagster -m "dagster and not long" --timeout 600 $(ARGS)

# Six minutes at first, ten seconds after a change of the code.
test-cluster-dagster-image: .venv/.installed ## The image that both install, ahead of them
	$(BIN)/python -m tests.cluster.dagster.image

# Serving on a real GPU, outside of CI: tests/gpu/__init__.py says what it needs. Its packages lie in a folder of their own
# before the others, since both builds of ONNX Runtime have one name.
test-gpu: .venv/.installed .gpu/.installed ## Serving on a real GPU
	PYTHONPATH=.gpu $(BIN)/pytest tests/gpu -m gpu $(ARGS)

# Outside of CI: its servers take 3 GB and some minutes at first.
test-keyless: .venv/.installed ## Signing by an identity, with the real Fulcio, timestamp authority and cosign
	test -x .keyless/bin/fulcio || hack/keyless/build .keyless
	$(BIN)/pytest tests/keyless --timeout 300 $(ARGS)

bench-image: .venv/.installed ## How long images take, and how large they are
	$(BIN)/python -m benchmarks.image

bench-serving: .venv/.installed ## How much load serving takes, beside other servers
	$(BIN)/python -m benchmarks.serving

bench-prediction-log: .venv/.installed ## What the prediction log costs
	$(BIN)/python -m benchmarks.prediction_log

bench-signing: .venv/.installed ## What signing costs
	$(BIN)/python -m benchmarks.signing

# What a thousand deliveries leave behind, and what is asked of them; fails where something takes over 0.3 s. The last two
# start the daemon and the code server: what they add to deliveries, and whether they grow; about 40 minutes.
bench-scale: .venv/.installed ## What a thousand deliveries leave behind, and what is asked of them
	$(BIN)/python -m benchmarks.registry_scale
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.daemon.deliveries
	$(BIN)/python -m benchmarks.daemon.memory

# How the rollout decides, by the functions that decide: false alarms under dependent requests, and time to the verdict.
simulate: .venv/.installed ## How the rollout decides: false alarms, and time to the verdict
	$(BIN)/python -m benchmarks.decisions $(ARGS)

# Resolve requirements/*.in again, each .txt and no other. Serving is resolved against the product, so that what is tested
# is what is served, and all of it against the tools, so that the package is built by one setuptools everywhere.
lock: $(UV) ## Resolve requirements/*.in again
	$(COMPILE) requirements/tools.in --output-file requirements/tools.txt
	$(COMPILE) --constraint requirements/tools.txt requirements/serving.in requirements/runtime.in \
	  --output-file requirements/runtime.txt
	$(COMPILE) --constraint requirements/runtime.txt requirements/serving.in --output-file requirements/serving.txt
	$(COMPILE) --constraint requirements/serving.txt requirements/serving-gpu.in --output-file requirements/serving-gpu.txt
	$(COMPILE) --constraint requirements/runtime.txt requirements/serving.in requirements/runtime.in requirements/dev.in \
	  --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/tools.txt requirements/bench-serving.in --output-file requirements/bench-serving.txt
	$(COMPILE) requirements/docs.in --output-file requirements/docs.txt

# Every lock against a database of known vulnerabilities: 0 clean, 1 vulnerable, 2 not checked, which is never a pass.
audit: .venv/.product ## Every lock against a database of known vulnerabilities
	$(BIN)/python -m tools.audit

# What runs the product. Where the test tools are installed they stay: their lock holds the product's whole.
.venv/.product: requirements/runtime.txt pyproject.toml | $(UV)
	$(call install,$(if $(wildcard .venv/.installed),dev,runtime))
	@touch $@

.venv/.installed: requirements/dev.txt pyproject.toml | $(UV)
	$(call install,dev)
	@touch .venv/.product $@

.gpu/.installed: requirements/serving-gpu.txt | $(UV)
	rm -rf .gpu
	$(UV) pip sync --quiet --require-hashes --no-build --python $(BIN)/python --target .gpu requirements/serving-gpu.txt
	@touch $@

.docs/.installed: requirements/docs.txt | $(UV)
	test -x .docs/bin/python || $(UV) venv --quiet --python $(PYTHON) .docs
	$(UV) pip sync --quiet --require-hashes --no-build --python .docs/bin/python requirements/docs.txt
	@touch $@

# pip comes with Python; all that it takes is uv's wheel and setuptools', by hash.
FETCH_TOOLS = -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement requirements/tools.txt

$(UV): requirements/tools.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed; name one: make PYTHON=python3.12")'
	@echo "Fetching uv into .uv"
	@$(PYTHON) -m venv .uv 2>/dev/null && .uv/bin/python $(FETCH_TOOLS) \
	  || { rm -rf .uv; $(PYTHON) $(FETCH_TOOLS) --target .uv; }
	@touch $@

clean: ## Remove what was installed and built here; what the stack knows stays
	rm -rf .venv .uv .docs .gpu .keyless build dist .mypy_cache .ruff_cache .pytest_cache
