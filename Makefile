PY := .venv/bin/python
.PHONY: all setup lab lab-down test lint bench soak lock walkthrough manifest

all: lint test

setup:
	@tools/setup.sh

lab: setup
	@$(PY) -m pycalico lab up $(if $(KERNEL),--kernel $(KERNEL))

lab-down:
	@if [ -x $(PY) ]; then $(PY) -m pycalico lab down; fi

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# The clusters come last and alone: what they promise is timed.
test: setup
	.venv/bin/pytest -n 2 --dist loadfile --ignore=tests/walkthrough
	.venv/bin/pytest tests/walkthrough

bench: setup
	$(PY) -m bench

# What takes too long for every change: as many packets, cases and restarts as the promises name.
soak: setup
	HYPOTHESIS_PROFILE=fresh .venv/bin/pytest -n 2 --dist loadfile tests/unit
	HYPOTHESIS_PROFILE=fresh .venv/bin/pytest soak
	HYPOTHESIS_PROFILE=fresh FUZZ_TIMES=20 .venv/bin/pytest tests/golden/test_confd_hostile.py
	DATASTORE_AWAY_S=600 .venv/bin/pytest tests/packets/test_felix_faults.py -s -k scenario_01
	FELIX_ALL_RECORDINGS=1 .venv/bin/pytest -n 2 tests/golden/test_felix_elsewhere.py

walkthrough: setup
	$(PY) -m pycalico lab walkthrough --write docs/walkthrough.md

# deploy/pycalico.yaml: the definitions and the image's version as the code has them; deploy/etcd/: all of it, made of that.
manifest: setup
	$(PY) tools/manifest.py

lock: setup
	.venv/bin/uv pip compile -q --generate-hashes --no-header --universal --group dev pyproject.toml -o requirements.lock
