# corten: everything a developer does, on a Debian 12 that has nothing but make.
#
#   make test     check the source, then run the whole suite
#   make check    formatting, rules, types, directions of imports, architecture report
#   make demo     see it work: three web sites and three databases from two images on one base
#   make bench    measure against the budgets
#   make soak     the tests that look for what goes wrong once in an hour, for an hour (SOAK=3600)
#   make peers    install the engines and registries of others that tests and measurements compare with
#   make format   let the tools rewrite what they can
#   make clean    remove what was made here (.venv, caches)

SHELL := /bin/sh
READY := .venv/.ready
BIN := .venv/bin
IMAGE := .cache/debian.tar
CODE := $(wildcard src tests bench)

# What a developer's shell may say about Python does not reach these programs.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PYTHONOPTIMIZE PYENV_VERSION VIRTUAL_ENV

.PHONY: demo test check bench format clean setup image peers soak reference
.DELETE_ON_ERROR:

demo: $(READY)
	@sh examples/picture.sh

test: check image
	@$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture
	@$(BIN)/python -m tests.architecture.report

bench: $(READY) image
	@$(BIN)/python -m bench

format: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

setup: $(READY)

# A bootstrapped Debian for the tests and the measurements, made by our own commands.
image: $(READY)
	@sh packaging/image.sh $(IMAGE)

peers:
	@sh packaging/peers.sh

soak: $(READY)
	CORTEN_SOAK_SECONDS=$${SOAK:-3600} $(BIN)/python -m pytest --timeout 0 tests/unit/serve/registry/test_chaos.py tests/e2e/test_images_chaos.py

# What is written from the code and committed.
reference: $(READY)
	$(BIN)/python -m tests.architecture.reference
	$(BIN)/python -m tests.architecture.modules

$(READY): pyproject.toml packaging/setup.sh bin/corten
	@sh packaging/setup.sh .venv
	@touch $@

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
