from typing import Any, Final

__test__: dict[str, str]

STATUS_OK: Final[int]
STATUS_NO_PATH: Final[int]
STATUS_NO_MEMORY: Final[int]
STATUS_BAD_LABEL: Final[int]
STATUS_BAD_WEIGHT: Final[int]
STATUS_BAD_SCORE: Final[int]
STATUS_TOO_MANY: Final[int]

def run(
    edges: Any,
    labels: Any,
    weights: Any,
    start_end: Any,
    offsets: Any,
    scores: Any,
    lengths: Any,
    label_scale: float,
    transition_scale: float,
    loss: Any,
    status: Any,
    posteriors: Any,
    posterior_factor: float,
    edge_counts: Any,
    best_score: Any,
    num_threads: int,
    log_domain: bool,
    chunk: int,
) -> int: ...
def scale(posteriors: Any, scales: Any, loss: Any, num_threads: int) -> None: ...
