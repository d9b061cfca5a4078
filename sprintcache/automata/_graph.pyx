"""The compiled builder of automata: what _graph_core.c computes, on and as numpy arrays.

Thread-safe: a model never changes, and every call takes a Work for itself. Calls release the GIL.
"""

cimport numpy as np
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sprintcache.automata._graph cimport *

import numpy as np

np.import_array()

CODES = {
    SG_TOO_LARGE: "too-large",
    SG_NO_PRONUNCIATION: "no-pronunciation",
    SG_NO_ALLOPHONES: "no-allophones",
    SG_NO_LABEL: "no-label",
    SG_NO_EDGES: "no-edges",
    SG_CYCLE: "cycle",
    SG_EPSILON_CYCLE: "epsilon-cycle",
    SG_TWO_LOOPS: "two-loops",
    SG_LABEL_LOOP: "label-loop",
    SG_NO_PATH: "no-path",
}


class RefusalError(Exception):
    """Raised for a sentence without an automaton: (code, index of the sentence, detail)."""


def pronunciation_scores(values, are_scores, bint normalize):
    """Returns float32 scores of the pronunciations of a lemma, or None if they cannot be normalized.

    Args:
        values: (N,) float64 weights, or scores where `are_scores` is set.
        are_scores: (N,) uint8.
        normalize: whether the probabilities are scaled to a sum of 1.
    """
    cdef double[::1] given = np.ascontiguousarray(values, np.float64)
    cdef uint8_t[::1] kinds = np.ascontiguousarray(are_scores, np.uint8)
    cdef Py_ssize_t count = given.shape[0]
    scores = np.empty(count, np.float32)
    cdef float[::1] out = scores
    if kinds.shape[0] != count:
        raise ValueError("values and are_scores differ in length")
    if count == 0:
        return scores
    if not sg_pronunciation_scores(&out[0], &given[0], &kinds[0], count, normalize):
        return None
    return scores


cdef class _Table:
    """A read-only hash table from uint64 to uint32."""

    cdef object keys, values
    cdef sg_table table

    def __init__(self, keys, values):
        cdef const uint64_t[::1] wanted = np.ascontiguousarray(keys, np.uint64)
        cdef const uint32_t[::1] numbers = np.ascontiguousarray(values, np.uint32)
        cdef uint64_t size = 8, i
        cdef Py_ssize_t k
        if wanted.shape[0] != numbers.shape[0]:
            raise ValueError("keys and values differ in length")
        while size < 2 * <uint64_t>wanted.shape[0]:
            size *= 2
        self.keys = np.zeros(size, np.uint64)
        self.values = np.full(size, SG_NONE, np.uint32)
        cdef uint64_t[::1] key_slots = self.keys
        cdef uint32_t[::1] value_slots = self.values
        for k in range(wanted.shape[0]):
            i = sg_hash(wanted[k]) & (size - 1)
            while value_slots[i] != SG_NONE:
                i = (i + 1) & (size - 1)
            key_slots[i] = wanted[k]
            value_slots[i] = numbers[k]
        self.table.keys = &key_slots[0]
        self.table.values = &value_slots[0]
        self.table.mask = size - 1


cdef class _Work:
    """Memory of one thread."""

    cdef sg_work *work

    def __cinit__(self):
        self.work = sg_work_new()
        if self.work == NULL:
            raise MemoryError

    def __dealloc__(self):
        sg_work_free(self.work)


