"""Pictures: what is in the axes is what is in the archives."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprintcache import Alignment, AllophoneLabeling, Archive, ArchiveWriter
from sprintcache.cli import main
from sprintcache.cli._compare import short_titles
from sprintcache.comparison import Comparison, compare
from sprintcache.segmentation import Interval, Segmentation, compare_tiers
from sprintcache.states import StateNames, symbol
from sprintcache.statistics import collect
from tests.paths import DATA

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib (extra plot) is not installed")
matplotlib.use("agg")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402

from sprintcache import plot  # noqa: E402
from sprintcache.plot import canvas  # noqa: E402

Run = Callable[..., tuple[int, str, str]]
NAME = "espeak/rec000/1"
BUNDLE = DATA / "features.bundle"
TYING = [
    f"--allophones={DATA / 'allophones'}",
    f"--state-tying={DATA / 'state-tying' / 'monophone'}",
]


@pytest.fixture(scope="module")
def labeling() -> AllophoneLabeling:
    return AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )


@pytest.fixture
def features() -> Any:
    with sprintcache.open_archive(BUNDLE) as archive:
        yield archive


@pytest.fixture
def viterbi() -> Any:
    with sprintcache.open_archive(DATA / "alignment.viterbi.cache") as archive:
        yield archive


@pytest.fixture
def soft() -> Any:
    with sprintcache.open_archive(DATA / "alignment.bw.gz.cache") as archive:
        yield archive


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def panels(figure: Any) -> list[Any]:
    """The axes but for those of color bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def spans(axes: Any, row: int) -> list[tuple[float, float]]:
    """(start, end) of the boxes in a row of an alignment, rounded to ms."""
    boxes = [path.get_extents() for path in axes.collections[row].get_paths()]
    return [(round(box.x0, 3), round(box.x1, 3)) for box in boxes]


def texts(axes: Any, row: int) -> list[str]:
    return [text.get_text() for text in axes.texts if int(text.get_position()[1]) == row]


def runs(values: list[Any]) -> list[tuple[Any, int, int]]:
    """(value, start, stop) of each run."""
    actual: list[tuple[Any, int, int]] = []
    for index, value in enumerate(values):
        if actual and actual[-1][0] == value:
            actual[-1] = value, actual[-1][1], index + 1
        else:
            actual.append((value, index, index + 1))
    return actual


# ---- features


