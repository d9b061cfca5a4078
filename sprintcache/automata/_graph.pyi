"""Types of the compiled module; the documentation is in _graph.pyx."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__test__: dict[str, str]

CODES: dict[int, str]

class RefusalError(Exception): ...

def pronunciation_scores(
    values: Any, are_scores: Any, normalize: bool
) -> NDArray[np.float32] | None: ...

@disjoint_base
class GraphModel:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def build(
        self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> tuple[
        NDArray[np.uint32],
        NDArray[np.float32],
        NDArray[np.uint32],
        NDArray[np.uint32],
        NDArray[np.int32],
        NDArray[np.uint32],
        NDArray[np.uint32],
    ]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def acceptors(
        self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> list[tuple[Any, ...]]: ...
