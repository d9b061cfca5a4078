/* The forward and the backward pass over the frames of one sequence. */
#ifndef SPRINTCACHE_PASSES_H
#define SPRINTCACHE_PASSES_H

#include "_layout.h"

#define SC_LANES 4 /* doubles of a vector */

/* Scaled probabilities are kept around 2^SC_TARGET. One that falls below 2^SC_FLOOR is raised to
 * it: sums are then upper bounds, and what they exceed the truth by is bounded (see _passes.c). */
#define SC_TARGET 300
#define SC_LOWEST 100
#define SC_HIGHEST 330
#define SC_FLOOR (-640)
#define SC_FLOOR_VALUE 0x1p-640

/* Row t holds what edges bring into each node at frame t: first primary, then further nodes of the
 * states low[t] to high[t] - 1; with counts, the values of these states as well. */
typedef struct {
    const sc_full_sum *job;
    const sc_layout *layout;
    int64_t num_frames;
    int32_t *low, *high; /* T + 1 */
    int64_t *row;        /* T + 1, offset of a row in `rows` */
    double *rows;
    double *scores;      /* rows of K: probabilities or, in the log domain, logarithms */
    int32_t score_width; /* K, rounded up to whole vectors */
    int64_t chunk_begin; /* frame before the first row in memory */
    double *states[2];   /* S, values of even and odd frames */
    double *sums;        /* S */
    double *factors;     /* K + 1, scores of one frame times a power of two; the last is 0 */
    int32_t *label;      /* N, label of each node; K from the frame on where it is dead */
    int32_t num_dead;
    double *backward;    /* S, values of the states after frame t */
    double *node_values; /* N */
    double *label_sums;  /* 4 for each of K + 1 labels */
} sc_pass;

static inline double *sc_row(const sc_pass *pass, int64_t frame) {
    return pass->rows + pass->row[frame];
}

static inline double *sc_scores(const sc_pass *pass, int64_t frame) {
    return pass->scores + (frame - 1 - pass->chunk_begin) * pass->score_width;
}

/* How to compute in one domain; frames are counted from 1. */
typedef struct {
    double none, one;
    /* Turns `count` scores, whole vectors, into probabilities or their logarithms: times `scale`,
     * minus the largest, which it returns in `highest`. Returns whether all scores are valid. */
    int (*normalize)(double *scores, int64_t count, double scale, double *highest);
    /* From the states of frame t - 1 to its nodes and states; returns the largest value. */
    double (*forward)(sc_pass *pass, int64_t frame, double scale);
    /* From the states after frame t to posteriors and, unless t is 1, the states before. Node
     * values times `posterior_scale` are posteriors. Returns the largest value. */
    double (*backward)(sc_pass *pass, int64_t frame, double posterior_scale, double scale);
} sc_kernel;

extern const sc_kernel sc_log_kernel;
const sc_kernel *sc_scaled_kernel(void); /* the fastest for this processor */

/* Computes one sequence; `status` has the code on return. */
void sc_run_sequence(const sc_full_sum *job, int64_t number, int32_t *table, sc_arena *arena);

#endif
