# All commands of the repository. PYTHON is Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin
WITHOUT_RAY := not ray and not cluster and not server
COVERAGE ?= 89

.PHONY: setup demo test test-fast coverage test-slow lint docs docs-reference docs-picture clean fuzz faults bench-decode bench-guards bench-select bench-models bench-scale bench-train bench-systems bench-start bench-grow bench-gates table1 table-photos

setup: .venv/.ready

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv || true
	if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]'; \
	else $(BIN)/python -m pip install --quiet -e '.[dev]'; fi
	touch $@

demo: setup
	$(BIN)/capfilt demo

lint: setup docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy capfilt

# Into build/docs, without network; a broken link or anchor is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Writes the pages of docs/reference/ that come from the code. Run it after a change of a command, setting or table.
docs-reference: setup
	$(BIN)/python docs/scripts/reference.py

# The pictures, and the tables of docs/does-it-help.md, from committed results.
docs-picture: setup
	$(BIN)/python docs/scripts/picture.py
	$(BIN)/python docs/scripts/does_it_help.py

# Four at once, for two cores: tests on Ray one after the other in one process, tests with a cluster of their own in
# another, all others by files in two more. The first two mostly wait for processes.
test: lint
	$(BIN)/pytest -n 4 --no-loadscope-reorder

# The inner loop: without Ray, without servers and without what takes longer than 0.7 s.
test-fast: setup
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m "$(WITHOUT_RAY) and not slow"

# The lines that all tests without Ray and servers run, by room, and an error if they are fewer than COVERAGE percent.
# slipcover takes its probes out of a line that ran; a tracer took 1.6 times the CPU of the tests. 91.0 % were read when
# the gate was set. It runs those tests again, some 400 s of CPU, so it is no part of `make test`.
coverage: setup
	mkdir -p build
	$(BIN)/python -m slipcover --source capfilt,models,pipelines --json --out build/coverage.json \
	  -m pytest -n 2 --no-loadscope-reorder -m "$(WITHOUT_RAY)"
	$(BIN)/python tests/support/line_coverage.py build/coverage.json $(COVERAGE)

# Ray Train with two workers, and a whole round of the loop; some minutes.
test-slow: setup
	CAPFILT_SLOW=1 $(BIN)/pytest tests/training/test_ray_train.py tests/bootstrap/test_bootstrap.py

# Breaks 20,000 real files, some of them bombs; each must become a row.
fuzz: setup
	$(BIN)/python tests/fuzz/fuzz.py --inputs 20000

# 100 faults at random moments of runs of 2,000 rows; about half an hour.
faults: setup
	$(BIN)/python tests/faults/harness.py --faults 100

# Speed of the models compared with transformers; about 20 minutes, results in tests/bench/models/.
bench-models: setup
	$(BIN)/python tests/bench/models

# Cost of the guards against hostile sites and files; a few minutes.
bench-guards: setup
	$(BIN)/python tests/bench/guards/guards.py

# Time of select over 1 and 10 million candidates.
bench-select: setup
	$(BIN)/python tests/bench/select

# What it costs to give a finished run a judge, or 5 % more rows; results in tests/bench/grow/.
bench-grow: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/grow

# CPU time of decoding the JPEGs of PHOTOS; results in tests/bench/decode/.
bench-decode: setup
	$(BIN)/python tests/bench/decode $(PHOTOS)

# Cost of the pipeline without its models (a stand-in sleeps); results in tests/bench/scale/.
bench-scale: setup
	$(BIN)/python tests/bench/scale

# A training step of MED-base compared with transformers' modules; results in tests/bench/train/.
bench-train: setup
	$(BIN)/python tests/bench/train

# What each system learns in minutes, beside a twin that must fail; results in tests/bench/systems/.
bench-systems: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/systems

# Where the time goes from the command to the first commit; results in tests/bench/start/.
bench-start: setup
	$(BIN)/python tests/bench/start

# The short form of each bench against tests/bench/gates.toml; fails on the first figure that falls short.
bench-gates: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/gates.py

# BLIP's Tables 1, 2 and 4 in miniature, where the truth is known; results in tests/bench/table1/.
table1: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/table1

# The same on real photographs, which are not shipped: PHOTOS is their folder, QUICK=1 means one seed.
table-photos: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/table_photos $(PHOTOS) $(if $(QUICK),--seeds 0)

clean:
	rm -rf .venv build dist *.egg-info demo-out
