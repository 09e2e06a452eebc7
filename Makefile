# Everything a newcomer types. PYTHON is Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-fast test-slow lint docs docs-reference docs-picture clean fuzz faults bench-guards bench-select bench-models bench-scale bench-train table1

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

# The pages of docs/reference/ that are made from the code.
docs-reference: setup
	$(BIN)/python docs/scripts/reference.py

docs-picture: setup
	$(BIN)/python docs/scripts/picture.py

# Two at once: tests on Ray one after the other in one process, all others by files in the other.
test: lint
	$(BIN)/pytest -n 2 --no-loadscope-reorder

# The inner loop: without Ray and without servers.
test-fast: setup
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m "not ray and not server and not slow"

# Ray Train with two workers, and a whole round of the loop; some minutes.
test-slow: setup
	CAPFILT_SLOW=1 $(BIN)/pytest tests/training/test_ray_train.py tests/bootstrap/test_bootstrap.py

# Breaks 10,000 real files; every one of them must end as a row.
fuzz: setup
	$(BIN)/python tests/fuzz/fuzz.py --inputs 10000

# A hundred faults at random moments of runs of 2,000 rows; about half an hour.
faults: setup
	$(BIN)/python tests/faults/harness.py --faults 100

# How fast the models are beside transformers; about 20 minutes, results in tests/bench/models/.
bench-models: setup
	$(BIN)/python tests/bench/models

# What the guards against hostile sites and files cost; a few minutes.
bench-guards: setup
	$(BIN)/python tests/bench/guards/guards.py

# How long select takes over 1 and 10 million candidates.
bench-select: setup
	$(BIN)/python tests/bench/select

# What the pipeline costs beside its models, a stand-in that sleeps; results in tests/bench/scale/.
bench-scale: setup
	$(BIN)/python tests/bench/scale

# A step of MED-base beside the same step on transformers' modules; results in tests/bench/train/.
bench-train: setup
	$(BIN)/python tests/bench/train

# CapFilt where the truth is known: BLIP's Tables 1, 2 and 4 in miniature; results in tests/bench/table1/.
table1: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/table1

clean:
	rm -rf .venv build dist *.egg-info demo-out
