# `make run` and `make test` need Python 3.11, pip >= 22.3, make and git; they set up the rest.
PYTHON ?= python3.11
VENV ?= .venv
# A CPU build is enough. Where the default index serves a large CUDA build, point pip at an index of
# CPU builds by its own environment variables, and name the build by TORCH.
TORCH ?= torch==2.13.0
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS := $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run sweep report bench test test-slow lint type check clean

help: ## show this
	@echo "make TARGET [ARGS='name=value ...'] [PYTHON=python3.11] [VENV=.venv] [TORCH=torch==...]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP) ## prepare the environment, and nothing else

run: $(STAMP) ## simulate, train eight policies, judge them: reports/latest/index.html
	$(BIN)/swipelab study experiment=quickstart $(ARGS)

sweep: $(STAMP) ## the learned policies over two worlds, and their leaderboard
	$(BIN)/swipelab study -m policy=shared_bottom,dbmtl,rui3,sass seed=0,1 $(ARGS)
	$(BIN)/swipelab leaderboard outputs

report: $(STAMP) ## render the page of the last run again
	$(BIN)/swipelab report $(ARGS)

bench: $(STAMP) ## measure speeds and peak memory beside their floors: reports/perf
	$(BIN)/swipelab bench $(ARGS)

test: check ## lint, types and the tests
	$(TESTS) $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes
	$(TESTS) -m slow $(ARGS)

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP) ## mypy, strict
	$(BIN)/mypy

check: lint type ## lint and types, without the tests

clean: ## remove caches and build products; keeps the environment and all results
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find sim policies evaluation conf tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The new environment is driven by the existing pip, so neither ensurepip nor activation is needed.
# The stamp is touched last: an interrupted installation resumes, a finished one is not repeated.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "error: $(PYTHON) is not installed; install Python 3.11 or set PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "error: PYTHON=$(PYTHON) is `$(PYTHON) -V 2>&1`; allowed: Python 3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import re, pip; \
	  raise SystemExit([int(n) for n in re.findall(r"\d+", pip.__version__)[:2]] < [22, 3])' \
	  2>/dev/null || { \
	  echo "error: $(PYTHON) has no pip >= 22.3; get it by $(PYTHON) -m pip install --user -U pip" >&2; \
	  exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --disable-pip-version-check -c constraints.txt "$(TORCH)"
	$(PYTHON) -m pip --python $(BIN)/python install --disable-pip-version-check -c constraints.txt -e ".[dev,rl,ray]"
	@echo "compiling the world's kernels, once"
	$(BIN)/swipelab simulate world=tiny days=1 out=$(VENV)/first-log >/dev/null
	@rm -rf $(VENV)/first-log
	@touch $(STAMP)
