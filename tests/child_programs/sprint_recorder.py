"""The module that the stand-in loads in tests: records every call, as the real transcripts do.

A JSON object a line goes to the file that the environment variable SPRINT_RECORD names, arrays into
the `.npz` of the same name when the process ends. What is returned to Sprint comes from
SPRINT_RETURNS (JSON), or from the `.npz` named there: ``{"forward": ["a1", "a5"], "npz": path}``.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from typing import Any

import numpy as np

RECORD = os.environ["SPRINT_RECORD"]
RETURNS: dict[str, Any] = json.loads(os.environ.get("SPRINT_RETURNS", "{}"))
SEGMENTS = json.loads(os.environ.get("SPRINT_SEGMENTS", "null"))
COMMANDS = json.loads(os.environ.get("SPRINT_COMMANDS", "[]"))
OUTPUT_DIM = 79

arrays: dict[str, np.ndarray] = {}
given = np.load(RETURNS["npz"]) if "npz" in RETURNS else {}
file = open(RECORD, "w", encoding="utf-8")  # noqa: SIM115


def described(value: Any) -> Any:
    """A value as the transcripts write it."""
    if isinstance(value, np.ndarray):
        key = f"a{len(arrays)}"
        arrays[key] = value.copy(order="A")
        order = "1d" if value.ndim == 1 else "F" if value.flags.f_contiguous else "C"
        return {
            "ndarray": key,
            "shape": list(value.shape),
            "dtype": str(value.dtype),
            "order": order,
            "writeable": value.flags.writeable,
            "owndata": value.flags.owndata,
        }
    if isinstance(value, bytes):
        return {"bytes": value.decode()}
    if isinstance(value, tuple):
        return {"tuple": [described(item) for item in value]}
    if isinstance(value, list):
        return [described(item) for item in value]
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if type(value) is float and value == float("inf"):
        return {"float": "inf"}
    if value is None or type(value) in (str, int, float, bool):
        return value
    return {"object": type(value).__name__}


def record(call: str, args: tuple[Any, ...], kwargs: dict[str, Any], **more: Any) -> None:
    thread = "main" if threading.current_thread() is threading.main_thread() else "other"
    line = {"call": call, "thread": thread, "args": described(list(args))}
    write({**line, "kwargs": described(kwargs), **more})


def write(line: dict[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


@atexit.register
def save() -> None:
    with open(RECORD.removesuffix(".jsonl") + ".npz", "wb") as out:
        np.savez(out, **arrays)


def returned(function: str, shape: tuple[int, ...]) -> np.ndarray:
    """The next of the given arrays, else posteriors of no particular kind."""
    if RETURNS.get(function):
        return np.asarray(given[RETURNS[function].pop(0)])
    generator = np.random.default_rng(7)
    values = generator.standard_normal(shape).astype(np.float32)
    return np.asfortranarray(values if len(shape) == 1 else softmax(values))


def softmax(values: np.ndarray) -> np.ndarray:
    values = np.exp(values)
    return (values / values.sum(axis=0)).astype(np.float32)


class Recorder:
    """An object of a given name that accepts every call."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            more: dict[str, Any] = {}
            result: Any = None
            if method in ("isTrainable", "getNumberOfFreeParameters", "get_feature_buffer_size"):
                result = {"isTrainable": True, "getNumberOfFreeParameters": 0}.get(method, -1)
            elif method == "forward":
                result = returned("forward", (OUTPUT_DIM, kwargs["input"][0].shape[1]))
            elif method == "backpropagate":
                shape = 16, kwargs["errorSignalIn"].shape[1]
                result = (np.zeros(shape, np.float32, order="F"),)
            elif method == "get_scores":
                result = returned("get_scores", (OUTPUT_DIM,))
            if result is not None:
                record(f"{self._name}.{method}", args, kwargs)
                return result
            record(f"{self._name}.{method}", args, kwargs, **more)
            if method == "run_control_loop":
                commands(kwargs["callback"])
            return None

        return call


def commands(callback: Any) -> None:
    """Calls the commands of SPRINT_COMMANDS, and records the results."""
    for command, kwargs in COMMANDS:
        args = [item["bytes"].encode() if isinstance(item, dict) else item for item in command]
        line: dict[str, Any] = {"callback": described(args), "kwargs": kwargs}
        try:
            write({**line, "sprint_returns": described(callback(*args, **kwargs))})
        except Exception as error:
            write({**line, "sprint_raises": [type(error).__name__, str(error)]})


def init(*args: Any, **kwargs: Any) -> Any:
    if "name" not in kwargs:
        record("init", args, kwargs)
        return None
    record("init", args, kwargs, note="returns an object")
    return Recorder("scorer" if kwargs["sprint_unit"] == "PythonFeatureScorer" else "control")


def SprintNnPythonLayer(*args: Any, **kwargs: Any) -> Any:  # noqa: N802
    record("SprintNnPythonLayer", args, kwargs, note="class instantiated")
    return Recorder("layer")


def getSegmentList(*args: Any, **kwargs: Any) -> Any:  # noqa: N802
    record("getSegmentList", args, kwargs)
    yield from kwargs["segmentList"] if SEGMENTS is None else SEGMENTS


def __getattr__(function: str) -> Any:
    if function.startswith("__"):
        raise AttributeError(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        record(function, args, kwargs)
        if function in ("feedInput", "feedInputForwarding"):
            return returned(function, (OUTPUT_DIM, kwargs["features"].shape[1]))
        return None

    return call
