# The two main commands are `make reproduce` and `make test`. They need only Python 3.11+ and make.

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= demo
DATASET ?=
SEED ?= 0
LOCKED ?=
COVERAGE ?=

.PHONY: help install lock reproduce lint test test-faults test-mutants test-inputs audit bench notebooks docs clean
help:
	@echo "make reproduce [PROFILE=demo|laptop|gpu|paper] [DATASET=...] [SEED=0]   install, then run everything"
	@echo "make install LOCKED=1                                              install exactly requirements.lock, by its hashes"
	@echo "make lock                                                          write requirements.lock anew, with the newest versions"
	@echo "make lint                                                          check style and types"
	@echo "make test [COVERAGE=1]                                             install, then run the tests; print the share of lines that they run"
	@echo "make test-faults                                                   kill or damage 200 runs, and count what is lost"
	@echo "make test-mutants                                                  put wrong lines into a copy, one at a time, and count what tests catch"
	@echo "make test-inputs                                                   try thousands of random inputs"
	@echo "make audit                                                         list the licences of the packages that the package needs, and look for known vulnerabilities"
	@echo "make bench                                                         install alternative libraries, then compare the speed"
	@echo "make notebooks                                                     store the notebooks with fresh demo outputs"
	@echo "make docs                                                          build the documentation as a site, into site/"

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/it")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	touch $@

# With LOCKED=1, pip adds nothing to the locked packages. Without it, they may get other versions, so the mark goes.
PIP = $(VENV)/bin/python -m pip install --quiet
EDITABLE = $(if $(LOCKED),$(PIP) --no-deps --no-build-isolation --editable,rm -f $(VENV)/.locked; $(PIP) --editable)

$(VENV)/.locked: requirements.lock | $(VENV)/.made
	$(PIP) --require-hashes --requirement requirements.lock
	touch $@

$(VENV)/.installed: pyproject.toml $(if $(LOCKED),$(VENV)/.locked) | $(VENV)/.made
	$(EDITABLE) .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(EDITABLE) '.[test]'
	touch $@

install: $(VENV)/.installed

# A virtual environment of its own, so that uv is no part of what it locks.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--extra test --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

reproduce: $(VENV)/.installed
	$(VENV)/bin/hybrid reproduce --profile '$(PROFILE)' --seed $(SEED) $(if $(DATASET),--dataset '$(DATASET)')

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check hybrid tests docs examples results
	$(VENV)/bin/ruff format --check hybrid tests docs examples results
	$(VENV)/bin/mypy

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests --nbval-lax notebooks \
		$(if $(COVERAGE),--cov=hybrid --cov-report=term:skip-covered)

test-faults: $(VENV)/.installed-test
	HYBRID_TRIALS=200 HYBRID_REPORT=results/bench/faults.json $(VENV)/bin/python -m pytest tests/test_faults.py

test-mutants: $(VENV)/.installed-test
	$(VENV)/bin/python tests/mutants.py

test-inputs: $(VENV)/.installed-test
	HYBRID_EXAMPLES=$${HYBRID_EXAMPLES:-1000} HYBRID_REPORT=results/bench/inputs.json $(VENV)/bin/python -m pytest tests/test_inputs.py

audit: $(VENV)/.installed
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	status=0; $(VENV)/bin/python tests/licences.py || status=1; \
	build/audit/bin/pip-audit --progress-spinner off --skip-editable --path \
		"$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || status=1; exit $$status

$(VENV)/.installed-bench: $(VENV)/.installed
	rm -f $(VENV)/.locked; $(PIP) --editable '.[bench]'
	touch $@

bench: $(VENV)/.installed-bench
	$(VENV)/bin/hybrid bench

notebooks: $(VENV)/.installed
	$(VENV)/bin/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

$(VENV)/.installed-docs: $(VENV)/.installed
	rm -f $(VENV)/.locked; $(PIP) --editable '.[docs]'
	touch $@

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "site: $(CURDIR)/site/index.html"

clean:
	rm -rf $(VENV) build site *.egg-info
