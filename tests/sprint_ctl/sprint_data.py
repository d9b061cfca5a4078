"""Command lines for the stand-in that deliver the data in tests/data."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from tests.paths import DATA
from tests.resources import children, descriptors

STAND_IN = [sys.executable, "-m", "sprint_ctl.fake_sprint"]
NAMES = [f"espeak/rec{i:03d}/1" for i in range(24)]
# for tests/data/corpus/am.config
ENVIRONMENT = {
    "LOGFILE": "/dev/null",
    "tying": "lookup",
    "tying-file": str(DATA / "state-tying" / "monophone"),
}
CORPUS = [
    f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
    f"--*.feat-cache={DATA}/features.bundle",
    f"--*.align-cache={DATA}/alignment.linear.cache",
    f"--*.allophone-file={DATA}/allophones",
    f"--*.lexicon.file={DATA}/corpus/lexicon.xml.gz",
    f"--config={DATA}/corpus/am.config",
    "--*.log.channel=nil",
]
CONTROL = [
    *CORPUS,
    "--*.action=python-control",
    "--*.python-control-loop-type=iterate-corpus",
    "--*.extract-alignments=true",
]
SOFT = [
    *CONTROL,
    "--*.soft-alignments=true",
    f"--*.align-cache={DATA}/alignment.bw.gz.cache",
]
TRAINER = [
    *CORPUS,
    "--*.action=supervised-training",
    "--*.trainer=python-trainer",
    "--*.target-mode=target-generic",
    "--*.trainer-output-dimension=79",
    "--*.buffer-type=utterance",
    "--*.buffer-size=10000",
    "--*.shuffle=false",
]
# no archive is read: the compiled module is not needed, and it starts faster
SMALL = [
    f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
    "--*.log.channel=nil",
    "--*.action=python-control",
    "--*.python-control-loop-type=iterate-corpus",
    "--*.fake.features=4x20",
]


def resources(folder: Path) -> tuple[int, int, list[str], list[str]]:
    """What must not grow: descriptors, threads, files in a folder, child processes."""
    return len(descriptors()), threading.active_count(), os.listdir(folder), children()
