"""Passes over a batch of automata, compiled: arrays in, arrays out, without the GIL."""

from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

cimport numpy as cnp

import numpy as np

cnp.import_array()

STATUS_OK = SC_OK
STATUS_NO_PATH = SC_NO_PATH
STATUS_NO_MEMORY = SC_NO_MEMORY
STATUS_BAD_LABEL = SC_BAD_LABEL
STATUS_BAD_WEIGHT = SC_BAD_WEIGHT
STATUS_BAD_SCORE = SC_BAD_SCORE
STATUS_TOO_MANY = SC_TOO_MANY


def run(
    const uint32_t[:, ::1] edges not None,
    const uint32_t[::1] labels not None,
    const float[::1] weights not None,
    const uint32_t[:, ::1] start_end not None,
    const int64_t[::1] offsets not None,
    cnp.ndarray scores not None,
    const int64_t[::1] lengths not None,
    double label_scale,
    double transition_scale,
    double[::1] loss not None,
    int64_t[:, ::1] status not None,
    cnp.ndarray posteriors,
    double posterior_factor,
    double[::1] edge_counts,
    double[::1] best_score,
    int num_threads,
    bint log_domain,
    int64_t chunk,
):
    """Fills `loss`, `status` and, unless None, posteriors, edge counts and scores of best paths.

    Scores and posteriors are (time, batch, label) float32 or float64 of any strides. Every posterior
    is written, times `posterior_factor`; counts are zeroed by the caller. Rows of `status`: code, whether the log domain was
    needed, edge or frame to blame, label to blame.

    Returns:
        how many sequences have another code than STATUS_OK.

    Raises:
        ValueError: for shapes that do not match.
        MemoryError: where the table of results does not fit.
    """
    cdef int64_t num_sequences = start_end.shape[1], num_edges = weights.shape[0], b
    cdef int64_t num_failed = 0
    cdef sc_full_sum job
    if edges.shape[0] < 2 or edges.shape[1] != num_edges or labels.shape[0] != num_edges:
        raise ValueError("edges, labels and weights differ in number")
    if start_end.shape[0] != 2 or offsets.shape[0] != num_sequences + 1:
        raise ValueError("start_end and offsets differ in number")
    if offsets[0] != 0 or offsets[num_sequences] != num_edges:
        raise ValueError("offsets do not cover all edges")
    for b in range(num_sequences):
        if offsets[b] > offsets[b + 1]:
            raise ValueError("offsets fall")
    if scores.ndim != 3 or scores.shape[1] != num_sequences or lengths.shape[0] != num_sequences:
        raise ValueError("scores, lengths and automata differ in number of sequences")
    for b in range(num_sequences):
        if not 0 <= lengths[b] <= scores.shape[0]:
            raise ValueError(
                f"length of sequence {b} must be 0 to {scores.shape[0]}, not {lengths[b]}"
            )
    if loss.shape[0] != num_sequences or status.shape[0] != num_sequences or status.shape[1] != 4:
        raise ValueError("results differ in number of sequences")
    if edge_counts is not None and edge_counts.shape[0] != num_edges:
        raise ValueError("edge_counts do not fit")
    if best_score is not None and best_score.shape[0] != num_sequences:
        raise ValueError("best_score does not fit")
    if num_sequences == 0:
        return 0
    job.num_sequences = num_sequences
    job.offsets = &offsets[0]
    job.from_ = &edges[0, 0] if num_edges else NULL
    job.to = &edges[1, 0] if num_edges else NULL
    job.labels = &labels[0] if num_edges else NULL
    job.weights = &weights[0] if num_edges else NULL
    job.start = &start_end[0, 0]
    job.end = &start_end[1, 0]
    job.scores = cnp.PyArray_DATA(scores)
    job.scores_double = _is_double(scores)
    job.score_frame, job.score_sequence, job.score_label = _steps(scores)
    job.num_frames = scores.shape[0]
    job.num_labels = scores.shape[2]
    job.lengths = &lengths[0]
    job.label_scale = label_scale
    job.transition_scale = transition_scale
    job.domain = SC_LOG_DOMAIN if log_domain else SC_AUTO
    job.loss = &loss[0]
    job.posteriors = NULL
    job.posteriors_double = job.posterior_frame = 0
    job.posterior_sequence = job.posterior_label = 0
    job.posterior_factor = posterior_factor
    if posteriors is not None:
        if posteriors.ndim != 3 or (<object>posteriors).shape != (<object>scores).shape:
            raise ValueError("posteriors and scores differ in shape")
        if not cnp.PyArray_ISWRITEABLE(posteriors):
            raise ValueError("posteriors are read-only")
        job.posteriors = cnp.PyArray_DATA(posteriors)
        job.posteriors_double = _is_double(posteriors)
        job.posterior_frame, job.posterior_sequence, job.posterior_label = _steps(posteriors)
    job.counts = NULL if edge_counts is None or not num_edges else &edge_counts[0]
    job.best_score = NULL if best_score is None else &best_score[0]
    job.chunk = chunk
    job.num_threads = num_threads
    job.status = <sc_status *>calloc(num_sequences, sizeof(sc_status))
    if job.status == NULL:
        raise MemoryError
    with nogil:
        sc_full_sum_run(&job)
    for b in range(num_sequences):
        num_failed += job.status[b].code != SC_OK
        status[b, 0] = job.status[b].code
        status[b, 1] = job.status[b].in_log_domain
        status[b, 2] = job.status[b].item
        status[b, 3] = job.status[b].label
    free(job.status)
    return num_failed


