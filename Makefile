# The two commands of the README are `make demo` and `make test`; each makes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := src/coterie/requirements.lock
REPORT_LOCK := requirements-report.lock
DEV_LOCK := requirements-dev.lock

# Which base images `make pin` looks up; the builds take them by digest only, from this file.
PINS := deploy/docker/pins.env
BASE_PYTHON ?= python:3.11-slim-bookworm
BASE_GRAMINE ?= gramineproject/gramine:stable-noble
ifneq ($(wildcard $(PINS)),)
include $(PINS)
endif

.PHONY: bench demo test check format docs pages dist fuzz faults faults-short mutants soak proto lock pin image enclave clean

demo: $(VENV)/.runtime $(VENV)/.report
	$(BIN)/coterie demo

test: $(VENV)/.dev
	$(BIN)/pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# The documentation as a site in build/site; strict: a broken link fails.
docs: $(VENV)/.dev
	$(BIN)/python -m handbook check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Wheel and source archive in dist/, and a check of both in an environment of their own.
dist: $(VENV)/.runtime
	rm -rf dist
	$(BIN)/python -m hatchling build
	PYTHON=$(abspath $(BIN))/python .ci/dist

# Brings the generated parts of pages up to date: contract keys, command line.
pages: $(VENV)/.dev
	$(BIN)/python -m handbook write

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Every package is checked against the hash in the lock file.
$(VENV)/.runtime: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Coterie needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Give another with: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# What draws reports: for whoever starts runs, not for nodes.
$(VENV)/.report: $(VENV)/.runtime $(REPORT_LOCK)
	$(BIN)/pip install --quiet --require-hashes -r $(REPORT_LOCK)
	touch $@

$(VENV)/.dev: $(VENV)/.runtime $(DEV_LOCK)
	$(BIN)/pip install --quiet --require-hashes -r $(DEV_LOCK)
	touch $@

# Ten minutes of coverage-guided fuzzing of everything that parses what peers send.
fuzz: $(VENV)/.dev requirements-fuzz.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-fuzz.lock
	nice $(BIN)/python -m fuzz

# Runs that are disturbed by seeded faults must end with the undisturbed model.
faults: $(VENV)/.dev
	$(BIN)/python -m faults --seeds 200

faults-short: $(VENV)/.dev
	$(BIN)/python -m faults --seeds 20

# Changes the meaning of the code, one change at a time: the tests of the changed module must notice.
mutants: $(VENV)/.dev
	$(BIN)/python -m mutants

# Twenty thousand steps: fails if any node's memory grows.
soak: $(VENV)/.dev
	$(BIN)/python -m faults.soak --steps 20000

# Takes about half an hour on two cores that do nothing else; adds to benchmarks.json.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# The generated wire module is committed, so that installing needs no protocol compiler.
proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src src/coterie/ps/wire/ps.proto

# Pins every package, for all platforms, by hash. Needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links pyproject.toml requirements-build.in -o $(LOCK)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links pyproject.toml requirements-build.in --extra report -c $(LOCK) -o $(REPORT_LOCK)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links pyproject.toml requirements-build.in --extra report --group dev -c $(LOCK) -o $(DEV_LOCK)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links --group fuzz -c $(LOCK) -o requirements-fuzz.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links --group sbom -c $(DEV_LOCK) -o requirements-sbom.lock

# Writes down which base images are built on: look at the difference, then commit. Needs a registry.
pin:
	{ printf 'PYTHON_IMAGE=%s@' $(BASE_PYTHON) && \
	  docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE_PYTHON) && \
	  printf 'GRAMINE_IMAGE=%s@' $(BASE_GRAMINE) && \
	  docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE_GRAMINE); } >$(PINS).new
	mv $(PINS).new $(PINS)

$(PINS):
	@echo "base images are not pinned yet: make pin, look at $(PINS), commit it" >&2; exit 1

image: $(PINS)
	docker build -f deploy/docker/Dockerfile --target node --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) -t coterie .

# ENCLAVE: ps or worker. CONTRACT: a file below here. KEY: an RSA key, 3072 bits, exponent 3.
enclave: $(PINS)
	docker build -f deploy/docker/Dockerfile --target gramine --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) \
	    --build-arg GRAMINE_IMAGE=$(GRAMINE_IMAGE) --build-arg ENCLAVE=$(ENCLAVE) \
	    --build-arg CONTRACT=$(CONTRACT) --secret id=enclave-key,src=$(KEY) -t coterie-$(ENCLAVE) .

clean:
	rm -rf $(VENV) build dist demo
