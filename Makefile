# What a newcomer types. `make` alone lists the commands.
PY := .venv/bin/python
CONF ?= conf/nanomq.conf
ARGS ?=

.PHONY: help run demo test test-long lint bench lock clean venv venv-dev peers

help:
	@echo "make run        start the broker on $(CONF)   (CONF=... for another file)"
	@echo "make demo       broker, receiver and three simulated devices in this terminal"
	@echo "make test       all tests but the long ones   (ARGS=... goes to pytest)"
	@echo "make test-long  crash loops, soaks, fuzzing"
	@echo "make lint       ruff and mypy"
	@echo "make bench      the figures of docs/benchmarks.md"
	@echo "make lock       resolve the dependencies anew"
	@echo "make clean      remove what these commands made (never the store in ./data)"

venv:
	@sh scripts/venv.sh run

venv-dev:
	@sh scripts/venv.sh dev

peers:
	@sh scripts/peers.sh

run: venv
	@exec $(PY) -m bridge start --conf $(CONF) $(ARGS)

demo: venv
	@exec $(PY) -m bridge demo $(ARGS)

# Three at a time on two cores, since many wait for a time or a disk. In the order of the files: the many short
# ones of tests/unit come last and fill what a long one leaves.
test: venv-dev peers
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: venv-dev peers
	@$(PY) -m pytest -m long $(ARGS)

lint: venv-dev
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy

bench: venv-dev
	@$(PY) -m scripts.bench $(ARGS)

lock:
	@sh scripts/lock.sh $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info tests/acceptance/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
