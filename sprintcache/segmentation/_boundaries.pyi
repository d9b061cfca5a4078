import numpy as np
from numpy.typing import NDArray

__test__: dict[str, str]

TIERS: dict[str, int]
FLAGS: dict[str, int]
SHIFT: int

def find_intervals(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], flags: NDArray[np.uint8], tier: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]: ...
