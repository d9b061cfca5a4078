"""read_tiers, write_tiers: segmentations in the text format that the ending of a file says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from .audacity import read_audacity, write_audacity
from .ctm import read_ctm, write_ctm
from .intervals import Segmentation, Tiers, end_of
from .json_lines import read_json_lines, write_json_lines
from .textgrid import read_textgrid_tiers
from .textgrid_writer import write_textgrid

__all__ = ["FORMATS", "format_of", "read_tiers", "write_tiers"]

# format -> ending; a file of "textgrid" or "audacity" is one segment as a rule
FORMATS = {"ctm": ".ctm", "textgrid": ".TextGrid", "audacity": ".txt", "jsonl": ".jsonl"}


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Returns the format of a file by its ending, ``.gz`` aside; None for another one."""
    name = os.fspath(path).lower().removesuffix(".gz")
    for format_name, ending in FORMATS.items():
        if name.endswith(ending.lower()):
            return format_name
    return None


def read_tiers(
    path: str | os.PathLike[str], tier: str = "words", format_name: str | None = None
) -> Tiers:
    """Reads words, phones or other tiers of one or more segments.

    Args:
        path: a CTM, TextGrid, Audacity or JSON lines file; or a folder of TextGrids or Audacity
            files, where the path of a file below the folder, without its ending, is the segment.
        tier: tier that the tokens of CTM and Audacity files go to.
        format_name: one of `FORMATS`; None: by the ending.

    Raises:
        OSError: if a file cannot be read.
        FormatError: if a file is malformed; it names the line.
        ValueError: if the format is unknown.
    """
    if os.path.isdir(path):
        return _read_folder(os.fspath(path), tier, format_name)
    return _read_file(path, tier, format_name, None)


def _read_file(
    path: str | os.PathLike[str], tier: str, format_name: str | None, name: str | None
) -> Tiers:
    known = _known(path, format_name)
    if known == "ctm":
        return read_ctm(path, tier)
    if known == "jsonl":
        return read_json_lines(path)
    if known == "textgrid":
        return read_textgrid_tiers(path, name)
    intervals = read_audacity(path)
    if name is None:
        name = os.path.basename(os.fspath(path)).partition(".")[0]
    segmentation = Segmentation(name=name, duration=end_of(intervals))
    segmentation.set_tier(tier, intervals)
    return {name: segmentation}


def _read_folder(folder: str, tier: str, format_name: str | None) -> Tiers:
    tiers: Tiers = {}
    for parent, _, files in sorted(os.walk(folder)):
        for file in sorted(files):
            path = os.path.join(parent, file)
            if format_of(path) is None or format_name not in (None, format_of(path)):
                continue
            stem = path[: -len(FORMATS[format_of(path) or ""])]
            name = os.path.relpath(stem, folder).replace(os.sep, "/")
            tiers.update(_read_file(path, tier, format_name, name))
    return tiers


def _known(path: str | os.PathLike[str], format_name: str | None) -> str:
    known = format_of(path) if format_name is None else format_name
    if known not in FORMATS:
        raise ValueError(
            f"{os.fspath(path)}: the format must be one of {', '.join(FORMATS)}, by name or ending"
        )
    return known


def write_tiers(
    path: str | os.PathLike[str],
    tiers: Mapping[str, Segmentation],
    tier_names: Sequence[str] | None = None,
    format_name: str | None = None,
    *,
    form: Literal["long", "short"] = "long",
    encoding: Literal["utf-8", "utf-16"] = "utf-8",
) -> None:
    """Writes segmentations.

    Args:
        path: the file; or an existing folder, where every segment gets a file of its name, with
            folders for the parts of the name. CTM and Audacity files hold one tier; an Audacity
            file holds one segment.
        tiers: segmentations by name.
        tier_names: tiers to write; None: words for CTM and Audacity, else all.
        format_name: one of `FORMATS`; None: by the ending of `path`.
        form, encoding: of TextGrids, as for `write_textgrid`.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if the format is unknown or cannot hold the tiers or segments.
    """
    known = _known(path, format_name)
    if os.path.isdir(path):
        for name, segmentation in tiers.items():
            target = _file_of(os.fspath(path), name, FORMATS[known])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            write_tiers(
                target, {name: segmentation}, tier_names, known, form=form, encoding=encoding
            )
        return
    if known == "jsonl":
        write_json_lines(path, tiers, tier_names)
        return
    if known == "textgrid":
        segments = list(tiers.values())
        grid = segments[0] if len(segments) == 1 else tiers
        write_textgrid(path, grid, tier_names, form=form, encoding=encoding)
        return
    names = ["words"] if tier_names is None else list(tier_names)
    if len(names) != 1:
        raise ValueError(f"a {known} file holds one tier, not {', '.join(names)}")
    if known == "ctm":
        write_ctm(path, tiers, names[0])
        return
    if len(tiers) != 1:
        raise ValueError(f"an Audacity file holds one segment, not {len(tiers)}; give a folder")
    write_audacity(path, next(iter(tiers.values())).tier(names[0]))


def _file_of(folder: str, name: str, ending: str) -> str:
    """The file of a segment below a folder."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"segment {name!r} does not make a file name")
    return os.path.join(folder, *parts) + ending
