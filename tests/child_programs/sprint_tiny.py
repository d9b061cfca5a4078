"""A Sprint of the standard library alone, which starts in milliseconds: JSON framing by hand.

The loss is the number of frames, the error signal twice the log posteriors; the automaton of
``a/5`` is a chain of 5 edges. A part of the segment name orders a fault: kill, stop, refuse, slow,
once (the first Sprint that can make the folder of that key dies slowly), empty, short, text,
complex, huge, nothing.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import pickle
import signal
import struct
import sys
import time

HEADER = struct.Struct("<4sIQQ")
arguments = dict(a[2:].partition("=")[::2] for a in sys.argv[1:])
config = dict(pair.split(":", 1) for pair in arguments["*.pymod-config"].split(","))
from_trainer, to_trainer = int(config["p2c_fd"]), int(config["c2p_fd"])


def read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(from_trainer, size - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return data


def write(data: bytes) -> None:
    while data:
        data = data[os.write(to_trainer, data) :]


def answer(request: int, values: list[object], payload: bytes = b"") -> None:
    text = json.dumps(values).encode()
    write(HEADER.pack(b"SPR2", len(text), request, len(payload)) + text + payload)


def described(dtype: str, *shape: int, order: str = "C") -> dict[str, object]:
    return {"__array__": [dtype, shape, order, None]}


read(*struct.unpack("<i", read(4)))
ready = pickle.dumps(("ok", "tiny", int(config.get("version", 1)), 2))
write(struct.pack("<i", len(ready)) + ready)
while True:
    _, text_size, request, payload_size = HEADER.unpack(read(HEADER.size))
    message = json.loads(read(text_size))
    payload = read(payload_size)
    if message[0] == "exit":
        os._exit(0)
    faults = message[1].split("/")
    if "kill" in faults:
        os.kill(os.getpid(), signal.SIGKILL)
    if "stop" in faults:
        os.kill(os.getpid(), signal.SIGSTOP)
    if "slow" in faults:
        time.sleep(0.02)
    if "once" in faults:
        with contextlib.suppress(FileExistsError):
            os.mkdir(config["once"])
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
    if "refuse" in faults:
        answer(request, ["exception", "Traceback:\nValueError: refused"])
    elif message[0] == "export_allophone_state_fsa_by_segment_name":
        edges = int(faults[-1])
        numbers = array.array("I", [*range(edges), *range(1, edges + 1), *range(edges)])
        weights = array.array("f", [0.5] * edges)
        arrays = described("<u4", 3 * edges), described("<f4", edges)
        num_states = 0 if "empty" in faults else edges + 1
        answer(request, ["ok", num_states, edges, *arrays], numbers.tobytes() + weights.tobytes())
    else:
        dtype, shape, order, offset = message[3]["__array__"]
        size = 4 * shape[0] * shape[1]
        if offset is not None:
            payload = os.pread(int(config["p2c_memory_fd"]), size, offset)
        doubled = array.array("f", [2 * value for value in array.array("f", payload)]).tobytes()
        loss: object = float(shape[0])
        if "short" in faults:
            shape, doubled = [1, shape[1]], doubled[: 4 * shape[1]]
        if "text" in faults:
            dtype = "|S4"
        if "complex" in faults:
            dtype, doubled = "<c8", 2 * doubled
        if "huge" in faults:
            loss = 10**400
        if "nothing" in faults:
            loss = None
        answer(request, ["ok", loss, described(dtype, *shape, order=order)], doubled)
