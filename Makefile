# make run    set up, start the engine, play the four scenarios, measure, draw
# make test   set up, pass the tests
# make bench  set up, run the benches, write docs/benchmarks.md and its pictures; BENCH=bench/test_modules.py: a part
#             of them, with its page in build/bench
# make peers  set up, print the same voices on pyengine and on every peer that is installed (scsynth, Csound, Pd, Faust, ...)
# make torture  set up, pass tests/test_torture.py with thousands of deaths, say what was done
# make profile  set up, count instructions with valgrind, write them into docs/performance.md
# make soak   set up, play random sessions with deaths for an hour (PYENGINE_SOAK_S=60: for a minute), compare all bits
# make check  formatting, lint, types
# make docs   write docs/osc.md and docs/modules.md anew from the engine's own tables

PYTHON ?= python3
VENV ?= .venv
PYENGINE_SOAK_S ?= 3600
BENCH ?= bench
BENCH_PAGE = $(if $(filter bench,$(BENCH)),docs,build/bench)/benchmarks.md
BENCH_COMMAND = make bench$(if $(filter bench,$(BENCH)),, BENCH="$(BENCH)")
STAMP := $(VENV)/.installed
# As many tests at once as there are processors, at most 8.
PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal
SOURCES := pyproject.toml setup.py build_ext.py MANIFEST.in \
           $(wildcard pyengine/*.py pyengine/*/*.py csrc/*.h csrc/*.c csrc/dsp/*.h csrc/dsp/*.c)

.PHONY: run test torture bench peers profile soak check docs clean

run: $(STAMP)
	$(VENV)/bin/pyengine demo

test: $(STAMP)
	$(VENV)/bin/pytest $(PARALLEL)

torture: $(STAMP)
	PYENGINE_LONG=1 $(VENV)/bin/pytest tests/test_torture.py

bench: $(STAMP)
	mkdir -p build/bench && rm -f build/bench/results.json
	$(VENV)/bin/pytest $(BENCH) --benchmark-quiet --benchmark-json=build/bench/results.json; status=$$?; \
	$(VENV)/bin/python bench/report.py build/bench/results.json --page $(BENCH_PAGE) --command '$(BENCH_COMMAND)' && exit $$status

profile: $(STAMP)
	$(VENV)/bin/python bench/profile_plan.py

PEER_PACKAGES := pyo signalflow dawdreamer

peers: $(STAMP)
	@for name in $(PEER_PACKAGES); do \
	  $(VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: $$name || echo "make peers: no $$name here"; \
	done
	$(VENV)/bin/pytest bench/peers

soak: $(STAMP)
	PYENGINE_SOAK_S=$(PYENGINE_SOAK_S) $(VENV)/bin/pytest -s tests/test_random_sessions.py -k until_the_time_is_over

check: $(STAMP)
	$(VENV)/bin/pip install --quiet mypy ruff types-cffi
	$(VENV)/bin/ruff format --check pyengine tests bench examples
	$(VENV)/bin/ruff check pyengine tests bench examples
	$(VENV)/bin/mypy

docs: $(STAMP)
	$(VENV)/bin/python docs/generate.py

$(STAMP): $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[plot,test]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output