def test_features_are_an_image_over_seconds(features: Archive) -> None:
    figure = plot.plot_segment(features, NAME)
    (axes,) = panels(figure)
    (image,) = axes.images
    values = features.read_features(NAME)
    np.testing.assert_array_equal(image.get_array(), values.T)
    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx([0, 1.86, -0.5, 15.5])
    assert axes.get_xlim() == pytest.approx((0, 1.86))
    assert image.get_clim() == pytest.approx(np.percentile(values, [1, 99]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "dimension")
    assert image.colorbar.ax.get_ylabel() == "value"
    assert image.colorbar.extend == "both"
    assert image.cmap.name == "viridis"
    assert figure.get_suptitle() == f"{NAME}: vector-f32, 186 frames x 16"


def test_normalized_features() -> None:
    values = np.arange(12.0).reshape(4, 3) ** 2
    values[:, 1] = 5
    (image,) = panels(plot.plot_features(values, normalize=True))[0].images
    shown = image.get_array()
    np.testing.assert_allclose(shown[0], (values[:, 0] - values[:, 0].mean()) / values[:, 0].std())
    assert shown[1].tolist() == [0] * 4
    assert image.colorbar.ax.get_ylabel() == "standard deviations from the mean"
    assert image.axes.get_xlabel() == "frame"


def test_gaps_and_values_that_are_not_finite_stay_empty() -> None:
    values = np.arange(8.0).reshape(4, 2)
    values[1, 0] = np.nan
    starts = np.array([0, 0.01, 0.05, 0.06])
    (axes,) = panels(plot.plot_features(values, np.stack([starts, starts + 0.025], 1)))
    (mesh,) = axes.collections
    sides = mesh.get_coordinates()[0, :, 0]
    expected = [0, 0.01, 0.01, 0.02, 0.05, 0.06, 0.06, 0.07, 0.07]
    np.testing.assert_allclose(sides, expected)
    shown = mesh.get_array()
    np.testing.assert_array_equal(
        shown[:, ::2].filled(-1), np.where(np.isnan(values), -1, values).T
    )
    assert shown.mask[:, 1::2].all()


@pytest.mark.parametrize(
    ("shape", "times", "message"),
    [
        ((3,), None, "must be of shape (T, D)"),
        ((3, 2), np.zeros((2, 2)), "must be of shape (3, 2)"),
        ((3, 2), np.zeros((3, 2)), "times do not increase"),
    ],
)
def test_features_that_do_not_fit(shape: tuple[int, ...], times: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        plot.plot_features(np.zeros(shape), times)


def test_no_frames_and_no_variance() -> None:
    assert panels(plot.plot_features(np.zeros((0, 3))))[0].texts[0].get_text() == "no frames"
    (image,) = panels(plot.plot_features(np.ones((1, 3))))[0].images
    assert image.get_array().shape == (3, 1)
    figure = plot.plot_features(np.full((2, 2), np.nan))
    figure.savefig(BytesIO(), format="png")


# ---- lines


def test_scalars_are_a_line(features: Archive) -> None:
    with sprintcache.open_archive(DATA / "energy.cache") as archive:
        (axes,) = panels(plot.plot_segment(archive, NAME))
        expected = archive.read_features(NAME)[:, 0]
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), expected)
    np.testing.assert_allclose(line.get_xdata(), 0.005 + 0.01 * np.arange(186))


def test_a_line_without_frames() -> None:
    (axes,) = panels(plot.plot_line(np.zeros(0)))
    assert ([text.get_text() for text in axes.texts], len(axes.lines)) == (["no frames"], 0)


def test_audio_is_a_line_over_seconds(viterbi: Archive) -> None:
    with sprintcache.open_archive(DATA / "samples.cache") as archive:
        samples = np.concatenate(archive.read(NAME))
        upper, lower = panels(plot.plot_segment(archive, NAME, viterbi))
        part = panels(plot.plot_segment(archive, NAME, viterbi, frames=slice(1600, 3200)))
    (line,) = upper.lines
    # 29,939 samples are drawn by the least and the largest of three each
    shown = np.asarray(line.get_ydata())
    for index in (0, 777, 9978):
        piece = samples[3 * index : 3 * index + 3]
        assert shown[2 * index : 2 * index + 2].tolist() == [piece.min(), piece.max()]
    assert lower.get_xlim() == pytest.approx((0, len(samples) / 16000))
    (line,) = part[0].lines
    assert np.asarray(line.get_ydata()).tolist() == samples[1600:3200].tolist()
    assert part[1].get_xlim() == pytest.approx((0.1, 0.2))
    assert spans(part[1], 0)[0][0] == pytest.approx(0.1)


# ---- alignments


def test_phones_and_states_below_features(
    features: Archive, viterbi: Archive, labeling: AllophoneLabeling
) -> None:
    alignment = viterbi.read_alignment(NAME)
    names = [symbol(id_, labeling.allophones) for id_ in alignment.emission.tolist()]
    states = runs(names)
    phones = runs([name.rpartition(".")[0] for name in names])
    upper, lower = panels(
        plot.plot_segment(features, NAME, viterbi, StateNames(labeling.allophones))
    )
    assert spans(lower, 0) == [(start / 100, stop / 100) for _, start, stop in states]
    assert spans(lower, 1) == [(start / 100, stop / 100) for _, start, stop in phones]
    assert texts(lower, 0) == [name.rpartition(".")[2] for name, *_ in states]
    assert texts(lower, 1) == [name.partition("{")[0] for name, *_ in phones]
    middles = [
        ((start + stop) / 200, row + 0.5)
        for row, boxes in enumerate((states, phones))
        for _, start, stop in boxes
    ]
    np.testing.assert_allclose([text.get_position() for text in lower.texts], middles)
    assert [label.get_text() for label in lower.get_yticklabels()] == ["state", "phone"]
    assert upper.get_xlim() == lower.get_xlim()
    lines = [path.vertices[0, 0] for path in upper.collections[-1].get_paths()]
    np.testing.assert_allclose(lines, [first / 100 for _, first, _ in phones[1:]])


