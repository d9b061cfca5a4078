/* Full-sum loss and posteriors of a batch of automata: plain C, no Python. */
#ifndef SPRINTCACHE_FULL_SUM_H
#define SPRINTCACHE_FULL_SUM_H

#include <stdint.h>

enum {
    SC_OK = 0,
    SC_NO_PATH,      /* no path from start to end of the length of the sequence */
    SC_NO_MEMORY,
    SC_BAD_LABEL,    /* item: edge */
    SC_BAD_WEIGHT,   /* item: edge; NaN or -inf */
    SC_BAD_SCORE,    /* item: frame, label; NaN or +inf */
    SC_TOO_MANY      /* more than 2^30 edges in a sequence */
};

enum { SC_AUTO = 0, SC_LOG_DOMAIN = 1 };

typedef struct {
    int32_t code;
    int32_t in_log_domain; /* whether scaled probabilities did not suffice */
    int64_t item;
    int64_t label;
} sc_status;

typedef struct {
    /* automata; edges of sequence b are offsets[b] to offsets[b + 1] */
    int64_t num_sequences;
    const int64_t *offsets;
    const uint32_t *from, *to, *labels;
    const float *weights;
    const uint32_t *start, *end;
    /* scores: natural logarithms, float or double; strides count items */
    const void *scores;
    int32_t scores_double;
    int64_t score_frame, score_sequence, score_label;
    int64_t num_frames, num_labels;
    const int64_t *lengths;
    double label_scale, transition_scale;
    int32_t domain;
    /* results; everything but loss and status may be NULL */
    double *loss;
    sc_status *status;
    void *posteriors; /* every item is written */
    int32_t posteriors_double;
    int64_t posterior_frame, posterior_sequence, posterior_label;
    double posterior_factor; /* what posteriors are multiplied with */
    double *counts;     /* one per edge, zeroed by the caller */
    double *best_score; /* one per sequence */
    int64_t chunk; /* doubles of memory for rows at a time; 0: the default */
    int32_t num_threads;
} sc_full_sum;

/* Fills the results of all sequences. Each is computed by one thread, so results do not depend on
 * the number of threads. */
void sc_full_sum_run(const sc_full_sum *job);

/* Posteriors, to be multiplied in place by one factor per sequence; strides count items. */
typedef struct {
    void *posteriors;
    const double *factors;
    int32_t is_double, num_threads;
    int64_t num_frames, num_sequences, num_labels;
    int64_t frame_step, sequence_step, label_step;
} sc_scaling;

void sc_scale(const sc_scaling *job);

#endif
