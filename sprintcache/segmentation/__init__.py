"""Words and phones of alignments: segmentation, text formats, and measures of time errors."""

from .allophone import Allophone
from .intervals import TIERS, Interval, Segmentation
from .readings import LexiconIndex
from .segmentation import Segmenter, segment
from .timing import archive_frame_shift, stored_frame_shift

__all__ = [
    "TIERS",
    "Allophone",
    "Interval",
    "LexiconIndex",
    "Segmentation",
    "Segmenter",
    "archive_frame_shift",
    "segment",
    "stored_frame_shift",
]
