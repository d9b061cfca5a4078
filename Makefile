# make demo   install into .venv, then decode the real archives that lie in tests/data
# make test   the same environment plus the test extra: linters, types, tests
# make bench  figures against numpy, h5py, kaldi_native_io and RETURNN (installs these)
# make soak   1,000 epochs from Sprint processes: descriptors, threads, processes, memory stay
# make docs   the documentation, in docs/_build/html
# make dist   source distribution and a wheel for every Python here, each tried where no compiler is
# make sanitize  the tests of bad input under address and undefined-behaviour sanitizers

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4
BIN = $(VENV)/bin

.PHONY: demo test check bench soak sanitize docs dist clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# editable: the tests run from the source folder, so the compiled module must lie there
$(VENV)/installed: $(BIN)/python pyproject.toml setup.py $(wildcard sprintcache/_reader.py* sprintcache/_core/*)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/tested: $(BIN)/python pyproject.toml setup.py $(wildcard sprintcache/_reader.py* sprintcache/_core/*)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $(VENV)/installed $@

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: $(VENV)/tested check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest sprintcache._reader --concise

bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python bench/run.py

soak: $(VENV)/tested
	SPRINTCACHE_EPOCHS=1000 $(BIN)/python -m pytest -q --timeout=3600 -o faulthandler_timeout=3500 \
	tests/sprint_ctl/test_sprint_dataset.py -k many_epochs

sanitize: $(VENV)/tested
	SPRINTCACHE_SANITIZE=1 $(BIN)/python setup.py --quiet build_ext --inplace --force
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 PYTHONMALLOC=malloc \
	$(BIN)/python -m pytest -q -p no:cacheprovider $(PYTEST_ARGS) $(SANITIZE_TESTS); \
	status=$$?; rm -f $(VENV)/installed sprintcache/_reader.*.so; exit $$status

SANITIZE_TESTS ?= tests/sprintcache/test_bad_input.py tests/sprintcache/test_scan.py tests/sprintcache/test_datatypes.py \
	tests/sprintcache/test_alignments.py tests/sprintcache/test_labels.py tests/sprintcache/test_batch.py

docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html

dist:
	tools/dist.sh

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info sprintcache/_reader.c sprintcache/*.so
