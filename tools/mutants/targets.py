"""Sources that are mutated, how they are built, and the tests of each area."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON_PACKAGES = ("sprintcache", "sprint_ctl")


@dataclass(frozen=True)
class Extension:
    """A compiled module: its Cython source and what is compiled with it."""

    source: str
    sources: tuple[str, ...] = ()
    folder: str = ""
    flags: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return self.source.removesuffix(".pyx").replace("/", ".")


_AUTOMATA = "sprintcache/automata"
EXTENSIONS = (
    Extension(
        "sprintcache/_reader.pyx",
        folder="sprintcache/_core",
        flags=("-DSPRINTCACHE_ZLIB=1", "-DSPRINTCACHE_LIBDEFLATE=1", "-ldeflate", "-lz"),
    ),
    Extension(
        "sprintcache/automata/_full_sum.pyx",
        tuple(
            f"{_AUTOMATA}/_{name}.c"
            for name in ("batch", "layout", "log_kernel", "passes", "scaled_kernel")
        ),
        _AUTOMATA,
        ("-lm",),
    ),
    Extension(
        "sprintcache/automata/_graph.pyx",
        (f"{_AUTOMATA}/_graph_core.c",),
        _AUTOMATA,
        ("-lm",),
    ),
    Extension("sprintcache/align/_search.pyx", folder="sprintcache/align", flags=("-lm",)),
    Extension("sprintcache/segmentation/_boundaries.pyx", folder="sprintcache/segmentation"),
)

_CORE = (
    "errors borders datatypes alignments labels ranges batch scan index bundle directory"
    " changed_files reference descriptors concurrency dataset writer bad_input"
)
# of compiled sources and of Python that runs in child processes: the most specific tests first
AREAS = {
    "sprintcache/_core/align": "alignments labels borders reference bad_input",
    "sprintcache/_core/labels": "labels alignments borders label_schemes batch reference bad_input",
    "sprintcache/_core/index_": "index bundle dataset bad_input",
    "sprintcache/_core/private_index": "index borders bundle batch scan",
    "sprintcache/_core/index.": "bundle borders index batch scan writer bad_input",
    "sprintcache/_core/scan": "scan borders writer recovery bad_input",
    "sprintcache/_core/tables": "scan borders writer bundle index bad_input",
    "sprintcache/_core/copying": "combining write_order writer",
    "sprintcache/_core/file_order": (
        "borders batch changed_files concurrency datatypes ranges bundle"
    ),
    "sprintcache/_core/packing": "encoding writer convert",
    "sprintcache/_core/ranges": "ranges chunks streams borders dataset",
    "sprintcache/_core/soundness": "verify borders bad_input",
    "sprintcache/_core/descriptors": "descriptors concurrency changed_files borders",
    "sprintcache/_core/": _CORE,
    "sprintcache/_reader": _CORE,
    "sprintcache/automata/_graph": (
        "automata automaton_builder automata_checks automata_files full_sum sprint_ctl/automata"
    ),
    "sprintcache/automata/_": "full_sum full_sum_torch automata automaton_builder",
    "sprintcache/align/": "align",
    "sprintcache/segmentation/_boundaries": (
        "segmentation segmentation_formats segmentation_metrics"
    ),
    "sprintcache/cli/": (
        "cli cli_manage cli_words statistics convert align plot verify index bundle"
    ),
    "sprintcache/_analysis/": "statistics segmentation_metrics chunks verify",
    "sprintcache/_write/comb": "combining write_order cli_manage",
    "sprintcache/_write/entry_copier": "combining write_order",
    "sprintcache/_write/recover": "recovery write_order",
    "sprintcache/_write/": "writer encoding write_order recovery combining",
    "sprintcache/_dataset/streams/": "streams audio label_schemes",
    "sprintcache/_dataset/": "dataset streams name_lookup chunks segment_list",
    "sprintcache/_remote/": "remote",
    "sprintcache/automata/full_sum": "full_sum full_sum_torch",
    "sprintcache/automata/padded": "full_sum full_sum_torch",
    "sprintcache/automata/storage": "automata_files",
    "sprintcache/automata/checks": "automata_checks",
    "sprintcache/automata/": (
        "automaton_builder automata automata_checks automata_files full_sum sprint_ctl/automata"
    ),
    "sprintcache/convert/audio": "convert_audio",
    "sprintcache/convert/": "convert convert_audio",
    "sprintcache/plot/": "plot plot_automata",
    "sprintcache/segmentation/": "segmentation segmentation_formats segmentation_metrics",
    "sprintcache/compat/": "compat",
    "sprintcache/torch/": "torch loader sampling streams full_sum_torch",
    "sprintcache/ray/": "ray",
    "sprintcache/_attributes": "bundle real_data writer",
    "sprintcache/_bundle": "bundle cli",
    "sprintcache/_chunk_table": "chunks",
    "sprintcache/_configuration": "align automaton_builder automata",
    "sprintcache/_directory": "directory",
    "sprintcache/_files": "writer write_order concurrency recovery",
    "sprintcache/_index_files": "index",
    "sprintcache/_label_schemes": "label_schemes dataset",
    "sprintcache/_output_folder": "convert segmentation_formats cli",
    "sprintcache/_path_map": "path_map",
    "sprintcache/_pickled_list": "segment_list other_inputs dataset",
    "sprintcache/_renaming": "combining cli_manage convert",
    "sprintcache/_segment_list": "segment_list dataset",
    "sprintcache/_signals": "cli convert crashes",
    "sprintcache/_text_file": "other_inputs labels segment_list",
    "sprintcache/_threads": "concurrency batch",
    "sprintcache/alignment": "alignments segmentation labels",
    "sprintcache/allophones": "labels other_inputs",
    "sprintcache/archive": "batch bundle index real_data concurrency changed_files ranges",
    "sprintcache/batching": "batching",
    "sprintcache/bliss": "bliss",
    "sprintcache/chunks": "chunks streams",
    "sprintcache/comparison": "statistics segmentation_metrics cli",
    "sprintcache/dataset": "dataset returnn streams torch",
    "sprintcache/errors": "errors bad_input",
    "sprintcache/label_rates": "label_schemes dataset convert",
    "sprintcache/lexicon": "lexicon automaton_builder",
    "sprintcache/opening": "index bundle path_map remote concurrency",
    "sprintcache/ordering": "ordering",
    "sprintcache/returnn": "returnn",
    "sprintcache/sampling": "sampling torch",
    "sprintcache/states": "labels",
    "sprintcache/statistics": "statistics",
    "sprintcache/verification": "verify borders",
    "sprintcache/vocabulary": "label_schemes streams",
    "sprintcache/": "dataset writer combining statistics convert cli",
    "sprint_ctl/fake_sprint/": (
        "sprint_ctl/fake_sprint sprint_ctl/fake_criteria sprint_ctl/control"
        " sprint_ctl/error_signals"
    ),
    "sprint_ctl/_pipe/": "sprint_ctl/wire sprint_ctl/process",
    "sprint_ctl/_sequences/": "sprint_ctl/sprint_base sprint_ctl/sprint_dataset",
    "sprint_ctl/_trainer/doctor": "sprint_ctl/doctor",
    "sprint_ctl/_trainer/advice": "sprint_ctl/doctor",
    "sprint_ctl/_trainer/auto": "sprint_ctl/automata sprint_ctl/automaton",
    "sprint_ctl/automata": "sprint_ctl/automata sprint_ctl/automaton",
    "sprint_ctl/_trainer/epoch_reader": "sprint_ctl/sprint_dataset",
    "sprint_ctl/_trainer/segment_receiver": "sprint_ctl/sprint_dataset",
    "sprint_ctl/_trainer/": (
        "sprint_ctl/error_signals sprint_ctl/process sprint_ctl/pool_faults"
        " sprint_ctl/sprint_dataset sprint_ctl/automata"
    ),
    "sprint_ctl/command": "sprint_ctl/process sprint_ctl/sprint_dataset sprint_ctl/error_signals",
    "sprint_ctl/errors": "sprint_ctl/process sprint_ctl/error_signals",
    "sprint_ctl/dataset.": "sprint_ctl/sprint_dataset",
    "sprint_ctl/dataset_base": "sprint_ctl/sprint_base sprint_ctl/sprint_dataset",
    "sprint_ctl/returnn": "sprint_ctl/returnn_dataset sprint_ctl/sprint_base",
    "sprint_ctl/torch": "sprint_ctl/sprint_torch",
    "sprint_ctl/_sprint/": (
        "sprint_ctl/control sprint_ctl/interface sprint_ctl/fake_sprint sprint_ctl/error_signals"
        " sprint_ctl/sprint_dataset sprint_ctl/process sprint_ctl/automaton"
    ),
    "sprint_ctl/": (
        "sprint_ctl/sprint_base sprint_ctl/wire sprint_ctl/process sprint_ctl/control"
        " sprint_ctl/error_signals sprint_ctl/pool_faults sprint_ctl/sprint_dataset"
        " sprint_ctl/doctor sprint_ctl/interface"
    ),
}


def test_files(path: str) -> list[str]:
    """Returns the test files of the area of a source, the most specific ones first."""
    names = next(names for prefix, names in AREAS.items() if path.startswith(prefix))
    return [
        f"tests/sprint_ctl/test_{name.removeprefix('sprint_ctl/')}.py"
        if "/" in name
        else f"tests/sprintcache/test_{name}.py"
        for name in names.split()
    ]


def extension_of(path: str) -> Extension | None:
    """Returns the extension that a source is compiled into, None for Python."""
    if path.endswith(".py"):
        return None
    for extension in EXTENSIONS:
        if path == extension.source or path in extension.sources:
            return extension
    for extension in EXTENSIONS:  # parts of a C file
        if any(path.startswith(source.removesuffix(".c")) for source in extension.sources):
            return extension
    for extension in EXTENSIONS:  # headers
        if path.startswith(f"{extension.folder}/"):
            return extension
    raise ValueError(f"{path} is not compiled")


def python_sources() -> list[str]:
    """Returns the paths of the Python sources, in order."""
    paths = [path for name in PYTHON_PACKAGES for path in (ROOT / name).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def compiled_sources() -> list[str]:
    """Returns the paths of the Cython and C sources, in order, without those that Cython wrote."""
    paths = [path for name in PYTHON_PACKAGES for path in (ROOT / name).rglob("*")]
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.suffix in (".pyx", ".pxi", ".pxd", ".h", ".c")
        and not (path.suffix == ".c" and path.with_suffix(".pyx").exists())
    )
