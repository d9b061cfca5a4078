"""Words and phones of alignments: segmentation, text formats, and measures of time errors."""

from .allophone import Allophone
from .archives import FrameIntervals, segment_archive
from .audacity import read_audacity, write_audacity
from .ctm import read_ctm, to_recordings, to_segments, write_ctm
from .formats import FORMATS, format_of, read_tiers, write_tiers
from .intervals import TIERS, Interval, Segmentation
from .iteration import iter_segmentations
from .json_lines import read_json_lines, write_json_lines
from .metrics import COLLARS, TierComparison, compare_tiers
from .readings import LexiconIndex
from .segmentation import Segmenter, segment
from .synthesis import alignment_of
from .textgrid import GridTier, TextGrid, read_textgrid, read_textgrid_tiers
from .textgrid_writer import write_textgrid
from .time_errors import MEASURES, TimeErrors
from .timing import archive_frame_shift, archive_window, stored_frame_shift

__all__ = [
    "COLLARS",
    "FORMATS",
    "MEASURES",
    "TIERS",
    "Allophone",
    "FrameIntervals",
    "GridTier",
    "Interval",
    "LexiconIndex",
    "Segmentation",
    "Segmenter",
    "TextGrid",
    "TierComparison",
    "TimeErrors",
    "alignment_of",
    "archive_frame_shift",
    "archive_window",
    "compare_tiers",
    "format_of",
    "iter_segmentations",
    "read_audacity",
    "read_ctm",
    "read_json_lines",
    "read_textgrid",
    "read_textgrid_tiers",
    "read_tiers",
    "segment",
    "segment_archive",
    "stored_frame_shift",
    "to_recordings",
    "to_segments",
    "write_audacity",
    "write_ctm",
    "write_json_lines",
    "write_textgrid",
    "write_tiers",
]