def test_labels_replace_states(viterbi: Archive, labeling: AllophoneLabeling) -> None:
    (axes,) = panels(
        plot.plot_segment(viterbi, NAME, names=StateNames(labeling.allophones, labeling))
    )
    labels = viterbi.read_labels(NAME, labeling).tolist()
    assert texts(axes, 0) == [str(label) for label, *_ in runs(labels)]
    silent = [text == "[SILENCE]" for text in texts(axes, 1)]
    colors = [tuple(color) for color in axes.collections[1].get_facecolors()]
    gray = {color for color, quiet in zip(colors, silent, strict=True) if quiet}
    assert len(gray) == 1
    assert gray.isdisjoint(color for color, quiet in zip(colors, silent, strict=True) if not quiet)


def test_names_are_shown_if_they_fit(viterbi: Archive) -> None:
    figure = plot.plot_segment(viterbi, NAME)
    (axes,) = panels(figure)
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()

    def visible() -> list[Any]:
        left, right = axes.get_xlim()
        inside = [text for text in axes.texts if left <= text.get_position()[0] <= right]
        return [text for text in inside if text.get_visible()]

    def overlaps() -> int:
        boxes = [text.get_window_extent(renderer) for text in visible()]
        return sum(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])

    assert 20 < len(visible()) < len(axes.texts)
    assert overlaps() == 0
    few = sum(0.45 < text.get_position()[0] < 0.65 for text in visible())
    axes.set_xlim(0.45, 0.65)  # as a zoomed window
    assert len(visible()) > 2 * few
    assert overlaps() == 0


def test_a_soft_alignment_is_an_intensity_map(features: Archive, soft: Archive) -> None:
    alignment = soft.read_alignment(NAME)
    _, lower = panels(plot.plot_segment(features, NAME, soft))
    (image,) = lower.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (len(np.unique(alignment.emission)), 186)
    np.testing.assert_allclose(shown.sum(0), np.bincount(alignment.time, alignment.weight))
    # rows: the states of an allophone together and upwards, allophones by their mean time
    mean: dict[int, float] = {}
    for allophone in np.unique(alignment.allophone).tolist():
        selected = alignment.allophone == allophone
        mean[allophone] = np.average(alignment.time[selected], weights=alignment.weight[selected])
    ids = sorted(
        np.unique(alignment.emission).tolist(), key=lambda id_: (mean[id_ & 0x3FFFFFF], id_)
    )
    for row, id_ in zip(shown, ids, strict=True):
        selected = alignment.emission == id_
        expected = np.bincount(alignment.time[selected], alignment.weight[selected], 186)
        np.testing.assert_allclose(row, expected)
    assert image.get_extent() == pytest.approx([0, 1.86, -0.5, len(ids) - 0.5])
    assert image.get_clim()[0] == 0
    named = [text.get_text() for text in lower.get_yticklabels()]
    assert named[0] == alignment.alphabet[ids[0]].rpartition(".")[0]  # type: ignore[index]
    assert len(named) == len(mean)


def test_rows_of_small_weights_are_in_the_order_of_time() -> None:
    alignment = Alignment([3, 4], [2, 1], [1.0, 0.5], label_type="emission")
    (image,) = panels(plot.plot_alignment(alignment))[0].images
    shown = np.asarray(image.get_array())[:, -2:]
    assert shown.tolist() == [[1, 0], [0, 0.5]]


