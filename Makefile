# make braille: install and run the main job.  make detector: a detector's service, and frames for it,
# sent from SOURCE=tcp://127.0.0.1:31001.
# make test: install and run the tests.
PYTHON ?= python3
SOURCE ?= tcp://127.0.0.1:31001
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
# shows on one line what pip is at, then how many packages; everything it says is in .venv/install.log, whose end is shown if it fails
install = $(BIN)/python -m pip --disable-pip-version-check install --progress-bar off \
  -c constraints.txt $(1) 2>&1 | tee $(VENV)/install.log \
  | { live=; [ -t 1 ] && live=$$'\r\033[K'; while IFS= read -r line; do case $$line in \
      "Successfully installed "*) printf '%s  %d packages\n' "$$live" $$(($$(wc -w <<< "$$line") - 2));; \
      *Collecting\ *|*Downloading\ *|*Building\ *|*Installing\ *) [ -z "$$live" ] || printf '%s  %.70s' "$$live" "$${line%% (from*}";; \
    esac; done; } \
  || { tail -n 20 $(VENV)/install.log; exit 1; }

.PHONY: braille detector test test-slow lint types format clean

braille: $(VENV)/.installed
	$(BIN)/madem run braille --out runs/braille

detector: $(VENV)/.serving
	@echo "a simulated detector at $(SOURCE), the service, and its page at http://127.0.0.1:31080; Ctrl-C ends all"
	@trap 'kill $$(jobs -p) 2> /dev/null; wait' EXIT; \
	$(BIN)/madem detector replay --rate 20 --set source=$(SOURCE) --set detector.frames=10000000 > /dev/null & \
	$(BIN)/madem detector serve --set source=$(SOURCE) --out runs/detector & \
	wait -n

test: $(VENV)/.tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.tools
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools
	$(BIN)/mypy

format: $(VENV)/.tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.created:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'madem needs Python 3.11 or newer')"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt $(wildcard native/*)
	@echo "Installing madem into $(VENV): PyTorch and the C++ kernels take a minute or two"
	@$(call install,-e .)
	@$(BIN)/python -c "from madem.fast.native import kernels; kernels or print('The C++ kernels were not built: all works, more slowly')"
	@touch $@

$(VENV)/.serving: $(VENV)/.installed
	@echo "Installing what the detector's service needs"
	@$(call install,-e ".[serve]")
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(call install,-e ".[test]")
	@touch $@
