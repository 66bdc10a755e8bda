# The two commands: `make book` and `make test`. Each target sets everything up first, in .venv.
PYTHON ?= python3
SCALE ?= recorded
BIN := .venv/bin

# Compiled bytecode makes each start several times as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book test test-book coverage lint lab benchmarks clean

book: .venv/ready
	$(BIN)/valleywalk book --scale $(SCALE) $(if $(REPOSITORY),--repository $(REPOSITORY))

test: .venv/ready
	$(BIN)/ruff check src tests notebooks book benchmarks
	$(BIN)/ruff format --check src tests notebooks book benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/nbstripout --verify notebooks/*.ipynb book/course/*.ipynb
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/pytest --doctest-modules src/valleywalk
	$(BIN)/pytest -n auto --dist worksteal --ignore tests/book $(COVERAGE)

# Builds the book from tiny walks, warnings as errors; looks at its pages in Chromium; the course.
test-book: .venv/ready
	VALLEYWALK_DATA=build/test-book $(BIN)/valleywalk book --scale smoke --strict
	VALLEYWALK_BOOK=build/book/_build/html $(BIN)/pytest -n auto tests/book $(COVERAGE)

# Lines and branches of src that the tests run, those in notebooks' and workers' processes included.
coverage:
	$(MAKE) test COVERAGE="--cov --cov-fail-under=0 --cov-report="
	$(MAKE) test-book COVERAGE="--cov --cov-append --cov-report=term-missing:skip-covered"

lint: .venv/ready
	$(BIN)/ruff check --fix src tests notebooks book benchmarks
	$(BIN)/ruff format src tests notebooks book benchmarks

# The notebooks in JupyterLab; options such as LAB="--no-browser --port 9999".
lab: .venv/ready
	$(BIN)/jupyter lab $(LAB) notebooks

# Compare with other packages and with the machine; writes book/speed/.
benchmarks: .venv/ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt -e '.[benchmarks]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py

# uv is many times as fast as pip. It looks for local wheels where pip was told to.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	UV_COMPILE_BYTECODE=1 UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" \
		$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt -e '.[book,course,lab,test]'
	touch $@

# Walks are kept: `valleywalk clean --traces --checkpoints` deletes them, too.
clean:
	rm -rf build/book build/book-building
	test ! -x $(BIN)/valleywalk || $(BIN)/valleywalk clean --yes
