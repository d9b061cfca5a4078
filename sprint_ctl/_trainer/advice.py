"""Advice on a Sprint that fails, from its exit status and its output."""

from __future__ import annotations

import re

from sprint_ctl.errors import SprintDiedError, SprintError, SprintStartError, SprintTimeoutError

__all__ = ["advice_for"]

# pattern of the output, advice; groups of the pattern fill the braces
_BY_TEXT = (
    (
        r"no such program, or not executable",
        "give the path of the nn-trainer, or a name on PATH; is it executable (chmod +x)?",
    ),
    (
        r"Exec format error",
        "this machine cannot run the file: it was built for another processor, or it is a script"
        " without a first line #!...",
    ),
    (
        r"error while loading shared libraries: ([^\s:]+)",
        "the library {0} is missing: install it, or put its folder into LD_LIBRARY_PATH;"
        " `ldd` on the program lists all that are missing",
    ),
    (
        r"version `(\w+_[\d.]+)' not found",
        "this Sprint was built on a newer system ({0}): build it here, or run it in its container",
    ),
    (
        r"No module named '?encodings|init_fs_encoding|Could not find platform independent lib",
        "Sprint's Python does not find its standard library: set its folder with"
        " --*.python-home=..., and unset PYTHONHOME",
    ),
    (
        r"No module named '?numpy|NumPy init failed|numpy\.?_?core\.multiarray.? failed"
        r"|compiled using NumPy 1\.x",
        "the Python inside Sprint finds no numpy that it can use: install numpy for exactly this"
        " Python (its version is in Sprint's build), and point to it with PYTHONPATH or"
        " --*.python-home; a PYTHONPATH meant for another Python breaks it",
    ),
    (
        r"feature annotations is not defined|No module named '?dataclasses",
        "the Python inside Sprint is too old: it has to be 3.8 or newer",
    ),
    (
        r"No module named '?(sprint_ctl[\w.]*|sprintcache[\w.]*)",
        "Sprint does not find {0}: does one of the arguments override --*.pymod-path, or can Sprint"
        " not see the folder where this package is installed, from its container say?",
    ),
    (
        r"[Nn]eed Python module name|cannot import module|No module named '?[\w.]+",
        "Sprint does not load our module: one of the arguments, or a configuration file, sets"
        " --*.pymod-path or --*.pymod-name; leave these to us, also for the layer",
    ),
    (
        r"this Sprint is too old",
        "use a newer Sprint, or try a lower minPythonControlVersion",
    ),
    (
        r"Action not given|[Uu]nknown action|invalid value .*\baction\b",
        "the arguments choose no action that this Sprint has: --*.action=python-control for"
        " automata, or with --*.python-control-loop-type=iterate-corpus for losses",
    ),
    (
        r"corpus\.file|no corpus file|[Ff]ailed to open corpus|corpus: ",
        "the corpus cannot be read: --*.corpus.file=...",
    ),
    (
        r"segment '([^']*)' not found|unknown segment name|is not in Sprint's corpus",
        "the segment is not in the corpus that Sprint reads; choose another with --segment",
    ),
    (
        r"no alignment, see --\*\.extract-alignments|needs an alignment",
        "the criterion needs alignments: --*.extract-alignments=true, and the archive of"
        " alignments in the flow network",
    ),
    (
        r"neither alignment nor orthography|needs an orthography",
        "the criterion needs an orthography: is it in the corpus file?",
    ),
    (
        r"isnan\(stateLogPosteriors_|negative posteriors|input-in-log-space",
        "the criterion treats our log posteriors as probabilities: set --*.input-in-log-space=true",
    ),
    (
        r"nEmissions\(\).*nnOutput\.nRows\(\)",
        "the trainer and Sprint's acoustic model (--*.state-tying) differ in the number of labels",
    ),
    (
        r"getErrorSignal not implemented|[Ii]nvalid criterion"
        r"|training-criterion\b.*\bis not one of|invalid value .*\btraining-criterion\b",
        "this criterion does not work here. With alignments (--*.extract-alignments=true):"
        " --*.training-criterion=cross-entropy. Without: ctc, which Sprint had until April 2025",
    ),
    (
        r"another length in Sprint",
        "the network before the layer, or the alignment, has a different number of frames than the"
        " trainer; with a layer, set --*.buffer-type=utterance, --*.shuffle=false, and a"
        " --*.buffer-size that is at least as large as the longest segment",
    ),
    (
        r"dimension-output",
        "the number of labels differs: --*.<layer>.dimension-output",
    ),
    (
        r"cannot open cache|Failed to extract|features: |alignments?: no such",
        "an archive cannot be read: see the paths in the flow network",
    ),
    (r"[Oo]ut of memory|std::bad_alloc|Cannot allocate", "Sprint has run out of memory"),
)


def advice_for(error: SprintError) -> list[str]:
    """Returns what a user can do about an error; empty if nothing is known."""
    output = "\n".join(
        (error.reason, str(error.found or ""), error.remote or "", error.stderr_tail)
    )
    return _by_text(output) or _by_text(error.log_tail) or _by_end(error)


def _by_text(text: str) -> list[str]:
    for pattern, advice in _BY_TEXT:
        match = re.search(pattern, text)
        if match is not None:
            return [advice.format(*match.groups())]
    return []


def _by_end(error: SprintError) -> list[str]:
    if isinstance(error, SprintTimeoutError):
        if isinstance(error, SprintStartError) or error.request == "init":
            return [
                "Sprint is still busy, or waits: give it more time with --timeout; its last output,"
                " if any, is above",
                "does the action use Python at all? If not, Sprint never loads our module",
            ]
        return ["the criterion is slow, or hangs: give it more time with --timeout"]
    by_signal = {
        "SIGKILL": "it was killed from outside: out of memory (see dmesg), or a limit of the queue",
        "SIGILL": "it was built for another processor: build it for this one",
        "SIGSEGV": "if it happens at the import of numpy: this numpy was built for another Python"
        " than Sprint's; PYTHONPATH must not lead to it",
        "SIGABRT": "an assertion of Sprint has failed: its stack is on stderr or in its log",
        "SIGXCPU": "it has used up its processor time (ulimit -t)",
    }
    if error.signal in by_signal:
        return [by_signal[error.signal]]
    if error.returncode == 0:
        return [
            "it ended without loading our module: was it built with Python (MODULE_PYTHON), does"
            " its action use Python, and does the corpus have any segments?"
        ]
    if error.returncode in (126, 127):
        return ["a wrapper script did not find the program that it starts"]
    if isinstance(error, SprintDiedError | SprintStartError):
        return [
            "the reason is on Sprint's stderr or in the log file of --*.log-channel.file; with"
            " --*.error.channel=stderr it appears here"
        ]
    return []
