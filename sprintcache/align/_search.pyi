import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__test__: dict[str, str]

@disjoint_base
class Search:
    def run(
        self,
        initial: int,
        arc_begin: NDArray[np.uint32],
        arc_target: NDArray[np.uint32],
        arc_weight: NDArray[np.float32],
        final_weight: NDArray[np.float32],
        arc_label: NDArray[np.uint32],
        label_table: NDArray[np.uint32],
        log_probs: NDArray[np.float32],
        *,
        sum_paths: bool,
        scale: float,
        prior_scale: float,
        prior: NDArray[np.float32] | None,
        min_beam: float,
        max_beam: float,
        factor: float,
        until_equal: bool,
        min_weight: float,
    ) -> tuple[
        str,
        float | None,
        float,
        int,
        int
        | NDArray[np.uint32]
        | tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float64]]
        | None,
    ]: ...
