# What a newcomer types: `make run`. All targets build .venv themselves; the second time that costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv is quicker where somebody has it; pip is always there.
UV := $(shell command -v uv 2>/dev/null)
INSTALL = $(if $(UV),$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check) --require-hashes --requirement
CODE := manage.py orchestrator jobs captioning uploads volcal tests
TEST := $(BIN)/python -m pytest -q

# Minutes of point clouds; .ci/run measures them.
WHOLE_SURVEYS := tests/unit/volcal/engine/test_scenes.py

.PHONY: run test lint check bench lock clean

run: $(VENV)/run.stamp
	@exec $(BIN)/python manage.py up

test: lint check
	$(TEST) -n 2 tests/unit tests/api --ignore $(WHOLE_SURVEYS)
	$(TEST) tests/faults/test_queue.py

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy orchestrator jobs captioning uploads volcal

# Django's own checks, as a server on the internet would see them; a developer's own .env and var/ play no part.
check: $(VENV)/dev.stamp
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  export ENV_FILE=/dev/null VAR_DIR="$$folder" NODE_ENV=production HOST=0.0.0.0 \
	    PUBLIC_URL=https://desk.example ALLOWED_HOSTS=desk.example \
	    SECRET_KEY="$$(head -c 48 /dev/urandom | base64 | tr -d '\n')" && \
	  $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run && \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(VENV)/dev.stamp
	$(TEST) -s tests/performance

# Versions and hashes without addresses, so that they install through any mirror.
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --extra local-vision --extra surveys --universal --generate-hashes \
  --python-version 3.11 --no-header --no-annotate
lock: $(VENV)/dev.stamp
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra local-s3 --group dev --constraint requirements.lock --output-file requirements-dev.lock

# Leaves var/, which holds the desk's data.
clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name it with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.lock | $(BIN)/python
	@echo "Installing what the desk needs into $(VENV) (once; about a minute) ..."
	@$(INSTALL) requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock | $(BIN)/python
	@echo "Installing what the desk and its tests need into $(VENV) (once; about two minutes) ..."
	@$(INSTALL) requirements-dev.lock
	@touch $@ $(VENV)/run.stamp
