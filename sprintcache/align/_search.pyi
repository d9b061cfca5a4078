import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from sprintcache.align.result import SearchResult
from sprintcache.automata.acceptor import Acceptor

__test__: dict[str, str]

@disjoint_base
class Search:
    def run(
        self,
        acceptors: list[Acceptor],
        log_probs: list[NDArray[np.float32]],
        label_table: NDArray[np.uint32],
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
    ) -> list[SearchResult]: ...
