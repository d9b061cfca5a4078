from libc.stdint cimport int32_t, int64_t, uint32_t


cdef extern from "_full_sum.h" nogil:
    int SC_OK
    int SC_NO_PATH
    int SC_NO_MEMORY
    int SC_BAD_LABEL
    int SC_BAD_WEIGHT
    int SC_BAD_SCORE
    int SC_TOO_MANY
    int SC_AUTO
    int SC_LOG_DOMAIN

    ctypedef struct sc_status:
        int32_t code
        int32_t in_log_domain
        int64_t item
        int64_t label

    ctypedef struct sc_full_sum:
        int64_t num_sequences
        const int64_t *offsets
        const uint32_t *from_ "from"
        const uint32_t *to
        const uint32_t *labels
        const float *weights
        const uint32_t *start
        const uint32_t *end
        const void *scores
        int32_t scores_double
        int64_t score_frame
        int64_t score_sequence
        int64_t score_label
        int64_t num_frames
        int64_t num_labels
        const int64_t *lengths
        double label_scale
        double transition_scale
        int32_t domain
        double *loss
        sc_status *status
        void *posteriors
        int32_t posteriors_double
        int64_t posterior_frame
        int64_t posterior_sequence
        int64_t posterior_label
        double posterior_factor
        double *counts
        double *best_score
        int64_t chunk
        int32_t num_threads

    void sc_full_sum_run(const sc_full_sum *job)

    ctypedef struct sc_scaling:
        void *posteriors
        const double *factors
        int32_t is_double
        int32_t num_threads
        int64_t num_frames
        int64_t num_sequences
        int64_t num_labels
        int64_t frame_step
        int64_t sequence_step
        int64_t label_step

    void sc_scale(const sc_scaling *job)
