# Everything runs in .venv/ here; the first call of a target installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Two busy thread pools on two cores starve each other; waiting threads give theirs up.
export OMP_WAIT_POLICY ?= passive
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: help demo test check fmt serve bench screenshots soak lock audit sbom clean

help:
	@echo "make demo    install, then annotate the example images with the embedded model"
	@echo "make test    install what tests need, then run every check and test"
	@echo "make check   formatting, lint, types, import directions"
	@echo "make fmt     format the code"
	@echo "make serve   run the service on 127.0.0.1:8090"
	@echo "make screenshots   draw docs/images/ anew with a real browser"
	@echo "make soak    10 minutes of mixed traffic; SOAK_SECONDS=60 for a quick one"
	@echo "make lock    pin the packages of container and tests anew; make audit, make sbom: what is known of them"
	@echo "make bench   measure, and print the tables of docs/performance.md"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Hubbridge needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

.venv/core: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing Hubbridge ..."
	@$(PIP) -c constraints.txt -e .
	@touch $@

# The lock with its hashes is of one Python on Linux; elsewhere pip chooses. torch is apart: each machine has its build.
.venv/test: .venv/bin/python pyproject.toml constraints.txt locks/test.txt
	@echo "Installing what tests need (torch among it) ..."
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) or sys.platform != "linux")'; then \
		$(PIP) --require-hashes -r locks/test.txt; \
	else echo "locks/test.txt is for Python 3.11 on Linux: packages are not checked by hash here."; fi
	@$(PIP) -c constraints.txt -e '.[test,transformers]'
	@touch .venv/core $@

demo: .venv/core
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

check: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile
	@$(BIN)/python locks/audit.py

# axe-core looks at every page in the browser tests; without npm those that need it are skipped.
.venv/npm: .venv/test
	@if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --prefix $@ axe-core@4.10.3 && touch $@; \
	else echo "npm is not installed: accessibility is not tested"; fi

# Roboflow's own package asks for an older typer than ours may be; one test runs it, with a Python of its own.
.venv/roboflow/done: .venv/test
	@$(PYTHON) -m venv .venv/roboflow
	@.venv/roboflow/bin/python -m pip install --quiet --disable-pip-version-check 'roboflow>=1.3'
	@touch $@

test: check .venv/npm .venv/roboflow/done
	HUBBRIDGE_ROBOFLOW_PYTHON=$(CURDIR)/.venv/roboflow/bin/python $(BIN)/python -m pytest -n 2 --dist loadfile

fmt: .venv/test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: .venv/core
	$(BIN)/hubbridge serve

bench: .venv/test
	$(BIN)/python -m benchmarks

screenshots: .venv/test
	$(BIN)/python -m tests.e2e.browser.screenshots
# Pinned packages with their hashes: the container's, and those that tests run with.
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --newline lf --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links --upgrade

lock: .venv/test
	$(LOCK) -o locks/core.txt pyproject.toml
	$(LOCK) --extra test --extra transformers -c constraints.txt --unsafe-package torch -o locks/test.txt pyproject.toml

audit: .venv/test
	@$(BIN)/python locks/audit.py

sbom: .venv/test
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --of JSON -o sbom.json $(BIN)/python

soak: .venv/test
	$(BIN)/python -m tests.soak

clean:
	rm -rf .venv demo-output *.egg-info
