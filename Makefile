# make run    set up, start the engine, play the four scenarios, measure, draw
# make test   set up, pass the tests
# make bench  set up, print the benches (figures; never pass or fail)
# make check  formatting, lint, types
# make docs   write docs/osc.md and docs/modules.md anew from the engine's own tables

PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml setup.py build_ext.py MANIFEST.in \
           $(wildcard pyengine/*.py csrc/*.h csrc/*.c csrc/dsp/*.h csrc/dsp/*.c)

.PHONY: run test bench check docs clean

run: $(STAMP)
	$(VENV)/bin/pyengine demo

test: $(STAMP)
	$(VENV)/bin/pytest

bench: $(STAMP)
	$(VENV)/bin/pytest bench

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
