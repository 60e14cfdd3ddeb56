# Every target works from a fresh clone. What is made goes under .build/, is made once, and is made again when its sources change.

SHELL = /bin/bash
PYTHON = python3
BUILD = .build
VENV = $(BUILD)/venv
TRAINER_VENV = $(BUILD)/venv-trainer
RIVAL_VENV = $(BUILD)/venv-rival
BIN = $(VENV)/bin
UV = $(BUILD)/bootstrap/bin/python tests/uv.py
CLUSTER_TOOL = $(PYTHON) tests/cluster
HELM = $(BUILD)/cluster/bin/helm
# Folders of tests that import modules of their own, each judged by itself (after a colon: whose modules it uses too).
SUITES = tests/bench tests/chart tests/cluster tests/e2e:examples/demo examples/demo tests/golden tests/gpu tests/hub tests/unit/api \
    tests/unit/operator/core:tests/golden tests/unit/operator/infra:tests/golden tests/unit/trainer/architectures \
    tests/unit/trainer/data:tests/hub tests/unit/trainer/learning:examples/demo tests/unit/trainer/lifecycle tests/unit/trainer/methods \
    tests/unit/trainer/models:tests/hub tests/unit/trainer/preparation tests/unit/trainer/reinforcement tests/unit/trainer/rewards
# Fast tests of the trainer: a case of a long matrix is one of them when it stands for the others.
FAST = not slow and not e2e and not gpu and (not methods or representative)
PROJECTS = crds/pyproject.toml operator/pyproject.toml trainer-image/pyproject.toml

help: ## Show this page
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Variables: PYTHON=python3.11 (any from 3.11 on); CLUSTER=current uses the cluster of the current kubectl context."

##@ See it work

demo: setup cluster-up ## Pretrain, fine-tune and align a tiny model on a local cluster, from nothing
	$(BIN)/python examples/demo/run.py

test: setup setup-trainer ## test-fast, test-slow, then end to end on a local cluster, which is taken down again
	$(PYTHON) tests/run.py

##@ Develop

setup: $(VENV)/.ready ## Make the environment of operator, tests and tools

setup-trainer: $(TRAINER_VENV)/.ready ## Make the trainer's environment (torch and TRL, about 5 GB)

setup-rival: $(RIVAL_VENV)/.ready

test-fast: setup setup-trainer $(HELM) ## The short tests that need no cluster, in under two minutes
	@failed=""; \
	echo "==> operator, API, chart"; \
	$(BIN)/pytest -n 2 -m "not slow and not e2e and not gpu and not torch" --ignore tests/unit/trainer \
	    $$(ls -d tests/unit tests/golden tests/contract tests/chart 2>/dev/null) || failed="$$failed operator"; \
	if [ -d tests/unit/trainer ]; then \
	    echo "==> trainer"; \
	    OMP_NUM_THREADS=1 $(TRAINER_VENV)/bin/pytest -n 2 -m "$(FAST)" tests/unit/trainer \
	        || failed="$$failed trainer"; \
	fi; \
	[ -z "$$failed" ] || { echo "Failed:$$failed" >&2; exit 1; }

test-slow: setup setup-trainer ## The longer tests that need no cluster
	@failed=""; \
	$(BIN)/pytest -n 2 -m "slow and not e2e and not gpu and not torch" --ignore tests/unit/trainer tests/unit || failed=" operator"; \
	OMP_NUM_THREADS=1 $(TRAINER_VENV)/bin/pytest -n 2 -m "slow and not e2e and not gpu" tests/unit/trainer \
	    || failed="$$failed trainer"; \
	[ -z "$$failed" ] || { echo "Failed:$$failed" >&2; exit 1; }

test-methods: setup-trainer ## Long matrices and proofs of learning; goes on where it was left off, its table is in tests/results
	OMP_NUM_THREADS=1 $(TRAINER_VENV)/bin/python -m pytest -p tests.ledger --ledger methods -n 2 -v -m "methods and not gpu" \
	    tests/unit/trainer $(METHODS)