cdef class GraphModel:
    """Lexicon, allophones, labels and weights as arrays; see `sprintcache.automata.compilation`."""

    cdef sg_model model
    cdef list arrays, resting
    cdef dict arguments

    def __init__(self, **arguments):
        self.arrays = []
        self.resting = []
        self.arguments = arguments
        cdef sg_model *m = &self.model
        cdef _Table tree = _Table(arguments["tree_keys"], arguments["tree_values"])
        keys = arguments["candidate_keys"]
        cdef _Table candidates = _Table(keys, np.arange(len(keys)))
        self.arrays += [tree, candidates]
        m.tree = tree.table
        m.candidates = candidates.table
        m.node_lemmas_begin = <const uint32_t *>self.kept("node_lemmas_begin", np.uint32)
        m.node_lemmas = <const uint32_t *>self.kept("node_lemmas", np.uint32)
        m.lemma_begin = <const uint32_t *>self.kept("lemma_begin", np.uint32)
        m.num_lemmas = len(arguments["lemma_begin"]) - 1
        m.pron_suffix = <const uint32_t *>self.kept("pron_suffix", np.uint32)
        m.pron_score = <const float *>self.kept("pron_score", np.float32)
        m.suffix_phone = <const uint32_t *>self.kept("suffix_phone", np.uint32)
        m.suffix_next = <const uint32_t *>self.kept("suffix_next", np.uint32)
        m.candidate_begin = <const uint32_t *>self.kept("candidate_begin", np.uint32)
        m.candidate_allophones = <const uint32_t *>self.kept("candidate_allophones", np.uint32)
        m.boundary_final = <const uint8_t *>self.kept("boundary_final", np.uint8)
        m.boundary_link = <const uint32_t *>self.kept("boundary_link", np.uint32)
        m.num_boundaries = len(arguments["boundary_final"])
        m.allophone_to = <const uint32_t *>self.kept("allophone_to", np.uint32)
        m.allophone_arcs = <const uint16_t *>self.kept("allophone_arcs", np.uint16)
        m.allophone_repetitions = <const uint16_t *>self.kept("allophone_repetitions", np.uint16)
        m.num_allophones = len(arguments["allophone_to"])
        m.num_states = len(arguments["labels"])
        m.labels = <const uint32_t *>self.kept("labels", np.uint32)
        m.weight_sets = NULL
        if arguments["weight_sets"] is not None:
            m.weight_sets = <const uint32_t *>self.kept("weight_sets", np.uint32)
        m.sets = <const float (*)[4]>self.kept("sets", np.float32)
        m.initial_boundary = arguments["initial_boundary"]
        m.unknown_lemma = arguments["unknown_lemma"]
        m.silence_lemma = arguments["silence_lemma"]
        m.silence_state = arguments["silence_state"]
        m.blank_state = arguments["blank_state"]
        m.topology = arguments["topology"]
        m.silence_repetitions = arguments["silence_repetitions"]
        m.normalize = arguments["normalize"]
        m.corrected = arguments["corrected"]

    def __reduce__(self):
        return _rebuilt, (self.arguments,)

    cdef void *kept(self, name, dtype) except NULL:
        """The data of an array that lives as long as the model."""
        cdef np.ndarray array = np.ascontiguousarray(self.arguments[name], dtype)
        self.arguments[name] = array
        if array.size == 0:
            array = np.zeros(1, dtype)
        self.arrays.append(array)
        return np.PyArray_DATA(array)

    cdef int accept(
        self,
        sg_work *w,
        const int32_t[::1] tokens,
        const int64_t[::1] offsets,
        Py_ssize_t sentence,
        uint32_t *detail,
    ) except -1 nogil:
        """Makes the graph of a sentence in `w`; returns a code."""
        cdef int64_t begin = offsets[sentence], end = offsets[sentence + 1]
        cdef const int32_t *first = &tokens[0] + begin if tokens.shape[0] else NULL
        return sg_accept(w, &self.model, first, <uint32_t>(end - begin), detail)

    def build(self, const int32_t[::1] tokens, const int64_t[::1] offsets):
        """Returns the automata of sentences.

        Args:
            tokens: words of all sentences as numbers of the tree, -1 for unknown ones.
            offsets: (B + 1,), where each sentence begins in `tokens`.

        Returns:
            ``(edges (4, E) uint32, weights (E,) float32, start_end (2, B) uint32, states (E,)
            uint32, groups (E,) int32, group_begin, group_lemmas)``; a state is that of an allophone
            times the number of allophones, plus the allophone.

        Raises:
            RefusalError: for the first sentence without an automaton.
        """
        cdef _Work work = self.resting.pop() if self.resting else _Work()
        cdef sg_work *w = work.work
        cdef Py_ssize_t num_sentences = offsets.shape[0] - 1, b
        cdef uint32_t detail = 0, num_states = 0
        cdef uint64_t total = 0
        cdef int code = SG_OK
        start_end = np.empty((2, num_sentences), np.uint32)
        ends = np.empty(num_sentences, np.int64)
        cdef uint32_t[:, ::1] states_of = start_end
        cdef int64_t[::1] edge_ends = ends
        with nogil:
            sg_batch_clear(w)
            b = 0
            while b < num_sentences:
                code = self.accept(w, tokens, offsets, b, &detail)
                if code == SG_OK:
                    code = sg_export(w, &self.model, &num_states, &detail)
                if code == SG_OK and total + num_states > SG_NONE:
                    code = SG_TOO_LARGE
                if code != SG_OK:
                    break
                states_of[0, b] = <uint32_t>total
                total += num_states
                states_of[1, b] = <uint32_t>(total - 1)
                edge_ends[b] = sg_batch_size(w)
                b += 1
        if code == SG_NO_MEMORY:
            raise MemoryError
        if code != SG_OK:
            self.resting.append(work)
            raise RefusalError(CODES[code], b, detail)
        result = _copied(w, &self.model, states_of, edge_ends)
        self.resting.append(work)
        return (result[0], result[1], start_end, *result[2:])

    def acceptors(self, const int32_t[::1] tokens, const int64_t[::1] offsets):
        """Returns the graphs of sentences before their export.

        Args:
            tokens, offsets: as in `build`.

        Returns:
            One tuple per sentence: ``(initial, arc_begin (S + 1,), arc_target, arc_label uint32,
            arc_weight float32, final_weight (S,) float32, arc_pronunciation int32, arc_words
            (2, A) int32)``, or ``(code, detail)`` of a sentence without an automaton.
        """
        cdef _Work work = self.resting.pop() if self.resting else _Work()
        cdef sg_work *w = work.work
        cdef Py_ssize_t num_sentences = offsets.shape[0] - 1, b
        cdef sg_acceptor graph
        cdef int code = SG_OK
        cdef uint32_t detail = 0
        cdef size_t num_states = 0, num_arcs = 0
        # of each sentence: code, detail or initial state, states and arcs up to its end
        rows = np.empty((num_sentences, 4), np.int64)
        cdef int64_t[:, ::1] row_of = rows
        with nogil:
            sg_batch_clear(w)
            for b in range(num_sentences):
                code = self.accept(w, tokens, offsets, b, &detail)
                if code == SG_OK:
                    code = sg_append_acceptor(w, &graph)
                if code == SG_NO_MEMORY:
                    break
                row_of[b, 0] = code
                row_of[b, 1] = detail
                if code == SG_OK:
                    row_of[b, 1] = graph.initial
                    num_states += graph.num_states
                    num_arcs += graph.num_arcs
                row_of[b, 2] = num_states
                row_of[b, 3] = num_arcs
        if code == SG_NO_MEMORY:
            raise MemoryError
        graphs = _acceptors(w, num_states, num_arcs, rows)
        self.resting.append(work)
        return graphs


