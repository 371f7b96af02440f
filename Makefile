# Targets for people: `make demo` and `make test` do their own set-up.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
export DAGSTER_DISABLE_TELEMETRY := yes
export MLFLOW_DISABLE_TELEMETRY := true
# Tests and jobs start many processes, each of which would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo demo-aws dev lint check test test-slow test-all bench soak lock docs docs-lock heic heic-lock clean \
	images test-images lint-deploy up down backup restore test-server deploy smoke destroy test-deploy

.venv/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11, or make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing $$(grep -cE '^[A-Za-z0-9].*==' requirements.lock) locked packages into .venv: about 3.7 GB to download (torch with CUDA is 3 GB of it) unless pip has them; 9 GB on disk."
	@start=$$SECONDS; \
	$(PYTHON) -m venv .venv && \
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock 2> >(grep -v '^WARNING: Location' >&2) && \
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . 2> >(grep -v '^WARNING: Location' >&2) && \
	touch $@ && echo "Installed in $$((SECONDS - start)) s."

setup: .venv/.installed

demo: setup
	$(BIN)/carsdepo demo $(if $(DATA),--data "$(DATA)") $(if $(FAST),--fast) $(if $(MINUTES),--minutes $(MINUTES)) $(foreach pair,$(MAP),--map "$(pair)") $(if $(CLASSES),--classes "$(CLASSES)")

# The loop as in an AWS account, on emulators: see docs/aws.md. SERVICE_IMAGE and WORKER_IMAGE name images to run; PROCESSES=1 runs none.
demo-aws: setup
	@$(BIN)/python -m deploy.demo_aws $(if $(PROCESSES),--processes)

dev: setup
	$(BIN)/carsdepo dev

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m carsdepo_assets_tests.names_check

check: setup
	$(BIN)/mypy carsdepo_assets
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate

# Half as many processes again as there are cores, since tests wait. One that crashes ends the run: with another in its
# place pytest-xdist may wait for ever.
SPREAD = -n $$($(BIN)/python -c "import os; print(os.cpu_count() * 3 // 2)") --dist loadfile --max-worker-restart=0

# Most tests write and sync many small files: they lie in memory where Linux offers 4 GB of it for files, elsewhere on the
# disk. Those of label batches took 30 s of the processor in place of 39.
IN_MEMORY = $$(df --output=avail --block-size=1G /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 >= 4 {print "PYTEST_DEBUG_TEMPROOT=/dev/shm"}')

# One thread for each of pytest's processes: they share the cores.
test: setup
	env OMP_NUM_THREADS=1 $(IN_MEMORY) $(BIN)/pytest -m "not slow" $(SPREAD)

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not long" $(SPREAD)

test-all: setup
	$(BIN)/pytest

bench: setup
	$(BIN)/python -m benchmarks

soak: setup
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)
	$(if $(MINUTES),,$(BIN)/python -m carsdepo_assets_tests.data.event_simulation --events 100000)
	$(if $(MINUTES),,$(BIN)/python -m carsdepo_assets_tests.data.fuzzing --imports 5000)
	$(if $(MINUTES),,$(MAKE) test-images)

lock: setup
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --extra dev -o requirements.lock pyproject.toml
	$(BIN)/python deploy/images/requirements.py

# The site needs packages that nothing else does, so they have a lock of their own.
.venv/.docs-installed: docs/requirements.lock .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r docs/requirements.lock 2> >(grep -v '^WARNING: Location' >&2)
	touch $@

docs: .venv/.docs-installed
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open build/site/index.html."

docs-lock: setup
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" | \
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --no-header --constraint requirements.lock -o docs/requirements.lock -

# HEIC needs a package whose wheels hold GPL-2.0 and LGPL-3.0 libraries, so it is installed by whoever wants it.
heic: setup
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-heic.lock

heic-lock: setup
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['heic'], sep='\n')" | \
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --no-header --constraint requirements.lock -o requirements-heic.lock -

# Containers: see docs/deploy.md. VERSION is the images' tag, IMAGES names some of them.
images:
	REGISTRY=$(REGISTRY) deploy/images/build.sh $(IMAGES)

test-images: setup
	$(BIN)/pytest -s -W ignore deploy/images/test_images.py

lint-deploy: setup
	deploy/lint.sh

up:
	@deploy/up $(if $(NAME),"$(NAME)")

down:
	@deploy/down

backup:
	@deploy/backup $(if $(FOLDER),"$(FOLDER)")

restore:
	@deploy/restore $(if $(BACKUP),"$(BACKUP)")

test-server: setup
	$(BIN)/python -m deploy.test_server

# An AWS account: see docs/aws-account.md. YES=1 asks nothing.
ENV ?= staging
SIZE ?= small
AWS_DEPLOY = $(BIN)/python -m deploy.aws.deploy

deploy: setup
	@$(AWS_DEPLOY) deploy "$(ENV)" --size "$(SIZE)" $(if $(TAG),--tag "$(TAG)") $(if $(THROUGH),--through "$(THROUGH)") $(if $(YES),--yes)

smoke: setup
	@$(AWS_DEPLOY) smoke "$(ENV)" $(if $(PHOTO),--photograph "$(PHOTO)")

destroy: setup
	@$(AWS_DEPLOY) destroy "$(ENV)" $(if $(YES),--yes)

test-deploy: setup
	$(BIN)/python -m pytest --import-mode=importlib -s -W ignore deploy/aws/test_on_ministack.py

clean:
	rm -rf .venv .carsdepo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
