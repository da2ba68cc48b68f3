# make train   train the example network; needs Python >= 3.10 with pip, nothing else
# make test    every check of the project; installs MPI and PETSc itself
# make clean   remove the environments and all that was built

# A Python to build .venv with, where the first one found is not the right one.
PYTHON ?=
TRAIN_OPTIONS ?= --method one-shot --history results/history.csv --plot results/peaks.png
RANKS ?= 2 3 4 5
# Seconds after which a parallel run counts as hanging.
MPI_TIMEOUT ?= 300

# Ranks that each start a thread per core fight for the cores.
export OPENBLAS_NUM_THREADS = 1
export OMP_NUM_THREADS = 1
export PYTHON MPI_TIMEOUT

# One process a core; worksteal, since the slow tests lie together in one file.
PYTEST = -m pytest -n auto --dist worksteal
SETUP = bash scripts/environment.sh
.NOTPARALLEL:
.PHONY: train test environment lint test-serial test-mpi test-numpy docs clean

train: .venv/train.stamp
	@mkdir -p results
	.venv/bin/python examples/train_resnet.py $(TRAIN_OPTIONS)

test: environment lint test-serial test-mpi test-numpy docs

environment: .venv/test.stamp .venv-petsc/test.stamp

.venv/train.stamp: pyproject.toml
	$(SETUP) plain examples
	@touch $@

.venv/test.stamp: pyproject.toml
	$(SETUP) plain examples,test,lint,docs
	@touch $@ .venv/train.stamp

.venv-petsc/test.stamp: pyproject.toml scripts/environment.sh
	$(SETUP) petsc
	@touch $@

lint: .venv/test.stamp
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

test-serial: .venv-petsc/test.stamp
	.venv-petsc/bin/python $(PYTEST)

test-mpi: .venv-petsc/test.stamp
	@for ranks in $(RANKS); do $(SETUP) parallel $$ranks || exit 1; done

# The newest numpy, and proof that one process needs no MPI.
test-numpy: .venv/test.stamp
	@$(SETUP) without-mpi
	.venv/bin/python $(PYTEST) -m "not petsc and not slow"

docs: .venv/test.stamp
	.venv/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf .venv .venv-petsc results build docs/_build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find pint problems examples tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