def scale(
    cnp.ndarray posteriors not None,
    scales not None,
    const double[::1] loss not None,
    int num_threads,
):
    """Multiplies posteriors in place by the scale of their sequence. Those of a sequence whose loss
    is not finite, which are 0, stay so.

    Posteriors are (time, batch, label) float32 or float64 of any strides, scales are (batch,).

    Raises:
        ValueError: for shapes that do not match.
        MemoryError: where the factors do not fit.
    """
    cdef const double[:] values = np.asarray(scales, np.float64)
    cdef sc_scaling job
    cdef double *factors
    cdef bint any_factor = False
    cdef int64_t b
    if posteriors.ndim != 3 or not cnp.PyArray_ISWRITEABLE(posteriors):
        raise ValueError("posteriors must have 3 axes and be writeable")
    job.num_frames, job.num_sequences, job.num_labels = posteriors.shape[:3]
    if values.shape[0] != job.num_sequences or loss.shape[0] != job.num_sequences:
        raise ValueError("posteriors, scales and losses differ in number of sequences")
    job.posteriors = cnp.PyArray_DATA(posteriors)
    job.is_double = _is_double(posteriors)
    job.frame_step, job.sequence_step, job.label_step = _steps(posteriors)
    job.num_threads = num_threads
    factors = <double *>calloc(job.num_sequences + 1, sizeof(double))
    if factors == NULL:
        raise MemoryError
    for b in range(job.num_sequences):
        factors[b] = values[b] if isfinite(loss[b]) else 1
        any_factor |= factors[b] != 1
    job.factors = factors
    if any_factor:
        with nogil:
            sc_scale(&job)
    free(factors)


cdef bint _is_double(cnp.ndarray array) except -1:
    if not cnp.PyArray_ISALIGNED(array) or not cnp.PyArray_ISNOTSWAPPED(array):
        raise ValueError("scores and posteriors must be aligned and of native byte order")
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64:
        return True
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
        return False
    raise ValueError("scores and posteriors must be float32 or float64")


cdef tuple _steps(cnp.ndarray array):
    """Strides in items."""
    cdef int64_t size = cnp.PyArray_ITEMSIZE(array), axis
    steps = []
    for axis in range(3):
        if array.strides[axis] % size:
            raise ValueError("strides must be multiples of the item size")
        steps.append(array.strides[axis] // size)
    return tuple(steps)
