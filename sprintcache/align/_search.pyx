"""Compiled search of the aligner: rounds with growing beams, Viterbi or Baum-Welch.

A `Search` owns the memory of one segment at a time and belongs to one thread at a time; `Aligner`
hands it out. The GIL is released during a search.
"""

from libc.float cimport FLT_MAX
from libc.stdint cimport uint32_t, uint64_t
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


cdef class Search:
    """Memory of a search; one segment after the other."""

    cdef sa_search memory

    def __cinit__(self):
        memset(&self.memory, 0, sizeof(self.memory))

    def __dealloc__(self):
        sa_free(&self.memory)

    def run(
        self,
        uint32_t initial,
        const uint32_t[::1] arc_begin,
        const uint32_t[::1] arc_target,
        const float[::1] arc_weight,
        const float[::1] final_weight,
        const uint32_t[::1] arc_label,
        const uint32_t[:, ::1] label_table,
        const float[:, ::1] log_probs,
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
        """Searches one segment.

        Args:
            initial, arc_begin, arc_target, arc_weight, final_weight, arc_label: an `Acceptor`; the
                caller has checked that its numbers are in range.
            label_table: (states, allophones) uint32, label of each allophone state.
            log_probs: (T, L) float32.
            sum_paths: Baum-Welch instead of Viterbi.
            scale, prior_scale, prior: of the label scores; `prior` (L,) float32 or None.
            min_beam, max_beam, factor, until_equal: the rounds.
            min_weight: of the items, Baum-Welch only.

        Returns:
            ``(status, score, beam, num_hypotheses, result)``. `status`: "ok", "no path", "no
            arc", or "no column": an arc has the label `result`, which `log_probs` lack. `score`: float32, or float64 of the sum over paths. `num_hypotheses`: of all
            frames in the last round. `result`: (T,) uint32 arc of every frame, or ``(frame uint32,
            label uint32, weight float64)`` of the items, or None.
        """
        cdef sa_search *s = &self.memory
        cdef uint32_t num_states = <uint32_t>final_weight.shape[0]
        cdef uint32_t num_frames = <uint32_t>log_probs.shape[0]
        cdef size_t num_labels = <size_t>log_probs.shape[1]
        cdef const float *values = &log_probs[0, 0] if num_frames and num_labels else NULL
        cdef const float *priors = &prior[0] if prior is not None else NULL
        cdef const uint32_t *targets = &arc_target[0] if arc_target.shape[0] else NULL
        cdef const float *weights = &arc_weight[0] if arc_weight.shape[0] else NULL
        cdef const uint32_t *labels = &arc_label[0] if arc_label.shape[0] else NULL
        cdef const uint32_t *table = &label_table[0, 0] if label_table.size else NULL
        cdef size_t num_allophones = <size_t>label_table.shape[1]
        cdef float beam = min_beam, used = min_beam, before = FLT_MAX
        cdef double difference, size, total = 0
        cdef int code
        cdef bint is_done = False
        cdef uint32_t[::1] path_view
        cdef uint32_t *path_arcs = NULL
        path = np.empty(0 if sum_paths else max(num_frames, 1), np.uint32)
        if not sum_paths:
            path_view = path
            path_arcs = &path_view[0]
        with nogil:
            code = sa_begin(
                s, num_states, initial, &arc_begin[0], targets, labels, weights, &final_weight[0],
                table, num_allophones, values, num_frames, num_labels, scale, prior_scale, priors)
            if code == SA_OK and path_arcs != NULL and factor > 1 and min_beam * factor <= max_beam:
                # Sprint repeats the round with the next beam until the score is the same. If the
                # path of the second round stays within the first beam, the first is skipped.
                used = min_beam * factor if until_equal else min_beam
                code = sa_round(s, used)
                if code == SA_OK:
                    sa_path(s, path_arcs)
                    is_done = not until_equal or sa_is_within(s, min_beam, path_arcs)
                if code == SA_NO_PATH:
                    code = SA_OK
            if code == SA_OK and not is_done:
                while True:
                    used = beam
                    code = sa_trellis(s, beam) if sum_paths else sa_round(s, beam)
                    if code == SA_NO_MEMORY or factor <= 1:
                        break
                    if code == SA_OK:
                        if not until_equal:
                            break
                        difference = abs(<double>s.score - <double>before)
                        size = abs(<double>s.score) + abs(<double>before)
                        if before != FLT_MAX and difference < size * 1.1920929e-7:
                            break
                        before = s.score
                    beam = beam * factor
                    if not beam <= max_beam:
                        break
                if code == SA_OK and path_arcs != NULL:
                    sa_path(s, path_arcs)
            if code == SA_OK and sum_paths:
                total = s.total  # of all paths, before links are dropped
                code = sa_posteriors(s, 0)
                if code == SA_OK and min_weight > 0:
                    code = sa_drop_links(s, min_weight)
                    if code == SA_OK:
                        code = sa_posteriors(s, 1)
                if code == SA_OK:
                    code = sa_items(s, labels, min_weight)
        if code == SA_NO_MEMORY:
            raise MemoryError
        if code == SA_NO_COLUMN:
            return "no column", None, used, 0, int(s.highest_label)
        if code != SA_OK:
            status = "no path" if code == SA_NO_PATH else "no arc"
            return status, None, used, s.num_hypotheses, None
        if not sum_paths:
            return "ok", s.score, used, s.num_hypotheses, path[:num_frames]
        return "ok", total, used, s.num_hypotheses, self._items()

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
