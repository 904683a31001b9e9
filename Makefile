# The two commands of the README are `make demo` and `make test`; each makes .venv by itself.
# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := src/coterie/requirements.lock
REPORT_LOCK := requirements/report.lock
GUEST_LOCK := requirements/guest.lock
GUEST_PACKAGES := build/guest-packages
DEV_LOCK := requirements/dev.lock
TRACES_LOCK := requirements/traces.lock
FUZZ_LOCK := requirements/fuzz.lock
SBOM_LOCK := requirements/sbom.lock

# `make pin` looks up the base images; builds use them by digest only, from this file.
PINS := deploy/docker/pins.env
BASE_PYTHON ?= python:3.11-slim-bookworm
BASE_GRAMINE ?= gramineproject/gramine:stable-noble
ifneq ($(wildcard $(PINS)),)
include $(PINS)
endif

# Worker processes of the test suite; each may load TensorFlow, which takes about a gigabyte.
JOBS ?= $(shell n=$$(nproc); echo $$(( n > 8 ? 8 : n )))
C_FILES = $(shell find src tests -name '*.[ch]')
PYTEST = $(BIN)/pytest --numprocesses $(JOBS) --dist worksteal

# Tests start many Python processes: their bytecode is kept even if the environment forbids it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-quick test-all test-slow coverage check format docs pages dist fuzz faults faults-short \
    schedules strangers mutants soak bench paper proto lock pin image enclave guest guest-packages clean

# A target's line of help is the comment after its two number signs.
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime $(VENV)/.report ## train both schemes on synthetic data, attested (about two minutes)
	$(BIN)/coterie demo

test: $(VENV)/.dev ## run the tests that a change can break (under ten minutes on two cores)
	$(PYTEST) -m "not slow"

test-quick: $(VENV)/.dev ## run the tests that need neither TensorFlow nor another process (about a minute)
	$(PYTEST) --quick

test-all: $(VENV)/.dev ## run all tests, also those that are exhaustive or slow by nature
	$(PYTEST) --exhaustive

test-slow: $(VENV)/.dev ## run the tests that test-all runs and test does not
	$(PYTEST) -m "slow or sampled" --exhaustive

coverage: $(VENV)/.dev ## run test and report the lines and branches that it covers
	$(PYTEST) -m "not slow" --cov --cov-report=
	@echo "least covered modules:"; $(BIN)/coverage report --sort=cover | awk 'NR <= 12'
	@echo "coverage, lines and branches: $$($(BIN)/coverage report --format=total) %"

check: $(VENV)/.dev ## check format, lint, imports between layers, and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy

docs: $(VENV)/.dev ## build the documentation as a site in build/site, strictly
	$(BIN)/python -m handbook check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.runtime ## build wheel and source archive, and use them in a fresh environment
	rm -rf dist
	$(BIN)/python -m hatchling build
	PYTHON=$(abspath $(BIN))/python .ci/dist

pages: $(VENV)/.dev ## update the generated parts of pages
	$(BIN)/python -m handbook write

format: $(VENV)/.dev ## format the code, and apply the linter's corrections
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/clang-format -i $(C_FILES)

# pip compares every package with its hash in the lock file.
$(VENV)/.runtime: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Coterie needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Give another with: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The packages that draw reports: for whoever starts runs, not for nodes.
$(VENV)/.report: $(VENV)/.runtime $(REPORT_LOCK)
	$(BIN)/pip install --quiet --require-hashes -r $(REPORT_LOCK)
	touch $@

$(VENV)/.dev: $(VENV)/.runtime $(DEV_LOCK)
	$(BIN)/pip install --quiet --require-hashes -r $(DEV_LOCK)
	touch $@

fuzz: $(VENV)/.dev $(FUZZ_LOCK) ## fuzz the parsers of peers' bytes, for ten minutes
	$(BIN)/pip install --quiet --require-hashes -r $(FUZZ_LOCK)
	nice $(BIN)/python -m fuzz

faults: $(VENV)/.dev ## run 200 trainings with seeded faults; each must end with the undisturbed model
	$(BIN)/python -m faults --seeds 200
	$(BIN)/python -m faults.sweep

schedules: $(VENV)/.dev ## drive the server's core through 100,000 seeded schedules (some minutes on one core)
	$(BIN)/python -m faults.schedules

faults-short: $(VENV)/.dev ## the same with 20 runs
	$(BIN)/python -m faults --seeds 20
	$(BIN)/python -m faults.sweep --every 16