def test_some_frames(features: Archive, viterbi: Archive, soft: Archive) -> None:
    for alignments in (viterbi, soft):
        upper, lower = panels(plot.plot_segment(features, NAME, alignments, frames=slice(50, 100)))
        assert lower.get_xlim() == upper.get_xlim() == pytest.approx((0.5, 1.0))
    image = lower.images[0]
    assert image.get_extent()[:2] == pytest.approx([0.5, 1.0])
    assert np.asarray(image.get_array()).sum() == pytest.approx(50, abs=1e-3)
    with pytest.raises(ValueError, match="none of the 186 frames"):
        plot.plot_segment(features, NAME, frames=slice(200, None))


def test_alignments_with_gaps_other_lengths_and_bare_ids(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "f") as writer:
        writer.add_features("a$b$\n\udcff", np.zeros((4, 2), np.float32))
    with ArchiveWriter(tmp_path / "a") as writer:
        writer.add_alignment(
            "a$b$\n\udcff", Alignment([0, 1, 3, 5], [1, 1, 1, 70], label_type="emission")
        )
    with (
        sprintcache.open_archive(tmp_path / "f") as archive,
        sprintcache.open_archive(tmp_path / "a") as alignments,
    ):
        figure = plot.plot_segment(archive, archive.segments[0], alignments)
        figure.savefig(tmp_path / "picture.svg")
    title = figure.get_suptitle()
    assert title == "a\\$b\\$\ufffd\ufffd: vector-f32, 4 frames x 2, but alignment of 6 frames"
    lower = panels(figure)[1]
    assert spans(lower, 0) == [(0, 0.02), (0.03, 0.04)]
    assert texts(lower, 0) == ["1", "1"]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["id"]
    drawn = (tmp_path / "picture.svg").read_text("utf-8")
    assert "a$b$" in drawn


def test_a_contradicting_allophone_file_names_nothing(viterbi: Archive) -> None:
    (axes,) = panels(plot.plot_segment(viterbi, NAME, names=StateNames(["Q{#+#}"] * 2000)))
    assert "Q" not in texts(axes, 1)


def test_too_large_an_intensity_map() -> None:
    with pytest.raises(ValueError, match="choose fewer frames"):
        plot.plot_alignment(Alignment([*range(9), 6_000_000], range(10), [0.5] * 10))
    with pytest.raises(ValueError, match="4294967296 frames is too long"):
        plot.plot_alignment(Alignment([0, 0xFFFFFFFF], [1, 2]))


@pytest.mark.parametrize("name", ["alignment.viterbi.cache", "features.bundle"])
def test_entries_that_cannot_be_drawn(viterbi: Archive, name: str) -> None:
    with sprintcache.open_archive(DATA / name) as archive:
        segment = NAME if "viterbi" in name else f"{NAME}.attribs"
        with pytest.raises(sprintcache.UnsupportedError, match="no features, scalars or samples"):
            plot.plot_segment(archive, segment, viterbi if "viterbi" in name else None)


def test_drawing_into_axes_of_others(features: Archive, viterbi: Archive) -> None:
    figure = plot.new_figure(6, 6)
    one, other, third = figure.subplots(3, 1)
    assert plot.plot_features(features.read_features(NAME), axes=one) is figure
    assert plot.plot_alignment(viterbi.read_alignment(NAME), axes=other) is figure
    assert plot.plot_line([1, 3, 2], axes=third) is figure
    assert other.get_xlim() == (0, 186)
    assert third.lines[0].get_xdata().tolist() == [0.5, 1.5, 2.5]


# ---- statistics and comparisons


