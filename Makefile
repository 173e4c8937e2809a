# make demo · make test · make serve · make bench · make lint; each does its own set-up in .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_INPUTS := pyproject.toml setup.py $(shell find proto _frontend -path _frontend/generated -prune -o -type f \
	\( -name '*.proto' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.py' \) -print 2>/dev/null)
MODELS ?=
BUILD_TOOLS := 'setuptools>=77' 'cython>=3.1' 'grpcio-tools==1.85.1'
LISTEN ?= 127.0.0.1:50051
# 1 where TensorFlow's build for GPUs is wanted, which is some gigabytes; by itself where a driver shows a card.
GPU ?= $(shell nvidia-smi --list-gpus >/dev/null 2>&1 && echo 1)

.PHONY: help demo test test-all serve bench lint sanitize cross train-digits clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# //p;q' Makefile

# What pip cannot install is named here, with the line that installs it.
$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "missing: python3 >= 3.11 -- apt-get install python3 python3-venv python3-dev"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: python3 >= 3.11, found $$($(PYTHON) --version); set PYTHON=python3.x"; exit 1; }
	@command -v cc >/dev/null || { echo "missing: a C compiler -- apt-get install build-essential"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv -- apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { echo "missing: Python.h -- apt-get install python3-dev"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# An extra's requirements alone: installing the project again would compile it again.
define install_extra
	$(BIN)/python -c 'import sys, tomllib; \
		extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
		print(*(line for name in sys.argv[1:] for line in extras[name]), sep="\n")' $(1) \
		$(if $(filter 1,$(GPU)),| sed 's/^tensorflow-cpu/tensorflow[and-cuda]/') \
		| $(BIN)/pip install --quiet --disable-pip-version-check --requirement /dev/stdin
endef

$(VENV)/.test: $(VENV)/.run
	$(call install_extra,test)
	@touch $@

# Extras whose tests skip without them.
$(VENV)/.test-all: $(VENV)/.test
	$(call install_extra,hub mic peers tflite train voices)
	@touch $@

$(VENV)/.train: $(VENV)/.run
	$(call install_extra,train voices)
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(call install_extra,lint)
	@touch $@

demo: $(VENV)/.run
	$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.test-all test
	$(BIN)/python -m pytest -m slow

serve: $(VENV)/.run
	$(BIN)/auricle serve --listen $(LISTEN) $(if $(MODELS),--models $(MODELS))

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench_accuracy.py
	$(BIN)/python benchmarks/bench_server.py
	$(BIN)/python benchmarks/bench_frontend.py

# Writes the model that comes with the package anew; DATA is a folder of DIGIT_SPEAKER_TAKE.wav.
train-digits: $(VENV)/.train
	@command -v flite >/dev/null || { echo "missing: CMU Flite -- apt-get install flite"; exit 1; }
	$(BIN)/python scripts/train_digits.py $(if $(DATA),--data $(DATA)) $(if $(EPOCHS),--epochs $(EPOCHS))

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, at every level that this processor runs.
SANITIZED := tests/test_features.py tests/test_spec.py tests/test_resampling.py tests/test_pcm.py
sanitize: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check $(BUILD_TOOLS)
	AURICLE_BUILD=sanitize $(BIN)/python setup.py --quiet build --build-base build/sanitize --build-lib build/sanitize/lib
	@for level in $$($(BIN)/python -c 'from auricle._frontend import cpu; print(*cpu.levels())'); do \
		echo "sanitize: $$level"; \
		PYTHONPATH=build/sanitize/lib AURICLE_SIMD=$$level ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
		LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
		$(BIN)/python -m pytest -q -p no:cacheprovider $(SANITIZED) || exit 1; \
	done

# The generic level for aarch64: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross
cross: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check $(BUILD_TOOLS)
	$(BIN)/python _frontend/cross.py aarch64-linux-gnu-gcc

clean:
	rm -rf $(VENV) build dist service/*.egg-info
	find service \( -name '*_pb2*' -o -name '*.so' \) -delete
