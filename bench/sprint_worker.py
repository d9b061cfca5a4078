"""Runs in a separate interpreter: one trainer with Sprint processes, ours or RETURNN's.

Reads a count from each line of stdin, does as much, and answers with a line of JSON. RETURNN's pipe
needs NumPy below 2.3, so this runs where sprintcache may not be installed; it imports `sprint_ctl`
from this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def posteriors(frames: int, labels: int) -> np.ndarray:
    """What is sent; a trivial criterion sends it back."""
    return np.random.default_rng(0).standard_normal((frames, labels), np.float32)


# --- round trips through the stand-in ------------------------------------------------------------


def layer_arguments(corpus: str, frames: int, labels: int) -> list[str]:
    """The stand-in with a Python layer and a criterion that does nothing."""
    return [
        "--*.action=supervised-segmentwise-training",
        "--*.trainer=feed-forward-trainer",
        "--*.buffer-type=utterance",
        "--*.buffer-size=10000",
        "--*.shuffle=false",
        "--*.neural-network.links=0->python-layer:0",
        "--*.python-layer.layer-type=python",
        f"--*.python-layer.dimension-output={labels}",
        f"--*.corpus.file={corpus}",
        f"--*.fake.features=1x{frames}",
        "--*.fake.criterion=trivial",
        "--*.log.channel=nil",
    ]


def our_instance(launcher: str, arguments: list[str]) -> tuple[Any, Callable[[], object]]:
    from sprint_ctl.error_signals import SprintSubprocessInstance

    instance = SprintSubprocessInstance(launcher, sprintConfigStr=arguments)
    return instance, instance.exit_handler


def returnn_instance(launcher: str, arguments: list[str]) -> tuple[Any, Callable[[], object]]:
    import shlex

    from returnn.sprint.error_signals import SprintSubprocessInstance

    instance = SprintSubprocessInstance(launcher, sprintConfigStr=shlex.join(arguments))
    return instance, instance.exit_handler


def round_trips(args: argparse.Namespace) -> tuple[Callable[[int], Any], Callable[[], object]]:
    make = our_instance if args.side == "ours" else returnn_instance
    arguments = layer_arguments(args.corpus, args.frames, args.labels)
    instance, close = make(args.launcher, arguments)
    sent = posteriors(args.frames, args.labels)

    def request(name: str) -> tuple[float, np.ndarray]:
        instance.get_loss_and_error_signal__send(name, args.frames, sent)
        _, loss, error_signal = instance.get_loss_and_error_signal__read()
        return loss, error_signal

    loss, error_signal = request("c/0/0")
    if loss != args.frames or not np.array_equal(error_signal, sent):
        raise AssertionError(f"{args.side}: loss {loss}, or another error signal than was sent")

    def run(count: int) -> float:
        begin = time.perf_counter()
        for index in range(count):
            request(f"c/{index % 10}/0")
        return time.perf_counter() - begin

    return run, close


# --- one array from one process to another -------------------------------------------------------

# time.perf_counter is CLOCK_MONOTONIC, the same in all processes


def transfers(args: argparse.Namespace) -> tuple[Callable[[int], Any], Callable[[], object]]:
    """There: until all of it is in the other process. Back: until it is in our array."""
    p2c, c2p = os.pipe(), os.pipe()
    fds = [p2c[0], c2p[1]]
    memories: list[Any] = []
    if args.side == "ours":
        from sprint_ctl._pipe.shared_memory import ArrayMemory

        memories = [ArrayMemory.create("c2p"), ArrayMemory.create("p2c")]
        fds += [memory.fd for memory in memories]
    command = [sys.executable, __file__, "echo", args.side, "--fds", *map(str, fds)]
    child = subprocess.Popen(command, pass_fds=fds)
    os.close(p2c[0])
    os.close(c2p[1])
    send, receive = endpoint(args.side, c2p[0], p2c[1], *memories)
    sent = posteriors(args.frames, args.labels)
    out = np.empty_like(sent)

    def there_and_back() -> tuple[float, float]:
        begin = time.perf_counter()
        send(("there", sent))
        _, came, returned, back = receive()
        if args.side == "ours":
            out[...] = back  # a view, good until the next message; RETURNN's is new memory
        else:
            out[:1] = back[:1]
        end = time.perf_counter()
        if not checked:
            if not np.array_equal(back, sent):
                raise AssertionError(f"{args.side}: another array came back")
            checked.append(True)
        return came - begin, end - returned

    checked: list[bool] = []
    there_and_back()

    def close() -> None:
        send(("exit", None))
        child.wait()

    return lambda count: [there_and_back() for _ in range(count)], close


def endpoint(
    side: str, read_fd: int, write_fd: int, read_memory: Any = None, write_memory: Any = None
) -> tuple[Callable[[tuple[Any, ...]], None], Callable[[], Any]]:
    if side == "ours":
        from sprint_ctl._pipe.wire import Wire

        wire = Wire(read_fd, write_fd, read_memory=read_memory, write_memory=write_memory)
        wire.version = 2
        return wire.send, wire.receive
    from returnn.util.basic import read_pickled_object, write_pickled_object

    reader, writer = os.fdopen(read_fd, "rb", 0), os.fdopen(write_fd, "wb", 0)
    return lambda message: write_pickled_object(writer, message), lambda: read_pickled_object(
        reader
    )


def echo(args: argparse.Namespace) -> None:
    """The process at the other end: returns each message."""
    memories: list[Any] = []
    if args.side == "ours":
        from sprint_ctl._pipe.shared_memory import ArrayMemory

        memories = [ArrayMemory(args.fds[3]), ArrayMemory(args.fds[2])]
    send, receive = endpoint(args.side, *args.fds[:2], *memories)
    while True:
        what, array = receive()
        came = time.perf_counter()
        if what == "exit":
            return
        array = np.array(array)
        send(("back", came, time.perf_counter(), array))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["round-trips", "transfers", "echo"])
    parser.add_argument("side", choices=["ours", "returnn"])
    parser.add_argument("--launcher", help="program that starts the stand-in")
    parser.add_argument("--corpus")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--labels", type=int)
    parser.add_argument("--fds", type=int, nargs="+")
    args = parser.parse_args()
    if args.task == "echo":
        echo(args)
        return
    # RETURNN's end of the pipe, in the stand-in too, prints much to stdout
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run, close = (round_trips if args.task == "round-trips" else transfers)(args)
    try:
        answers.write('"ready"\n')
        answers.flush()
        for line in sys.stdin:
            answers.write(json.dumps(run(int(line))) + "\n")
            answers.flush()
    finally:
        close()


if __name__ == "__main__":
    main()