def test_statistics_of_features(features: Archive) -> None:
    actual = collect(features)
    lengths, means, variances = panels(plot.plot_statistics(actual, title="$x"))
    counts, edges, _ = lengths.patches[0].get_data()
    expected = np.histogram(features.num_frames_all(), edges)[0]
    assert counts.tolist() == expected.tolist()
    assert lengths.get_xlabel() == "frames per segment"
    assert "median: 248" in [text.get_text() for text in lengths.get_legend().get_texts()]
    (seconds,) = lengths.child_axes
    seconds.figure.draw_without_rendering()
    assert seconds.get_xlim() == pytest.approx(np.array(lengths.get_xlim()) / 100)
    np.testing.assert_allclose(means.lines[0].get_ydata(), actual.moments[16].mean)
    np.testing.assert_allclose(variances.patches[0].get_data()[0], actual.moments[16].variance)


def test_statistics_of_labels(viterbi: Archive, labeling: AllophoneLabeling) -> None:
    actual = collect(viterbi, [NAME], labeling=labeling)
    _, axes = panels(plot.plot_statistics(actual, rare=3))
    labels = viterbi.read_labels(NAME, labeling)
    counts = np.sort(np.bincount(labels, minlength=79))[::-1]
    usual, rare = (patch.get_data()[0] for patch in axes.patches)
    assert np.maximum(usual, rare).tolist() == counts.tolist()
    assert (rare < 3).all()
    assert not np.any((usual > 0) & (usual < 3))
    assert len(axes.lines[0].get_xdata()) == (counts == 0).sum()
    assert axes.get_ylim()[0] == min(0.5, counts[counts > 0].min() / 2)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[0].startswith(
        f"rare, fewer than 3 frames ({((counts > 0) & (counts < 3)).sum()}): "
    )
    assert legend[1].startswith(f"unused ({(counts == 0).sum()}): ")
    share = 100 * (labels == labeling.sil_label_idx).mean()
    assert axes.get_xlabel() == f"79 labels by frequency; silence {share:.1f} % of the frames"
    assert len(axes.get_xticklabels()) == 79


def test_a_comparison(viterbi: Archive, soft: Archive, labeling: AllophoneLabeling) -> None:
    actual = compare(viterbi, soft, labeling=labeling)
    matrix, most, shifts = panels(plot.plot_comparison(actual, names=("v", "s")))
    assert actual.phones is not None
    shown = np.asarray(matrix.images[0].get_array().filled(0))
    expected = np.zeros_like(shown)
    expected[actual.phones.first, actual.phones.second] = actual.phones.frames
    np.testing.assert_allclose(shown, expected / expected.sum(1, keepdims=True))
    assert [text.get_text() for text in matrix.get_yticklabels()] == actual.phones.names
    assert matrix.yaxis_inverted()
    assert [bar.get_width() for bar in most.patches] == [
        frames for *_, frames in actual.units.most(15)
    ]
    counts, edges, _ = shifts.patches[0].get_data()
    assert counts.sum() == actual.num_matched
    assert counts[np.searchsorted(edges, 0) - 1] == actual.shift_counts[actual.shifts == 0][0]
    assert np.diff(edges) == pytest.approx(10)
    assert shifts.get_xlabel() == "shift in ms; right of 0: later in\ns"
    assert list(shifts.lines[0].get_xdata()) == [0, 0]


def test_a_comparison_of_times() -> None:
    """Words that begin 0 to 3 ms late and end in time."""
    shifts = [0, 0, 0, 1, 2, 2, 3]
    reference, hypothesis = (
        {
            str(i): Segmentation(words=[Interval((100 + late * shift) / 1000, 0.2, "a")])
            for i, shift in enumerate(shifts)
        }
        for late in (0, 1)
    )
    actual = compare_tiers(hypothesis, reference)
    figure = plot.plot_tier_comparison(actual, collars=(1, 2))
    starts, accuracies = panels(figure)[:2]
    counts, edges, _ = starts.patches[0].get_data()
    assert counts.tolist() == [3, 1, 2, 1]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    points = [(*line.get_xdata(), *line.get_ydata()) for line in accuracies.lines[1:]]
    assert points == [(1, pytest.approx(100 * 11 / 14)), (2, pytest.approx(100 * 13 / 14))]


