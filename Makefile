# make demo      install into .venv, then decode the real archives in tests/data
# make test      linters, type checks and tests, in the same environment with the test extra
# make docs      the documentation, in docs/_build/html
# make bench     figures against numpy, h5py, kaldi_native_io, RETURNN and torch (installs these)
# make size      time and memory of corpora of up to 10,000,000 segments; 25 min or more, 72 GB of disk
# make sanitize  the tests of malformed input under address and undefined-behavior sanitizers
# make soak      an hour of pools, datasets, loaders, archives: descriptors, threads, memory stay
# make fuzz      fuzzers of all readers, FUZZ_SECONDS (60) each; needs clang
# make fuzz-replay  their corpus under address and undefined-behavior sanitizers
# make threads   concurrent reads, passes and close under the thread sanitizer
# make crashes   writers and commands killed, failing and without power at each of their calls
# make schedules  thousands of faults at random times: pools, datasets of Sprint, loaders
# make mutants   changes at one point of the sources that the tests must notice; hours
# make dist      source distribution and one wheel per Python, each tested without a compiler

PYTHON ?= python3
VENV ?= .venv
# one more than there are cores: some tests wait for the end of a process
PYTEST_ARGS ?= --numprocesses $(shell expr $$(nproc) + 1) --maxprocesses 4 --dist worksteal
BIN = $(VENV)/bin
# what is never imported is not compiled
PIP = $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile
BUILD_INPUTS = pyproject.toml setup.py $(wildcard sprintcache/*.pyx \
	$(foreach end,pyx pxd pxi h c,sprintcache/*/*.$(end)))

# where it is set, every child process of the tests compiles each module that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests check bench size soak crashes schedules mutants fuzz fuzz-replay replay-inputs \
	threads sanitize sanitize-tests docs dist clean
.SILENT: demo $(BIN)/python $(VENV)/installed $(VENV)/tested

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# editable: the tests run from the source folder, so the compiled modules must be there
$(VENV)/installed: $(BIN)/python $(BUILD_INPUTS)
	$(PIP) --editable .
	touch $@

# an extra of the installed package: nothing is built again
$(VENV)/tested: $(VENV)/installed
	$(PIP) "sprintcache[test]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: $(VENV)/tested
	$(MAKE) --no-print-directory --jobs 2 check tests

# first once, so that not each process compiles all modules and rewrites their assertions
tests: $(VENV)/tested
	[ -d tests/__pycache__ ] || $(BIN)/python -m pytest --collect-only -qq >/dev/null || true
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(PIP) "sprintcache[bench]"
	$(BIN)/python bench/run.py

size: $(VENV)/installed
	$(BIN)/python bench/size.py --json docs/reference/size.json

SOAK_SECONDS ?= 3600

soak: $(VENV)/tested
	$(PIP) "sprintcache[torch]"
	$(BIN)/python tools/soak.py $(SOAK_SECONDS)

crashes: $(VENV)/tested
	SPRINTCACHE_CRASHES=all $(BIN)/python -m pytest -q -s --timeout=3600 \
	-o faulthandler_timeout=3500 $(PYTEST_ARGS) tests/sprintcache/test_crashes.py \
	tests/sprintcache/test_recovery.py

NUM_SCHEDULES ?= 2000

schedules: $(VENV)/tested
	SPRINTCACHE_SCHEDULES=$(NUM_SCHEDULES) SPRINTCACHE_FAULT_BATCHES=$(NUM_SCHEDULES) \
	$(BIN)/python -m pytest -q --timeout=7200 -o faulthandler_timeout=7100 $(PYTEST_ARGS) \
	-k scheduled tests/sprint_ctl/test_pool_faults.py tests/sprint_ctl/test_dataset_schedules.py \
	tests/sprintcache/test_loader_schedules.py

MUTANTS ?= --python 400 --compiled 110

mutants: $(VENV)/tested
	$(PIP) coverage
	$(BIN)/python tools/mutants/run.py $(MUTANTS)

SANITIZE_TESTS ?= $(addprefix tests/sprintcache/test_,bad_input.py scan.py datatypes.py \
	alignments.py labels.py batch.py full_sum.py align.py)

sanitize: $(VENV)/tested
	SPRINTCACHE_SANITIZE=1 $(BIN)/python setup.py --quiet build_ext --inplace --force
	$(MAKE) --no-print-directory sanitize-tests; status=$$?; \
	find sprintcache -name '*.so' -delete; rm -f $(VENV)/installed; exit $$status

# a report names two callers of an allocation; 30 of each take a tenth of the time
sanitize-tests:
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:malloc_context_size=2 UBSAN_OPTIONS=halt_on_error=1 PYTHONMALLOC=malloc \
	$(BIN)/python -m pytest -q -p no:cacheprovider $(PYTEST_ARGS) $(SANITIZE_TESTS)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= core archives bundle allophones tying segments corpus lexicon attributes \
	configuration automata messages index directory vocabulary codes lengths priors vectors tiers

fuzz: $(VENV)/tested
	$(PIP) atheris
	$(BIN)/python fuzz/build.py fast
	set -e; for target in $(FUZZ_TARGETS); do \
	$(BIN)/python fuzz/run.py $$target -- -max_total_time=$(FUZZ_SECONDS) -verbosity=1 \
	-print_final_stats=1; done

fuzz-replay:
	$(BIN)/python fuzz/build.py replay
	$(MAKE) --no-print-directory replay-inputs

replay-inputs:
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1 \
	PYTHONMALLOC=malloc $(BIN)/python fuzz/run.py $(FUZZ_TARGETS) --replay

# setarch: the sanitizer knows a fixed layout of memory
threads: $(VENV)/tested
	$(BIN)/python fuzz/build.py thread
	LD_PRELOAD="$$(cc -print-file-name=libtsan.so)" \
	TSAN_OPTIONS="halt_on_error=1 suppressions=$(CURDIR)/fuzz/thread.suppressions" \
	setarch -R $(BIN)/python fuzz/threads.py

docs: $(VENV)/installed
	$(PIP) "sprintcache[docs]"
	$(BIN)/python -m sphinx -q --fail-on-warning --keep-going -b html docs docs/_build/html

dist:
	tools/dist.sh

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
	find sprintcache -name '*.pyx' | sed s/pyx$$/c/ | xargs rm -f
	find sprintcache -name '*.so' -delete
