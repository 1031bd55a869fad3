# Tasks for contributors; see CONTRIBUTING.md.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: help test slow lint docs bench bounds build

help: ## list the tasks
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST)

test: ## the default tests, on all cores
	$(PYTHON) -m pytest -q -n auto

slow: ## all tests that need neither CUDA nor a browser
	$(PYTHON) -m pytest -q -m "not cuda and not browser"

lint: ## ruff, its formatter, mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

docs: ## write the CLI reference, run the commands of the guide and of README
	$(PYTHON) -m mmsearch.cli.reference
	$(PYTHON) -m pytest -q -m "not cuda and not browser" -k "guide or readme or schemas"

bench: ## short speed measurements, as JSON lines
	$(PYTHON) tests/bench/query_speed.py --rows 10000
	$(PYTHON) tests/bench/decode_speed.py

bounds: ## the default tests with the lower bounds of all libraries, in the environment .bounds
	$(PYTHON) tests/architecture/lower_bounds.py --run .bounds

build: ## sdist and wheel in dist/
	$(PYTHON) -m pip install -q build
	$(PYTHON) -m build