def cut_off(figure: Any) -> list[str]:
    """Titles and names of axes that lead out of the picture."""
    figure.draw_without_rendering()
    texts = [figure._suptitle]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    (width, height), actual = figure.bbox.size, []
    for text in texts:
        box = text.get_window_extent()
        if text.get_text() and not (
            0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height
        ):
            actual.append(text.get_text())
    return actual


def test_long_names_are_not_cut_off(tmp_path: Path) -> None:
    long = "corpus/" + "recording" * 20 + "/1"
    with ArchiveWriter(tmp_path / "x.cache") as writer:
        writer.add_features(long, np.zeros((20, 4), np.float32))
    with sprintcache.open_archive(tmp_path / "x.cache") as archive:
        assert cut_off(plot.plot_segment(archive, long)) == []
        assert cut_off(plot.plot_statistics(collect(archive), title=f"/work/{long}.cache")) == []
    one, other = (DATA / f"alignment.{kind}.cache" for kind in ("linear", "viterbi"))
    with sprintcache.open_archive(one) as first, sprintcache.open_archive(other) as second:
        allophones = (DATA / "allophones").read_text().split()
        actual = compare(first, second, allophones=allophones)
    for names in (("alignment.linear.cache", "alignment.viterbi.cache"), (long, long)):
        assert cut_off(plot.plot_comparison(actual, names=names)) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.cache", "/x/b.cache", ("a.cache", "b.cache")),
        ("job1/out/a.cache", "/x/job2/out/a.cache", ("job1/out/a.cache", "job2/out/a.cache")),
        ("a.cache", "old/a.cache", ("a.cache", "old/a.cache")),
        ("old/a.cache", "old/a.cache", ("a.cache", "a.cache")),
    ],
)
def test_short_titles_of_paths(one: str, other: str, expected: tuple[str, str]) -> None:
    assert short_titles(one, other) == expected


def test_a_comparison_without_segments(tmp_path: Path) -> None:
    figure = plot.plot_comparison(Comparison())
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


# ---- the command