cdef list _acceptors(sg_work *w, size_t num_states, size_t num_arcs, rows):
    """The graphs of a batch as arrays."""
    cdef const sg_node *nodes = NULL
    cdef const sg_arc *arcs = NULL
    cdef const sg_word *words = NULL
    cdef const sg_word *word
    cdef int64_t[:, ::1] row_of = rows
    cdef size_t i
    cdef Py_ssize_t b
    begins = np.empty(num_states + rows.shape[0], np.uint32)
    finals = np.empty(num_states, np.float32)
    targets = np.empty(num_arcs, np.uint32)
    labels = np.empty(num_arcs, np.uint32)
    weights = np.empty(num_arcs, np.float32)
    pronunciations = np.empty(num_arcs, np.int32)
    word_tokens = np.empty((2, num_arcs), np.int32)
    cdef uint32_t[::1] begin_out = begins, target_out = targets, label_out = labels
    cdef float[::1] final_out = finals, weight_out = weights
    cdef int32_t[::1] pronunciation_out = pronunciations
    cdef int32_t[:, ::1] token_out = word_tokens
    sg_batch_acceptors(w, &nodes, &arcs, &words)
    with nogil:
        i = 0
        for b in range(row_of.shape[0]):  # one begin more per graph than states
            begin_out[i + b] = 0
            while i < <size_t>row_of[b, 2]:
                begin_out[i + b + 1] = nodes[i].begin + nodes[i].count
                final_out[i] = nodes[i].final_weight
                i += 1
        for i in range(num_arcs):
            target_out[i] = arcs[i].target
            label_out[i] = arcs[i].label
            weight_out[i] = arcs[i].weight
            pronunciation_out[i] = token_out[0, i] = token_out[1, i] = -1
            if arcs[i].word != SG_NONE:
                word = &words[arcs[i].word]
                pronunciation_out[i] = <int32_t>word.pronunciation
                token_out[0, i] = word.begin
                token_out[1, i] = word.end
    graphs = []
    state = arc = 0
    for index, (code, value, state_end, arc_end) in enumerate(rows.tolist()):
        if code != SG_OK:
            graphs.append((CODES[code], value))
            continue
        graphs.append((
            value,
            begins[state + index : state_end + index + 1],
            targets[arc:arc_end],
            labels[arc:arc_end],
            weights[arc:arc_end],
            finals[state:state_end],
            pronunciations[arc:arc_end],
            word_tokens[:, arc:arc_end],
        ))
        state, arc = state_end, arc_end
    return graphs


