"""Pictures of segments, statistics and comparisons; needs matplotlib (extra `plot`).

The functions draw into the given axes or figure, or into a new figure that pyplot does not manage,
and return the figure: ``plot_features(features).savefig("features.png")``. Colors are viridis,
cividis and those of Okabe and Ito, which color-blind people can distinguish.
"""

from __future__ import annotations

from .alignments import plot_alignment
from .automata import plot_automaton
from .canvas import new_figure
from .features import plot_features, plot_line
from .segments import plot_segment
from .summaries import plot_comparison, plot_statistics
from .tiers import plot_tier_comparison

__all__ = [
    "new_figure",
    "plot_alignment",
    "plot_automaton",
    "plot_comparison",
    "plot_features",
    "plot_line",
    "plot_segment",
    "plot_statistics",
    "plot_tier_comparison",
]
