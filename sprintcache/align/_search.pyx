"""Compiled search of the aligner: rounds with growing beams, Viterbi or Baum-Welch.

A `Search` owns the memory of one segment at a time and belongs to one thread at a time; `Aligner`
hands it out. The GIL is released during a search.
"""

from libc.float cimport FLT_MAX
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np


cdef extern from "search.h" nogil:
    enum: SA_OK, SA_NO_MEMORY, SA_NO_PATH, SA_NO_ARC, SA_NO_COLUMN
    ctypedef struct sa_item:
        uint32_t frame, arc
        double weight
    ctypedef struct sa_search:
        float score
        double total
        uint64_t num_hypotheses
        uint32_t num_pruned, highest_label
        sa_item *items
        size_t items_size
    void sa_free(sa_search *s)
    int sa_begin(
        sa_search *s, uint32_t num_states, uint32_t initial, const uint32_t *arc_begin,
        const uint32_t *arc_target, const uint32_t *arc_label, const float *arc_weight,
        const float *final_weight, const uint32_t *label_table, size_t num_allophones,
        const float *log_probs, uint32_t num_frames, size_t num_labels, float scale,
        float prior_scale, const float *prior)
    int sa_round(sa_search *s, float beam)
    void sa_path(const sa_search *s, uint32_t *arcs)
    int sa_is_within(const sa_search *s, float beam, const uint32_t *arcs)
    int sa_trellis(sa_search *s, float beam)
    int sa_posteriors(sa_search *s, int again)
    int sa_drop_links(sa_search *s, double min_weight)
    int sa_items(sa_search *s, const uint32_t *arc_label, double min_weight)


cdef struct Options:
    bint sum_paths, until_equal
    float scale, prior_scale, min_beam, max_beam, factor
    double min_weight
    const float *prior


cdef struct Job:
    # the acceptor
    uint32_t initial, num_states
    const uint32_t *arc_begin
    const uint32_t *arc_target
    const uint32_t *arc_label
    const float *arc_weight
    const float *final_weight
    # the scores
    const float *log_probs
    uint32_t num_frames
    size_t num_labels
    # the result
    uint32_t *path
    int code
    float score, beam
    double total
    uint64_t num_hypotheses
    uint32_t highest_label


cdef class Search:
    """Memory of a search; one segment after the other."""

    cdef sa_search memory

    def __cinit__(self):
        memset(&self.memory, 0, sizeof(self.memory))

    def __dealloc__(self):
        sa_free(&self.memory)

    def run(
        self,
        list acceptors,
        list log_probs,
        const uint32_t[:, ::1] label_table,
        *,
        bint sum_paths,
        float scale,
        float prior_scale,
        const float[::1] prior,
        float min_beam,
        float max_beam,
        float factor,
        bint until_equal,
        double min_weight,
    ):
        """Searches segments one after the other.

        Args:
            acceptors: an `Acceptor` per segment; the caller has checked that its numbers are in
                range.
            log_probs: (T, L) float32 array per segment.
            label_table: (states, allophones) uint32, label of each allophone state.
            sum_paths: Baum-Welch instead of Viterbi.
            scale, prior_scale, prior: of the label scores; `prior` (L,) float32 or None.
            min_beam, max_beam, factor, until_equal: the rounds.
            min_weight: of the items, Baum-Welch only.

        Returns:
            ``(status, score, beam, num_hypotheses, result)`` per segment. `status`: "ok", "no
            path", "no arc", or "no column": an arc has the label `result`, which `log_probs` lack.
            `score`: float32, or float64 of the sum over paths. `num_hypotheses`: of all frames in
            the last round. `result`: (T,) uint32 arc of every frame, or ``(frame uint32, label
            uint32, weight float64)`` of the items, or None.
        """
        cdef Py_ssize_t count = len(acceptors), i
        cdef size_t num_allophones = <size_t>label_table.shape[1]
        cdef const uint32_t *table = &label_table[0, 0] if label_table.size else NULL
        cdef Options options
        cdef Job *jobs
        cdef Job *job
        cdef const uint32_t[::1] numbers
        cdef const float[::1] weights
        cdef const float[:, ::1] values
        cdef uint32_t[::1] path_view
        options.sum_paths, options.until_equal = sum_paths, until_equal
        options.scale, options.prior_scale = scale, prior_scale
        options.min_beam, options.max_beam, options.factor = min_beam, max_beam, factor
        options.min_weight = min_weight
        options.prior = &prior[0] if prior is not None else NULL
        job_memory = np.empty(max(count, 1) * sizeof(Job), np.uint8)
        cdef uint8_t[::1] job_bytes = job_memory
        jobs = <Job *>&job_bytes[0]
        items = [None] * count
        paths = []
        for i in range(count):
            acceptor, job = acceptors[i], jobs + i
            values = log_probs[i]
            job.num_frames, job.num_labels = <uint32_t>values.shape[0], <size_t>values.shape[1]
            job.log_probs = &values[0, 0] if values.size else NULL
            job.initial = acceptor.initial
            numbers = acceptor.arc_begin
            job.arc_begin = &numbers[0]
            numbers = acceptor.arc_target
            job.arc_target = &numbers[0] if numbers.shape[0] else NULL
            numbers = acceptor.arc_label
            job.arc_label = &numbers[0] if numbers.shape[0] else NULL
            weights = acceptor.arc_weight
            job.arc_weight = &weights[0] if weights.shape[0] else NULL
            weights = acceptor.final_weight
            job.num_states = <uint32_t>weights.shape[0]
            job.final_weight = &weights[0]
            job.path = NULL
            if not sum_paths:
                paths.append(np.empty(max(job.num_frames, 1), np.uint32))
                path_view = paths[i]
                job.path = &path_view[0]
        with nogil:
            for i in range(count):
                search(&self.memory, jobs + i, &options, table, num_allophones)
                if sum_paths and jobs[i].code == SA_OK:
                    with gil:
                        items[i] = self._items()
        results = []
        for i in range(count):
            job = jobs + i
            if job.code == SA_NO_MEMORY:
                raise MemoryError
            if job.code == SA_NO_COLUMN:
                results.append(("no column", None, job.beam, 0, int(job.highest_label)))
            elif job.code != SA_OK:
                status = "no path" if job.code == SA_NO_PATH else "no arc"
                results.append((status, None, job.beam, job.num_hypotheses, None))
            elif sum_paths:
                results.append(("ok", job.total, job.beam, job.num_hypotheses, items[i]))
            else:
                path = paths[i][: job.num_frames]
                results.append(("ok", job.score, job.beam, job.num_hypotheses, path))
        return results

    cdef tuple _items(self):
        cdef size_t count = self.memory.items_size, i
        frames = np.empty(count, np.uint32)
        labels = np.empty(count, np.uint32)
        weights = np.empty(count, np.float64)
        cdef uint32_t[::1] frame_out = frames, label_out = labels
        cdef double[::1] weight_out = weights
        for i in range(count):
            frame_out[i] = self.memory.items[i].frame
            label_out[i] = self.memory.items[i].arc
            weight_out[i] = self.memory.items[i].weight
        return frames, labels, weights


