# `make up` and `make test` are all that a fresh Debian 12 machine needs; both are for root.
# NAOS_UP: options for `naos up`, as in `make up NAOS_UP="--zones 2 --blades 3"`. NAOS_ROOT: where the lab lives.
NAOS_UP ?=

.PHONY: up down test soak benchmarks format

up:
	@scripts/bootstrap runtime
	@NAOS_BOOTSTRAP="$$(cat .venv/.naos-times)" .venv/bin/naos up $(NAOS_UP)

down:
	@if [ -x .venv/bin/naos ]; then .venv/bin/naos down --yes; else echo "There is no lab: naos was never set up here."; fi

test:
	@scripts/bootstrap test
	@scripts/test

soak:
	@scripts/bootstrap test
	@.venv/bin/pytest -m soak

benchmarks:
	@scripts/bootstrap test
	@for file in benchmarks/*.py; do echo "== $$file"; .venv/bin/python $$file || exit 1; done

format:
	@.venv/bin/ruff check --fix src tests benchmarks
	@.venv/bin/ruff format src tests benchmarks
