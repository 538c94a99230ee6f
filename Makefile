# One command each; every target builds .venv when it is missing or older than pyproject.toml or
# requirements.lock, which names the exact version of every package.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV = .venv
BIN := $(VENV)/bin

.PHONY: demo test signals bridges types answers fuzz test-latest test-pythons crashes kills check format lock bench bench-quick soak soak-source load month clean

$(VENV)/ready: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "cdpsync needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --upgrade pip
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock \
		--build-constraint requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

demo: $(VENV)/ready  ## a real Postgres and a folder of files into a lake, asked with SQL
	@$(BIN)/python examples/demo/demo.py

# All tests of a file run in one process: they share its servers, of which few processes start all.
EACH_FILE = --dist loadfile --no-loadscope-reorder
test: $(VENV)/ready  ## the whole suite, against real servers that it starts itself; TESTS= names some of it
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest $(or $(TESTS),$(EACH_FILE))

# Each Python has an environment of its own, with the versions of requirements.lock. A command that
# has no such Python behind it, as pyenv has them, or no venv, is not at hand.
PYTHONS ?= $(shell sed -n 's/.*Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml)
test-pythons:  ## `make test` on each Python of pyproject.toml that is on PATH, and which did; TESTS=
	@report=; ran=0; failed=0; for version in $(PYTHONS); do \
		if ! python$$version -c 'import ensurepip, venv' >/dev/null 2>&1; then result="not at hand"; \
		elif $(MAKE) test VENV=.venv-$$version PYTHON=python$$version; then result=passed; ran=1; \
		else result=FAILED; ran=1; failed=1; fi; \
		report="$$report  Python $$version: $$result\n"; \
	done; printf "\n$$report"; \
	test $$ran = 1 || echo "none of these is on PATH; install one, or name others: PYTHONS=3.11" >&2; \
	test $$ran$$failed = 10

crashes: $(VENV)/ready  ## a run killed before each of its steps, in each mode and store; and in each part of an upload
	CDPSYNC_EACH_STEP=1 $(BIN)/pytest --timeout 3600 tests/integration/test_crash_points.py \
		tests/integration/test_bucket_crashes.py tests/integration/test_send_crash_points.py

KILLS ?= 300
kills: $(VENV)/ready  ## sends to a destination that are killed at any moment; KILLS= of them
	CDPSYNC_KILLS=$(KILLS) $(BIN)/pytest --timeout 3600 tests/integration/test_delivery_kills.py

SIGNALS ?= 200
signals: $(VENV)/ready  ## signals at a Singer tap and at the run beside it, at random moments; SIGNALS= of them
	CDPSYNC_SIGNALS=$(SIGNALS) $(BIN)/pytest --timeout 7200 tests/integration/test_singer_signals.py

bridges: $(VENV)/ready  ## whether twelve packages of PyPI install and start, on each Python at hand; half an hour
	PYTHONPATH=tests $(BIN)/python tests/stress/bridges.py

types: $(VENV)/ready  ## every pair of types that Postgres and MariaDB let a column change between
	CDPSYNC_EACH_PAIR=1 $(BIN)/pytest --timeout 1800 tests/integration/test_type_changes.py

answers: $(VENV)/ready  ## every answer that is not Stripe's own, to every kind of request
	CDPSYNC_EACH_PAIR=1 $(BIN)/pytest --timeout 1800 tests/connectors/stripe/test_answers.py

EXAMPLES ?= 5000
fuzz: $(VENV)/ready  ## files of any dialect, and damaged ones, against Python's own readers; EXAMPLES= of each kind
	CDPSYNC_FUZZ=$(EXAMPLES) $(BIN)/pytest --timeout 36000 tests/connectors/files -k fuzz

test-latest:  ## the whole suite on the newest versions that pyproject.toml allows, in .venv-latest
	@test -n "$(PYTHON)" || { echo "cdpsync needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	rm -rf .venv-latest
	$(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade pip
	.venv-latest/bin/python -m pip install --quiet --editable '.[all]' --group dev
	.venv-latest/bin/pytest $(EACH_FILE)

check: $(VENV)/ready  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# uv comes into an environment of its own, because nothing else needs it.
COMPILE = .venv-lock/bin/uv pip compile --quiet --no-config --upgrade --universal \
	--python-version 3.11 --custom-compile-command 'make lock'
lock:  ## write each *.lock anew, with the newest versions that the ranges allow on Python 3.11 to 3.14
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	echo '--editable .[all]' | $(COMPILE) - --group dev --no-emit-package cdpsync \
		--output-file requirements.lock
	$(COMPILE) tests/support/fakesnow.in --output-file tests/support/fakesnow.lock
	$(COMPILE) bench/peers.in --output-file bench/peers.lock
	$(COMPILE) bench/send_peers.in --output-file bench/send_peers.lock
	rm -rf .venv-lock

bench: $(VENV)/ready  ## speed and memory beside psql, dlt, DuckDB's scanner and drt, against the limits; an hour
	$(BIN)/python bench/bench.py
	$(BIN)/python bench/bench_stripe.py
	$(BIN)/python bench/bench_singer.py
	$(BIN)/python bench/bench_send.py
	$(BIN)/python bench/bench_rest.py

bench-quick: $(VENV)/ready  ## its small half at a fiftieth of the size, once: whether it runs; two minutes
	$(BIN)/python bench/bench.py --quick

SECONDS ?= 600
DEATHS ?= 25
soak: $(VENV)/ready  ## runs killed at random moments, in each mode and store; SECONDS=, SEED=, DEATHS= (of a life)
	PYTHONPATH=tests $(BIN)/python tests/stress/soak.py --seconds $(SECONDS) --deaths $(DEATHS) $(if $(SEED),--seed $(SEED))

soak-source: $(VENV)/ready  ## a load of minutes from a source that hangs up every 20 s, and is written to
	PYTHONPATH=tests $(BIN)/python tests/stress/soak_source.py

TABLES ?= 1000
load: $(VENV)/ready  ## the life of a project of many tables: time, memory and size of each step; TABLES=
	PYTHONPATH=tests $(BIN)/python tests/stress/many_tables.py --tables $(TABLES)

DAYS ?= 3
month: $(VENV)/ready  ## a run every minute, by a clock of its own, and what grows; DAYS=, NIGHTLY=1 (with maintain)
	PYTHONPATH=tests $(BIN)/python tests/stress/month.py --days $(DAYS) $(if $(NIGHTLY),--nightly)

clean:
	rm -rf .venv .venv-* demo bench/.work bench/.peers