cdef void search(
    sa_search *s, Job *job, const Options *options, const uint32_t *table, size_t num_allophones
) noexcept nogil:
    """Searches one segment: the rounds, and the path or the items of the last one."""
    cdef float beam = options.min_beam, before = FLT_MAX
    cdef double difference, size
    cdef bint is_done = False
    job.beam, job.total = beam, 0
    job.code = sa_begin(
        s, job.num_states, job.initial, job.arc_begin, job.arc_target, job.arc_label,
        job.arc_weight, job.final_weight, table, num_allophones, job.log_probs, job.num_frames,
        job.num_labels, options.scale, options.prior_scale, options.prior)
    if job.code != SA_OK:
        job.highest_label = s.highest_label
        return
    if not options.sum_paths and options.factor > 1 and beam * options.factor <= options.max_beam:
        # Sprint repeats the round with the next beam until the score is the same. If the path of
        # the second round stays within the first beam, the first is skipped.
        job.beam = beam * options.factor if options.until_equal else beam
        job.code = sa_round(s, job.beam)
        if job.code == SA_OK:
            sa_path(s, job.path)
            is_done = not options.until_equal or sa_is_within(s, options.min_beam, job.path)
    if job.code != SA_NO_MEMORY and not is_done:
        while True:
            job.beam = beam
            job.code = sa_trellis(s, beam) if options.sum_paths else sa_round(s, beam)
            if job.code == SA_NO_MEMORY or options.factor <= 1:
                break
            if job.code == SA_OK:
                if not options.until_equal:
                    break
                difference = abs(<double>s.score - <double>before)
                size = abs(<double>s.score) + abs(<double>before)
                if before != FLT_MAX and difference < size * 1.1920929e-7:
                    break
                before = s.score
            beam = beam * options.factor
            if not beam <= options.max_beam:
                break
        if job.code == SA_OK and job.path != NULL:
            sa_path(s, job.path)
    job.score, job.num_hypotheses = s.score, s.num_hypotheses
    if job.code == SA_OK and options.sum_paths:
        job.total = s.total  # of all paths, before links are dropped
        job.code = sa_posteriors(s, 0)
        if job.code == SA_OK and options.min_weight > 0:
            job.code = sa_drop_links(s, options.min_weight)
            if job.code == SA_OK:
                job.code = sa_posteriors(s, 1)
        if job.code == SA_OK:
            job.code = sa_items(s, job.arc_label, options.min_weight)