def test_letters_that_the_font_does_not_have(run: Run, tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_features("\u97f3", np.eye(3, dtype=np.float32))
    assert run("plot", tmp_path / "a.cache", "\u97f3", "--output", tmp_path / "a.png")[0] == 0


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_writes_a_picture(run: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    alignment = DATA / "alignment.bw.gz.cache"
    words = ["plot", BUNDLE, NAME, "--alignment", alignment, *TYING, "--output", path]
    assert run(*words) == (0, "", "")
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_the_picture_of_the_readme(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, picture = DATA.parents[1], "docs/images/features.png"
    assert f"]({picture})" in (root / "README.md").read_text("utf-8")
    assert (root / picture).stat().st_size < 80_000
    page = (root / "docs/howto/look.md").read_text("utf-8")
    (line,) = re.findall(r"^\$ (sprintcache plot .*features\.png)$", page, re.MULTILINE)
    words = shlex.split(line)[1:]
    monkeypatch.chdir(root)
    assert run(*words[:-1], tmp_path / "picture.png") == (0, "", "")
    assert (tmp_path / "picture.png").stat().st_size > 20_000


def test_stats_draws(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    status, out, err = run("stats", BUNDLE, "--output", path)
    assert (status, err) == (0, "")
    assert "segments     24" in out
    assert "frames per segment" in path.read_text("utf-8")
    one, other = DATA / "alignment.viterbi.cache", DATA / "alignment.linear.cache"
    assert run("stats", "--compare", one, other, *TYING, "--output", path)[0] == 0
    assert "phone in alignment.linear.cache" in path.read_text("utf-8")


def test_plot_writes_to_a_pipe(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        assert run("plot", BUNDLE, NAME, "--output", pipe) == (0, "", "")
        assert read.result(timeout=30).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([BUNDLE, "rec000/1"], "no entry 'rec000/1'; did you mean 'espeak/rec000/1'?"),
        (
            [BUNDLE, NAME, "--frames", "200:"],
            f"features.bundle, entry '{NAME}': none of the 186 frames or samples is chosen",
        ),
        (
            [BUNDLE, NAME, "--output", "a.gif3"],
            "a picture must end in .png, .svg or .pdf, not in 'gif3'",
        ),
        ([BUNDLE, NAME, "--output", "nowhere/a.png"], "nowhere: no such folder"),
        ([BUNDLE, NAME, "--alignment", DATA / "energy.cache"], "expected flow-alignment"),
    ],
)
def test_plot_with_wrong_arguments(
    run: Run, tmp_path: Path, words: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = [] if "--output" in words else ["--output", "a.png"]
    status, _, err = run("plot", *words, *output)
    assert status == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_a_window(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run("plot", BUNDLE, NAME)
    assert status == 1
    assert "no window can be opened here" in err
    assert "--output FILE.png" in err
    from matplotlib import pyplot

    shown = []
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "tkagg")
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))
    assert run("plot", BUNDLE, NAME)[0] == 0
    (figure,) = shown
    assert len(panels(figure)) == 1
    pyplot.close(figure)


def test_matplotlib_is_asked_for_by_its_extra() -> None:
    code = f"""
import sys
sys.modules["matplotlib"] = None
from sprintcache.cli import main
sys.exit(main(["plot", {str(BUNDLE)!r}, {NAME!r}, "--output", "a.png"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "sprintcache: pictures need matplotlib: pip install 'sprintcache[plot]'\n"


def test_the_library_uses_no_pyplot(tmp_path: Path) -> None:
    code = f"""
import sys, sprintcache, sprintcache.plot
with sprintcache.open_archive({str(BUNDLE)!r}) as archive:
    sprintcache.plot.plot_segment(archive, {NAME!r}).savefig({str(tmp_path / "a.png")!r})
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_edges_of_frames() -> None:
    edges, unit = canvas.frame_edges([[0, 0.025], [0.01, 0.035], [0.02, 0.04]], 3)
    assert edges.tolist() == pytest.approx([0, 0.01, 0.02, 0.03])
    assert unit == "time (s)"
    assert canvas.frame_edges([[1.5, 1.75]], 1)[0].tolist() == [1.5, 1.75]
    assert canvas.frame_edges(None, 2)[0].tolist() == [0, 1, 2]


def test_many_segments_by_one_command(run: Run, tmp_path: Path) -> None:
    """A picture per segment, named like it; what cannot be drawn is left out."""
    folder = tmp_path / "pictures"
    status, out, err = run("plot", BUNDLE, "*rec00[01]/1", "--output-dir", folder)
    assert (status, out) == (0, "")
    assert err == f"sprintcache: 2 pictures in {folder}\n"
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]
    assert names == ["espeak/rec000/1.png", "espeak/rec001/1.png"]
    assert matplotlib.image.imread(folder / names[0]).std() > 0.01
    (tmp_path / "list").write_text("espeak/rec001/1\nespeak/rec002/1\n")
    more = ["--list", tmp_path / "list", "--output-dir", folder]
    status, _, err = run("plot", BUNDLE, *more)
    assert (status, "rec001/1.png already exists; --overwrite replaces it" in err) == (1, True)
    with ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_features("good", np.eye(3, dtype=np.float32))
        writer.add_bytes("bad", b"neither features nor an alignment")
    status, _, err = run("plot", tmp_path / "a.cache", "--output-dir", tmp_path / "some")
    assert status == 1
    assert f"1 picture in {tmp_path / 'some'}; 1 left out" in err
    for words in (
        [BUNDLE],
        [BUNDLE, NAME, "x"],
        [BUNDLE, "--output-dir", "x", "--output", "y.png"],
    ):
        assert run("plot", *words)[0] == 2