strangers: $(VENV)/.dev ## measure the cost of connections without credentials at each port
	$(BIN)/python -m faults.strangers

mutants: $(VENV)/.dev ## change the code in one place at a time; its own tests must fail
	$(BIN)/python -m mutants

soak: $(VENV)/.dev ## train 20,000 steps; fail if a node's memory grows
	$(BIN)/python -m faults.soak --steps 20000

bench: $(VENV)/.dev ## run the benchmarks (half an hour on two cores without other load)
	$(BIN)/python -m benchmarks

# DATA: a raw file in Criteo's format; synthetic rows without it. ROWS, EPOCHS, TURNS: as the options of these names.
# OUT: the new directory; by default one that is named after the time.
paper: $(VENV)/.runtime $(VENV)/.report ## repeat the paper's experiment into OUT=, on DATA= or synthetic rows
	nice $(BIN)/coterie paper $(if $(DATA),--data $(DATA)) $(if $(ROWS),--rows $(ROWS)) $(if $(EPOCHS),--epochs $(EPOCHS)) \
	    $(if $(TURNS),--turns $(TURNS)) --out $(or $(OUT),build/paper-$(shell date +%Y%m%d-%H%M%S))

proto: $(VENV)/.dev ## generate the wire modules (committed, so that installing needs no compiler)
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src \
	    src/coterie/ps/wire/ps.proto src/coterie/tensorflow/calls/worker.proto \
	    src/coterie/attestation/endorsed/launch_endorsement.proto

# What is installed together is resolved together: a lock file is a constraint on those made after it.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-header --no-emit-index-url --no-emit-find-links
lock: ## pin every package by hash (needs uv)
	$(COMPILE) pyproject.toml requirements/build.in -o $(LOCK)
	$(COMPILE) pyproject.toml requirements/build.in --extra report -c $(LOCK) -o $(REPORT_LOCK)
	$(COMPILE) pyproject.toml requirements/build.in --extra guest -c $(LOCK) -o $(GUEST_LOCK)
	$(COMPILE) pyproject.toml requirements/build.in --extra traces -c $(LOCK) -o $(TRACES_LOCK)
	$(COMPILE) pyproject.toml requirements/build.in --extra report --extra guest --extra traces --group dev -c $(LOCK) -o $(DEV_LOCK)
	$(COMPILE) --group fuzz -c $(LOCK) -o $(FUZZ_LOCK)
	$(COMPILE) --group sbom -c $(DEV_LOCK) -o $(SBOM_LOCK)

pin: ## record the digests of the base images (needs a registry)
	{ printf 'PYTHON_IMAGE=%s@' $(BASE_PYTHON) && \
	  docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE_PYTHON) && \
	  printf 'GRAMINE_IMAGE=%s@' $(BASE_GRAMINE) && \
	  docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE_GRAMINE); } >$(PINS).new
	mv $(PINS).new $(PINS)

$(PINS):
	@echo "base images are not pinned yet: make pin, look at $(PINS), commit it" >&2; exit 1

image: $(PINS) ## build the node's container image
	docker build -f deploy/docker/Dockerfile --target node --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) -t coterie .

# ENCLAVE: ps or worker. CONTRACT: a file below here. KEY: an RSA key, 3072 bits, exponent 3.
enclave: $(PINS) ## build an enclave's image; ENCLAVE=ps or worker, CONTRACT=, KEY=
	docker build -f deploy/docker/Dockerfile --target gramine --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) \
	    --build-arg GRAMINE_IMAGE=$(GRAMINE_IMAGE) --build-arg ENCLAVE=$(ENCLAVE) \
	    --build-arg CONTRACT=$(CONTRACT) --secret id=enclave-key,src=$(KEY) -t coterie-$(ENCLAVE) .

guest-packages: $(GUEST_PACKAGES) ## fetch Debian's packages of which guests are built, from this machine's mirror

$(GUEST_PACKAGES):
	deploy/guest/packages $@

# CONTRACT: whose nodes run in the guests. OUT: the new folder.
guest: $(VENV)/.runtime $(GUEST_LOCK) $(GUEST_PACKAGES) ## build confidential virtual machines; CONTRACT=, OUT=
	$(BIN)/pip install --quiet --require-hashes -r $(GUEST_LOCK)
	$(BIN)/coterie build guest --contract $(CONTRACT) --platform $(GUEST_PACKAGES) --out $(or $(OUT),build/guests)

clean: ## remove what was built
	rm -rf $(VENV) build dist demo
