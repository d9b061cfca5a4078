"""Run by other interpreters: segments go from what Sprint loads to a pipe, and to an engine."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

from sprint_ctl import extern_interface, interface
from sprint_ctl._pipe.wire import Wire
from sprint_ctl._sprint.segment_calls import deliver_to

NAMES = ["a", "b", "c"]
FEATURES = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4))
LABELS = np.arange(4, dtype=np.uint32)


class Engine:
    """Accepts everything, and assigns the same probability to every label."""

    def __init__(self, config):
        self.seen = []
        SEEN.append(self.seen)

    def train(self, dataset):
        for epoch in dataset.iter_epochs():
            for seq in dataset.iter_seqs():
                if not np.array_equal(seq.features["data"], FEATURES.T):
                    raise ValueError(seq)
                self.seen.append((epoch, seq.seq_tag, seq.features["orth"].tobytes()))

    def forward(self, features, segment_name):
        return np.full((len(features), 5), -np.log(5), np.float32)


SEEN: list = []
sys.modules["engines"] = sys.modules["__main__"]


def visit(module, config: str) -> None:
    """What Sprint does in iterate-corpus."""
    names = module.getSegmentList(
        corpusName="c", segmentList=NAMES, segmentsInfo=None, config=config
    )
    control = module.init(
        name="Sprint.PythonControl",
        sprint_unit="NnTrainer.pythonControl",
        reference=None,
        callback=None,
        version_number=5,
        config=config,
    )
    for index, name in enumerate(names):
        if index == 0:
            control.init_processing(input_dim=2, output_dim=5)
        control.process_segment(
            name=name,
            orthography=b"x y ",
            speaker_name="s",
            features=FEATURES,
            alignment=LABELS,
            soft_alignment=None,
        )
    control.exit()


def to_a_pipe(framing: int) -> None:
    p2c_read, p2c_write = os.pipe()
    c2p_read, c2p_write = os.pipe()
    wire = Wire(c2p_read, p2c_write)
    got = []

    def trainer() -> None:
        while not got or got[-1][0] != "exit":
            got.append(wire.receive())

    thread = threading.Thread(target=trainer)
    thread.start()
    visit(extern_interface, f"c2p_fd:{c2p_write},p2c_fd:{p2c_read},wire:{framing}")
    thread.join()
    wire.close()
    deliver_to(None)
    if [message[0] for message in got] != ["init", "data", "data", "data", "exit"]:
        raise ValueError(got)
    name, features, targets = got[2][1]
    if name != "b" or not np.array_equal(features, FEATURES) or targets["orth"] != b"x y ":
        raise ValueError(got)
    if not np.array_equal(targets["classes"], LABELS):
        raise ValueError(got)


def to_an_engine() -> None:
    visit(interface, "engine:engines:Engine,epochs:2")
    if SEEN[-1] != [(epoch, name, b"x y") for epoch in (1, 2) for name in NAMES]:
        raise ValueError(SEEN)
    deliver_to(None)
    interface.init(
        inputDim=2, outputDim=5, config="engine:engines:Engine", targetMode="forward-only"
    )
    posteriors = interface.feedInputForwarding(features=FEATURES, weights=None, segmentName=None)
    if type(posteriors) is not np.ndarray or not np.allclose(posteriors, np.full((5, 4), 0.2)):
        raise ValueError(posteriors)
    interface.exit()


to_a_pipe(1)
to_a_pipe(2)
to_an_engine()
sys.stdout.write("fine")
