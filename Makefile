# On a fresh machine `make run` and `make test` do all the set-up.

PYTHON ?= python3
PROMETHEUS ?= http://127.0.0.1:9090
MINUTES ?= 15
PAGE ?= http://127.0.0.1:8780
FOLDER ?= .
HOURS ?= 24
SHAKE_S ?= 240
SEEDS ?= 7
BIN := .venv/bin

.PHONY: help run demo test test-release test-slow fuzz shake lint format dashboards pictures screens clean
.PHONY: soak bench lock dist audit

help:  ## show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | sort | expand -t 24

run: .venv/run  ## run the agent with SQLite in data/
	$(BIN)/blofin-agent run

demo: .venv/run  ## run it against a built-in simulator that has gaps
	$(BIN)/blofin-agent demo

# Most tests wait for a process, a server or a deadline, so there are more workers than cores.
WORKERS ?= 6
PYTEST := -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations 25 -m "not index"
# Keep .pyc files; without them hundreds of processes compile the same modules.
export PYTHONDONTWRITEBYTECODE :=

test: .venv/dev .venv/compiled  ## run the tests; ARGS='tests/domain -x', COVERAGE=1
ifdef COVERAGE
	rm -f .coverage .coverage.*
	$(BIN)/coverage run $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='blofin_agent/domain/*,blofin_agent/protocol/*' --fail-under=100
	$(BIN)/coverage report --fail-under=90
else
	$(BIN)/python $(PYTEST) $(ARGS)
endif

test-release: .venv/dev .venv/compiled  ## test the wheel, image, pins; needs the package index
	$(BIN)/python $(PYTEST) -m index tests/deploy

# In real time: leases of 25 s, minutes of 60 s, all seeds. Run it for each issue and before a release.
SLOW = tests/laws tests/integration tests/deploy/test_chain.py $(shell grep -rl '@given' tests --include=test_*.py)
test-slow: .venv/dev .venv/compiled  ## run slow tests in real time, with random input
	BLOFIN_TESTS_REAL_TIME=1 BLOFIN_TESTS_ALONE=0 $(BIN)/python $(PYTEST) $(or $(ARGS),$(SLOW))

soak: .venv/dev  ## mix faults in virtual time: HOURS=24 SEEDS=7,8
	SOAK_HOURS=$(HOURS) SOAK_SEEDS=$(SEEDS) $(BIN)/python -m pytest -n auto tests/laws/test_laws.py

shake: .venv/dev  ## kill and cut off agents: SHAKE_S=240 SEEDS=7,8
	SHAKE_S=$(SHAKE_S) SHAKE_SEEDS=$(SEEDS) $(BIN)/python -m pytest -s tests/integration/fleet/shake.py

fuzz: .venv/dev  ## fuzz foreign input: MINUTES=15 SURFACES='frames urls'
	$(BIN)/python -m pip install -qq --group fuzz
	$(BIN)/python -m tests.fuzz.run $(MINUTES) $(SURFACES)

bench: .venv/dev  ## run the benchmarks; ARGS='fill live' for some
	$(BIN)/python -m pip install -qq --group bench
	$(BIN)/python -m benchmarks $(ARGS)

lint: .venv/dev  ## check with ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dashboards: .venv/dev  ## generate the Grafana dashboards
	$(BIN)/python -m deploy.grafana

pictures: .venv/dev  ## draw the README's graphs: PROMETHEUS=URL MINUTES=15
	$(BIN)/python -m pip install -qq --group pictures
	$(BIN)/python -m deploy.pictures $(PROMETHEUS) $(MINUTES)

screens: .venv/dev  ## take screenshots of a demo: PAGE, EXCHANGE, FOLDER
	$(BIN)/python -m deploy.pictures.screens $(PAGE) $(EXCHANGE) $(FOLDER)

# -- release, with tools in a separate environment - ------------------------------------------

RELEASE := .release/bin
LOCKS := deploy/docker
SERVICE ?= pypi
# A compromised release is seldom noticed on its first day.
COOLDOWN ?= 7 days
COMPILE = $(RELEASE)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--exclude-newer '$(COOLDOWN)' --custom-compile-command 'make lock' $(ARGS)

lock: .release/tools  ## pin the image's packages; ARGS=--upgrade
	$(COMPILE) pyproject.toml --extra postgresql --output-file $(LOCKS)/requirements.txt
	$(COMPILE) --group build --output-file $(LOCKS)/build-requirements.txt

# Reproducible: the same commit gives the same bytes.
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)
dist: .release/tools  ## build sdist, wheel, SBOM and checksums in dist/
	rm -rf dist
	$(RELEASE)/python -m build --no-isolation
	$(RELEASE)/twine check --strict dist/*
	$(RELEASE)/python -m deploy.release.sbom dist
	cd dist && sha256sum * >SHA256SUMS

audit: .release/tools  ## look for known vulnerabilities; SERVICE=osv
	$(RELEASE)/python -m deploy.release.audit --vulnerability-service $(SERVICE)

.release/tools: .venv/pip pyproject.toml $(LOCKS)/build-requirements.txt
	$(BIN)/python -m venv --without-pip .release
	$(BIN)/python -m pip --python .release install -qq --group release
	$(BIN)/python -m pip --python .release install -qq --require-hashes --no-deps -r $(LOCKS)/build-requirements.txt
	touch $@

format: .venv/dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "blofin-agent needs Python 3.11 or newer; name it: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	touch $@

.venv/run: .venv/pip pyproject.toml
	$(BIN)/python -m pip install -qq --editable .
	touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install -qq --group dev
	touch $@

# Compiles the tests once; otherwise each worker of the first run compiles all of them. The run itself
# reports what cannot be collected.
.venv/compiled: .venv/dev
	$(BIN)/python -m pytest --collect-only -qq >/dev/null || true
	touch $@

clean:  ## remove all that make creates, except data/
	rm -rf .venv .release .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz dist
