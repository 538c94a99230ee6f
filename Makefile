# One command each; every target builds .venv when it is missing or older than pyproject.toml.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: demo test crashes check format bench bench-quick soak soak-source load month clean

.venv/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "cdpsync needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

demo: .venv/ready  ## a real Postgres and a folder of files into a lake, asked with SQL
	@$(BIN)/python examples/demo/demo.py

test: .venv/ready  ## the whole suite, against real servers that it starts itself
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest

crashes: .venv/ready  ## a run killed before each of its steps, in each mode, also where the disk is as it was
	CDPSYNC_EACH_STEP=1 $(BIN)/pytest --timeout 3600 tests/integration/test_crash_points.py

check: .venv/ready  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready  ## speed and memory beside psql, dlt and DuckDB's scanner, against the limits; an hour
	$(BIN)/python bench/bench.py
	$(BIN)/python bench/bench_stripe.py

bench-quick: .venv/ready  ## its small half at a fiftieth of the size, once: whether it runs; two minutes
	$(BIN)/python bench/bench.py --quick

SECONDS ?= 600
DEATHS ?= 25
soak: .venv/ready  ## runs killed at random moments, in each mode and store; SECONDS=, SEED=, DEATHS= (of a life)
	$(BIN)/python tests/soak.py --seconds $(SECONDS) --deaths $(DEATHS) $(if $(SEED),--seed $(SEED))

soak-source: .venv/ready  ## a load of minutes from a source that hangs up every 20 s, and is written to
	$(BIN)/python tests/soak_source.py

TABLES ?= 1000
load: .venv/ready  ## the life of a project of many tables: time, memory and size of each step; TABLES=
	$(BIN)/python tests/many_tables.py --tables $(TABLES)

DAYS ?= 3
month: .venv/ready  ## a run every minute, by a clock of its own, and what grows; DAYS=, NIGHTLY=1 (with maintain)
	$(BIN)/python tests/month.py --days $(DAYS) $(if $(NIGHTLY),--nightly)

clean:
	rm -rf .venv demo bench/.work bench/.peers