def _rebuilt(arguments):
    return GraphModel(**arguments)


cdef tuple _copied(
    sg_work *w, const sg_model *model, uint32_t[:, ::1] states_of, int64_t[::1] edge_ends
):
    """The edges of a batch as arrays."""
    cdef size_t count = sg_batch_size(w), i = 0
    cdef const sg_edge *edges_in = sg_batch_edges(w)
    cdef const uint32_t *group_begin = NULL
    cdef const uint32_t *group_lemmas = NULL
    cdef size_t num_groups = sg_batch_groups(w, &group_begin, &group_lemmas), k
    cdef Py_ssize_t b
    edges = np.empty((4, count), np.uint32)
    weights = np.empty(count, np.float32)
    states = np.empty(count, np.uint32)
    groups = np.empty(count, np.int32)
    begin = np.zeros(num_groups + 1, np.uint32)
    lemmas = np.empty(group_begin[num_groups] if num_groups else 0, np.uint32)
    cdef uint32_t[:, ::1] edge_out = edges
    cdef float[::1] weight_out = weights
    cdef uint32_t[::1] state_out = states, begin_out = begin, lemma_out = lemmas
    cdef int32_t[::1] group_out = groups
    with nogil:
        for b in range(edge_ends.shape[0]):
            while i < <size_t>edge_ends[b]:
                edge_out[0, i] = edges_in[i].from_ + states_of[0, b]
                edge_out[1, i] = edges_in[i].to + states_of[0, b]
                edge_out[2, i] = edges_in[i].label
                edge_out[3, i] = <uint32_t>b
                weight_out[i] = edges_in[i].weight
                state_out[i] = (
                    (edges_in[i].state >> SG_STATE_SHIFT) * model.num_allophones
                    + (edges_in[i].state & SG_ALLOPHONE_MASK)
                )
                group_out[i] = <int32_t>edges_in[i].group
                i += 1
        for k in range(num_groups):
            begin_out[k + 1] = group_begin[k + 1]
        for k in range(<size_t>lemma_out.shape[0]):
            lemma_out[k] = group_lemmas[k]
    return edges, weights, states, groups, begin, lemmas
