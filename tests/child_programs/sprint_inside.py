"""Run by other interpreters: what Sprint loads answers a trainer, in all framings."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

from sprint_ctl import control
from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire


def visit(framing: int, in_memory: bool) -> None:
    p2c_read, p2c_write = os.pipe()
    c2p_read, c2p_write = os.pipe()
    config = f"c2p_fd:{c2p_write},p2c_fd:{p2c_read},wire:{framing}"
    memories = [None, None]
    if in_memory:
        memories = [ArrayMemory.create("c2p"), ArrayMemory.create("p2c")]
        fds = [os.dup(memory.fd) for memory in memories]
        config += f",c2p_memory_fd:{fds[0]},p2c_memory_fd:{fds[1]}"
    wire = Wire(c2p_read, p2c_write, read_memory=memories[0], write_memory=memories[1])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    answers = []

    def trainer() -> None:
        wire.send(("init", "test", 1))
        answers.append(wire.receive())
        wire.version = framing
        wire.send(("get_loss_and_error_signal", "a", 2, x), request_id=3)
        answers.append(wire.receive())
        wire.send(("exit",))

    thread = threading.Thread(target=trainer)
    thread.start()
    names = control.getSegmentList(corpusName="c", segmentList=["a"], config=config)
    for name in names:
        layer = control.SprintNnPythonLayer(config=config)
        layer.setInputDimension(stream=0, size=4)
        control.PythonControl.instance.init_segment(segment_name=name)
        output = layer.forward(input=[np.zeros((4, 2), np.float32)])
        control.PythonControl.instance.notify_segment_loss(segment_name=None, loss=0.5)
        layer.backpropagate(errorSignalIn=np.asfortranarray(output * 2))
    thread.join()
    if answers[0] != ("ok", "SprintControl", 1, 2)[: 2 + framing]:
        raise ValueError(answers)
    if answers[1][:2] != ("ok", 0.5) or not np.array_equal(answers[1][2], x * 2):
        raise ValueError(answers)
    wire.close()


for framing, in_memory in ((1, False), (2, False), (2, True)):
    visit(framing, in_memory)
sys.stdout.write("fine")