lint: setup $(HELM) ## Every static check in one run: style, types, import contracts, drift of what is generated, the chart
	@failed=0; check() { echo "==> $$*"; "$$@" || { failed=$$((failed + 1)); echo "^^^ failed: $$*" >&2; }; }; \
	check $(BIN)/ruff check --output-format concise .; \
	check $(BIN)/ruff format --check --output-format concise .; \
	check $(BIN)/mypy -p tunesmith_api -p tunesmith_operator -p tunesmith_trainer; \
	check $(BIN)/mypy tests/*.py tests/unit/*.py tests/unit/trainer/*.py; \
	for suite in $(SUITES); do check env MYPYPATH=$$suite $(BIN)/mypy $${suite%%:*}; done; \
	check $(BIN)/lint-imports --no-logo --cache-dir $(BUILD)/import-linter; \
	check $(BIN)/python -m tunesmith_api.generate --check; \
	check $(BIN)/python tests/requirements_page.py --check; \
	check $(BIN)/python tests/lock.py --check; \
	check env PATH="$(CURDIR)/$(BUILD)/cluster/bin:$$PATH" helm lint --strict charts/tunesmith; \
	[ $$failed = 0 ] || { echo "$$failed checks failed" >&2; exit 1; }

format: setup ## Lay out the Python code and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

generate: setup ## Write the CRDs, the API reference and the page of requirements
	$(BIN)/python -m tunesmith_api.generate
	$(BIN)/python tests/requirements_page.py

lock: $(BUILD)/bootstrap/.ready ## Write the requirement files from the pyproject.toml files (LOCK=--upgrade: newest versions)
	$(BUILD)/bootstrap/bin/python tests/lock.py $(LOCK)

clean: ## Take the local cluster down and remove everything that was made
	@if [ -d $(BUILD)/cluster ]; then echo "==> local cluster down"; $(CLUSTER_TOOL) down; fi
	@if grep -q " $(CURDIR)/$(BUILD)/" /proc/self/mountinfo; then \
	    echo "Something is still mounted below $(BUILD): see /proc/self/mountinfo, unmount it and try again." >&2; exit 1; fi
	@# Go leaves its module cache without write permission.
	@if [ -d $(BUILD) ]; then find $(BUILD) -type d ! -perm -u+w -exec chmod u+w {} +; rm -rf --one-file-system $(BUILD); fi

##@ Local cluster

cluster-up: ## Bring up a real Kubernetes on this machine (nothing to do when it is up)
	@if [ "$$CLUSTER" = current ]; then echo "==> using the current context: $$(kubectl config current-context)"; \
	else $(CLUSTER_TOOL) up; fi

cluster-down: ## Take it down: no process, mount or network device stays
	@if [ "$$CLUSTER" = current ]; then echo "==> the current context's cluster is not ours to take down"; \
	else $(CLUSTER_TOOL) down; fi

kubeconfig: ## Print the path of its kubeconfig
	@$(CLUSTER_TOOL) kubeconfig

images: cluster-up ## Build the operator's and the trainer's image and push them to the cluster's registry
	@if [ "$$CLUSTER" = current ]; then echo "==> images: those that OPERATOR_IMAGE and TRAINER_IMAGE name"; \
	else $(CLUSTER_TOOL) images; fi

bench-control-plane: setup cluster-up ## Measure the operator with thousands of jobs on the real API server
	$(BIN)/python tests/bench/control_plane.py

bench-trainer: setup-trainer setup-rival ## Measure the trainer against plain TRL and LLaMA-Factory
	$(TRAINER_VENV)/bin/python tests/bench/trainer.py $(BENCH)

.PHONY: help demo test setup setup-trainer test-fast test-slow test-methods lint format generate lock clean \
    cluster-up cluster-down kubeconfig images bench-control-plane bench-trainer setup-rival

# ---- tools ----

$(HELM):
	@command -v helm >/dev/null || { echo "==> helm, in $@"; $(CLUSTER_TOOL) helm; }

# ---- environments: the file .ready says that one is whole ----
# Bytecode is compiled once here. Where Python may not write any, every process of the tests would compile torch anew.

$(BUILD)/bootstrap/.ready: tests/requirements-bootstrap.txt
	@echo "==> uv, in $(BUILD)/bootstrap"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is missing or older than 3.11. Install one, or name it: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y python3-venv; } \
	    || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	rm -rf $(BUILD)/bootstrap
	$(PYTHON) -m venv $(BUILD)/bootstrap
	$(BUILD)/bootstrap/bin/python -m pip install --quiet --no-deps --require-hashes --requirement tests/requirements-bootstrap.txt
	@touch $@

$(VENV)/.ready: $(BUILD)/bootstrap/.ready tests/requirements.txt $(PROJECTS)
	@echo "==> operator, tests and tools, in $(VENV)"
	@test -x $(BIN)/python || $(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	$(UV) pip sync --python $(VENV) --compile-bytecode --require-hashes tests/requirements.txt
	$(UV) pip install --python $(VENV) --no-deps --no-build-isolation --offline \
	    --editable crds --editable operator --editable trainer-image
	@touch $@

$(TRAINER_VENV)/.ready: $(BUILD)/bootstrap/.ready trainer-image/requirements.txt trainer-image/requirements-test.txt $(PROJECTS)
	@echo "==> trainer, in $(TRAINER_VENV): about 5 GB"
	@test -x $(TRAINER_VENV)/bin/python || $(UV) venv --quiet --clear --python $(PYTHON) $(TRAINER_VENV)
	$(UV) pip sync --python $(TRAINER_VENV) --compile-bytecode --require-hashes trainer-image/requirements.txt trainer-image/requirements-test.txt
	$(UV) pip install --python $(TRAINER_VENV) --no-deps --no-build-isolation --offline --editable crds --editable trainer-image
	@touch $@

$(RIVAL_VENV)/.ready: $(BUILD)/bootstrap/.ready tests/requirements-rival.txt
	@echo "==> LLaMA-Factory, in $(RIVAL_VENV): about 6 GB"
	@test -x $(RIVAL_VENV)/bin/python || $(UV) venv --quiet --clear --python $(PYTHON) $(RIVAL_VENV)
	$(UV) pip sync --python $(RIVAL_VENV) --compile-bytecode --require-hashes tests/requirements-rival.txt
	@touch $@
