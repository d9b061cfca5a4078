"""Declarations of _graph_core.c."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "_graph_core.h" nogil:
    const uint32_t SG_NONE
    const uint32_t SG_STATE_SHIFT
    const uint32_t SG_ALLOPHONE_MASK

    cdef enum:
        SG_OK
        SG_NO_MEMORY
        SG_TOO_LARGE
        SG_NO_PRONUNCIATION
        SG_NO_ALLOPHONES
        SG_NO_LABEL
        SG_NO_EDGES
        SG_CYCLE
        SG_EPSILON_CYCLE
        SG_TWO_LOOPS
        SG_LABEL_LOOP
        SG_NO_PATH

    ctypedef struct sg_table:
        const uint64_t *keys
        const uint32_t *values
        uint64_t mask

    ctypedef struct sg_model:
        sg_table tree
        const uint32_t *node_lemmas_begin
        const uint32_t *node_lemmas
        uint32_t unknown_lemma
        uint32_t silence_lemma
        uint32_t num_lemmas
        const uint32_t *lemma_begin
        const uint32_t *pron_suffix
        const float *pron_score
        const uint32_t *suffix_phone
        const uint32_t *suffix_next
        sg_table candidates
        const uint32_t *candidate_begin
        const uint32_t *candidate_allophones
        uint32_t num_allophones
        uint32_t num_boundaries
        uint32_t initial_boundary
        const uint8_t *boundary_final
        const uint32_t *boundary_link
        const uint32_t *allophone_to
        const uint16_t *allophone_arcs
        const uint16_t *allophone_repetitions
        uint32_t num_states
        const uint32_t *labels
        const uint32_t *weight_sets
        const float (*sets)[4]
        uint32_t silence_state
        uint32_t blank_state
        int topology
        int silence_repetitions
        int normalize
        int corrected

    ctypedef struct sg_arc:
        uint32_t target
        uint32_t label
        float weight
        uint32_t word

    ctypedef struct sg_word:
        uint32_t pronunciation
        uint32_t lemma
        int32_t begin
        int32_t end

    ctypedef struct sg_edge:
        uint32_t from_ "from"
        uint32_t to
        uint32_t label
        uint32_t state
        uint32_t group
        float weight

    ctypedef struct sg_node:
        uint32_t begin
        uint32_t count
        float final_weight

    ctypedef struct sg_work:
        pass

    ctypedef struct sg_acceptor:
        uint32_t num_states
        uint32_t num_arcs
        uint32_t initial

    sg_work *sg_work_new()
    void sg_work_free(sg_work *work)
    int sg_accept(sg_work *work, const sg_model *model, const int32_t *tokens,
                  uint32_t num_tokens, uint32_t *detail)
    int sg_export(sg_work *work, const sg_model *model, uint32_t *num_states, uint32_t *detail)
    void sg_batch_clear(sg_work *work)
    size_t sg_batch_size(const sg_work *work)
    const sg_edge *sg_batch_edges(const sg_work *work)
    size_t sg_batch_groups(const sg_work *work, const uint32_t **begin, const uint32_t **lemmas)
    int sg_append_acceptor(sg_work *work, sg_acceptor *acceptor)
    void sg_batch_acceptors(const sg_work *work, const sg_node **nodes, const sg_arc **arcs,
                            const sg_word **words)
    uint64_t sg_hash(uint64_t key)
    int sg_pronunciation_scores(float *scores, const double *values, const uint8_t *are_scores,
                                size_t count, int normalize)
