# make train   train a network sequentially and layer-parallel; needs Python >= 3.10 with pip only
# make test    every check of the project; installs MPI and PETSc itself
# make bench   the benchmarks, against numpy, PyTorch and PyMGRIT; installs all of them (5 GB)
# make dist    the wheel and the source archive, tested in an environment of their own
# make clean   remove the environments and all that was built

# A Python to build .venv with, where the first one found is not the right one.
PYTHON ?=
BENCH_OPTIONS ?=
# PyPI: with its CUDA libraries, 3 GB to load; no: without PyTorch
TORCH ?= PyPI
# Of examples/train_resnet.py, which is then run in place of the comparison
TRAIN_OPTIONS ?=
RANKS ?= 2 3 4 5
# Seconds after which a parallel run counts as hanging.
MPI_TIMEOUT ?= 600

# Ranks that each start a thread per core fight for the cores.
export OPENBLAS_NUM_THREADS = 1
export OMP_NUM_THREADS = 1
export PYTHON MPI_TIMEOUT TORCH
# Some hundred processes would each compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

# One process a core; worksteal, since the slow tests lie together in one file.
PYTEST = -m pytest -n auto --dist worksteal
SETUP = bash scripts/environment.sh
.NOTPARALLEL:
.PHONY: train test environment lint test-serial test-mpi test-numpy docs bench dist clean

ifeq ($(strip $(TRAIN_OPTIONS)),)
train: .venv/train.stamp .venv-mpi/train.stamp
	@mkdir -p results
	@$(SETUP) train
else
train: .venv/train.stamp
	@mkdir -p results
	.venv/bin/python examples/train_resnet.py $(TRAIN_OPTIONS)
endif

test: environment lint test-serial test-mpi test-numpy docs

environment: .venv/test.stamp .venv-petsc/test.stamp .venv/frameworks.stamp

.venv/frameworks.stamp: .venv/test.stamp .venv-petsc/test.stamp
	$(SETUP) frameworks
	@touch $@

.venv/train.stamp: pyproject.toml
	$(SETUP) plain examples,data
	@touch $@

.venv-mpi/train.stamp: .venv/train.stamp
	@$(SETUP) mpi
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

# The newest numpy, and proof that one process needs no MPI: what numpy could break, which is arrays,
# their numbers and how they are printed. The engine's cycles and optimisers are made of the same few
# operations. Of machine code, which takes seconds to compile, one scheme and one solver are enough.
WHEEL_TESTS = tests/test_contracts.py tests/controls tests/equations tests/grid tests/lq tests/mgrit \
    tests/problems/data tests/problems/test_resnet.py tests/report tests/states tests/steppers \
    tests/autodiff
NUMPY_TESTS = tests/test_docs.py tests/examples/test_define_your_own.py $(WHEEL_TESTS) \
    $(addprefix --ignore=tests/equations/test_,correction.py storage.py transfers.py)
NUMPY_NAMES = not compiled or compiled-midpoint or test_solve
test-numpy: .venv/test.stamp
	@$(SETUP) without-mpi
	.venv/bin/python $(PYTEST) -m "not petsc and not slow" -k "$(NUMPY_NAMES)" $(NUMPY_TESTS)

# Pages of before, whose sources are gone, would be checked as well.
docs: .venv/test.stamp
	@find docs/_build -name '*.html' -delete 2>/dev/null || true
	.venv/bin/sphinx-build -W --keep-going -q -j auto -b html docs docs/_build/html
	.venv/bin/python scripts/check_site.py docs/_build/html

# What reads files of the checkout, as the pages of the documentation, is not among these tests.
dist:
	bash scripts/dist.sh $(WHEEL_TESTS)

# Without MPI and PETSc two of the tables say so.
bench: .venv-bench/bench.stamp
	-@$(MAKE) --no-print-directory .venv-petsc/test.stamp
	.venv-bench/bin/python benchmarks/run_all.py $(BENCH_OPTIONS)

.venv-bench/bench.stamp: pyproject.toml scripts/environment.sh
	$(SETUP) bench
	@touch $@

clean:
	rm -rf .venv .venv-mpi .venv-petsc .venv-bench results build dist docs/_build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find pint problems examples benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
