"""One model in onnxruntime; nothing else of the project imports it."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.arena import Arena
from auricle.errors import BundleError, OptionError
from auricle.model.bundle import TensorInfo
from auricle.model.formats import refuse_tflite

# From 1.29 on onnxruntime tells Microsoft of every process and model, unless it finds this as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["Session", "check_device", "cores", "seed"]

Provider = str | tuple[str, dict[str, str]]

# The device that ``auto`` looks for.
ACCELERATOR = "cuda"
# Without this a GPU may round factors to 10 bits, and answers would depend on the card.
PROVIDER_OPTIONS = {"cuda": {"use_tf32": "0"}}

# onnxruntime's names of element types -> NumPy's.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
# onnxruntime's own log level: what it raises reaches our log anyway.
FATAL = 4


def cores() -> int:
    """Processor cores that this process may use, which a container or ``taskset`` may make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_device(device: str) -> str:
    """The short name of the execution provider that a setting means: itself, or what ``auto`` finds.

    Raises OptionError, with what there is, where this build of onnxruntime lacks it, or where it cannot be used here.
    """
    available = _available()
    if device == "auto":
        return ACCELERATOR if ACCELERATOR in available and _opens(ACCELERATOR) else "cpu"
    if device not in available:
        raise OptionError(
            f"device {device!r} is not in this build of onnxruntime, which has {', '.join(sorted(available))}; "
            "install the build for it (e.g. onnxruntime-gpu) or choose another",
            field="session.device",
        )
    if not _opens(device):
        raise OptionError(
            f"device {device!r} is in this build of onnxruntime, but cannot be used here; stderr has its reason: a "
            "driver or libraries may be missing (onnxruntime-gpu[cuda,cudnn] brings CUDA's)",
            field="session.device",
        )
    return device


def _available() -> dict[str, str]:
    """Short names of devices -> onnxruntime's names of their execution providers."""
    return {name.removesuffix("ExecutionProvider").lower(): name for name in onnxruntime.get_available_providers()}


def _providers(device: str) -> list[Provider]:
    """A device that was checked, and the CPU for what it does not compute."""
    available, options = _available(), PROVIDER_OPTIONS.get(device, {})
    return [available["cpu"]] if device == "cpu" else [(available[device], options), available["cpu"]]


@cache
def _opens(device: str) -> bool:
    """Whether a graph is really given to the device: where a library is missing onnxruntime takes the CPU unasked."""
    if device == "cpu":
        return True
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with contextlib.redirect_stdout(sys.stderr):  # both print there what they miss
        if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on; finds CUDA's libraries among Python's packages
            onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=_providers(device))
    return _available()[device] in session.get_providers()


def seed(number: int) -> None:
    """Seeds the random operators of all graphs that this process loads from now on."""
    onnxruntime.set_seed(number)


class Session:
    """A loaded graph. ``run`` is called by one thread at a time.

    Raises BundleError where the file cannot be read, or is no model that onnxruntime can load; OptionError where the
    device cannot be used.
    """

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        self._arena = Arena()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        options.intra_op_num_threads = settings.threads or cores()
        options.inter_op_num_threads = 1
        # An idle server costs nothing: threads sleep between runs rather than spin.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.device = check_device(settings.device)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait for who writes to it
                raise BundleError(f"{path.name}: a folder, a pipe or the like is no model; put the file itself there")
            with path.open("rb"):
                self.size_bytes = found.st_size
        except OSError as error:  # onnxruntime would give its number alone
            raise BundleError(f"{path.name}: the file cannot be read: {error.strerror}") from error
        refuse_tflite(path)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(self.device))
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            whole = "; is it an ONNX file, and whole?" if "INVALID_PROTOBUF" in str(error) else ""
            raise BundleError(f"{path.name}: onnxruntime cannot load it: {error}{whole}") from error
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(_tensor(arg) for arg in self._session.get_inputs())
        self.outputs = tuple(_tensor(arg) for arg in self._session.get_outputs())

    def run(
        self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]], *, shrink: bool = False
    ) -> dict[str, NDArray[np.generic]]:
        """Runs the graph for the named outputs; ``shrink`` gives back the memory that larger runs before it took.

        So do some later runs, unasked: see ``Arena``. On another device than the CPU inputs and outputs are bound, so
        that they are copied in the device's own order of work, and waited for once. Whatever onnxruntime raises passes
        through.
        """
        with self._arena.run(sum(array.nbytes for array in feed.values()), shrink=shrink) as shrinks:
            options = onnxruntime.RunOptions() if shrinks else None
            if options is not None:
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            if self.device == "cpu":
                arrays = self._session.run(list(outputs), dict(feed), options)
            else:
                binding = self._session.io_binding()
                for name, array in feed.items():
                    binding.bind_cpu_input(name, array)
                for name in outputs:
                    binding.bind_output(name)
                self._session.run_with_iobinding(binding, options)
                arrays = binding.copy_outputs_to_cpu()
        return dict(zip(outputs, arrays, strict=True))


def _tensor(arg: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in arg.shape)
    return TensorInfo(name=arg.name, dtype=DTYPES.get(arg.type, arg.type), shape=shape)
