"""Parameters of Sprint's aligner, as keywords of `Aligner`."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._configuration import Configuration, Source
from sprintcache._text_file import read_inflated
from sprintcache.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ALIGNMENT_NODE", "aligner_keywords", "read_prior"]

APPLICATION = "acoustic-model-trainer"
ALIGNMENT_NODE = f"{APPLICATION}.aligning-feature-extractor.feature-extraction.alignment"


def aligner_keywords(
    sources: Sequence[Source],
    base: str | os.PathLike[str] | None,
    selection: str,
    num_labels: int,
) -> dict[str, Any]:
    """Returns the keywords of `Aligner` that a configuration describes.

    Raises:
        OSError: if a file cannot be read.
        FormatError: for a prior file that is not valid.
        UnsupportedError: for a feature scorer that does not read posteriors.
    """
    config = Configuration.from_sources(sources, APPLICATION).at(selection)
    search = config.select("aligner")
    combination = config.select("model-combination")
    model = combination.select("acoustic-model")
    mixtures = model.select("mixture-set")
    scorer = mixtures.string("feature-scorer-type", "nn-precomputed-hybrid")
    if scorer != "nn-precomputed-hybrid":
        raise UnsupportedError(
            f"{mixtures.selection}.feature-scorer-type = {scorer}: only scores that were computed"
            " before (nn-precomputed-hybrid) are aligned"
        )
    scale = np.float32(mixtures.weight("scale", 1.0))
    scale *= np.float32(model.weight("scale", 1.0)) * np.float32(combination.weight("scale", 1.0))
    prior_scale = mixtures.weight("priori-scale", 1.0)
    prior_file = mixtures.string("prior-file", "")
    prior: NDArray[np.float32] | None = None
    if prior_scale and prior_file:
        path = prior_file if base is None else os.path.join(os.fspath(base), prior_file)
        prior = read_prior(path, num_labels)
    elif prior_scale and mixtures.get("priori-scale") is not None:
        raise UnsupportedError(
            f"{mixtures.selection}.priori-scale = {prior_scale}, but no prior-file: priors from"
            " the weights of a mixture set are not supported"
        )
    return {
        "mode": search.choice("mode", "viterbi", ["viterbi", "baum-welch"]),
        "label_scale": float(scale),
        "prior": prior,
        "prior_scale": prior_scale,
        "min_beam": search.weight("min-acoustic-pruning", 50.0),
        "max_beam": min(search.weight("max-acoustic-pruning", _MAX), _MAX),
        "beam_factor": search.weight("acoustic-pruning-increment-factor", 2.0),
        "until_score_is_equal": search.boolean("increase-pruning-until-no-score-difference", True),
        "min_weight": search.weight("min-weight", 0.0),
    }


_MAX = float(np.finfo(np.float32).max)


def read_prior(path: str | os.PathLike[str], num_labels: int) -> NDArray[np.float32]:
    """Reads log priors: XML ``<vector-f32 size="N"> ... </vector-f32>``.

    Returns:
        (num_labels,) float32.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not such a file, or has another number of values.
    """
    name = os.fspath(path)
    data = read_inflated(name)
    try:
        root = ElementTree.fromstring(data)
        with np.errstate(over="ignore"):
            values = np.array([float(text) for text in (root.text or "").split()], np.float32)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError("not a vector of log priors", path=name, found=str(error)) from error
    if root.tag not in ("vector-f32", "vector-f64") or len(values) != num_labels:
        raise FormatError(
            "not the log priors of this state tying",
            path=name,
            expected=f"<vector-f32> with {num_labels} values",
            found=f"<{root.tag}> with {len(values)} values",
        )
    return values
