# `make demo` and `make test` need only Python 3.11+, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv .venv

# torch first and by itself: pip then takes the pinned version, whatever
# newer release another package would accept.
.venv/torch.stamp: constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt torch
	touch $@

.venv/demo.stamp: pyproject.toml .venv/torch.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e '.[plot,cli]'
	touch $@

.venv/dev.stamp: pyproject.toml .venv/torch.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ .venv/demo.stamp

.venv/docs.stamp: pyproject.toml .venv/torch.stamp
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

demo: .venv/demo.stamp
	$(BIN)/python -m epic_sklearn demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv build dist *.egg-info docs/_build docs/auto_examples docs/generated
