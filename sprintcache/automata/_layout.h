/* The automaton of one sequence, pruned to its length and laid out for passes over frames. */
#ifndef SPRINTCACHE_LAYOUT_H
#define SPRINTCACHE_LAYOUT_H

#include "_arena.h"
#include "_full_sum.h"

/* States are numbered in the order of a breadth-first search from the start state, which is 0, so
 * states within reach of a frame are a range. A node is a pair of state and label that edges lead
 * to. Each state has a primary node of the same number; further nodes follow, by state.
 *
 * Primary nodes keep two incoming edges in place (the loop, and one from `source`), which covers
 * most automata without inner loops; more edges follow in lists by target. Outgoing edges are kept
 * alike. Absent edges have factor 0 (-inf in the log domain) and source 0.
 *
 * Factors are exp(-(weight - offset)) or, in the log domain, -(weight - offset); every path of T
 * frames then misses T * offset. */
typedef struct {
    int32_t num_states, num_nodes, num_labels, end, num_edges;
    double offset;
    int32_t *labels;               /* K, label of each local label */
    int32_t *from_start, *to_end;  /* S, shortest distances in edges */
    int32_t *by_end;               /* S, states by falling to_end */
    int32_t *node_label;           /* N, local label; K for a node without edges */
    int32_t *node_state;           /* N */
    int32_t *second;               /* S + 1, further nodes of a state: num_states + second[s] ... */
    double *loop, *factor;         /* S, incoming edges of primary nodes */
    int32_t *source;
    int32_t *more;                 /* S + 1, further incoming edges of primary nodes */
    int32_t *more_source, *more_target;
    double *more_factor;
    int32_t *in;                   /* N - S + 1, incoming edges of further nodes */
    int32_t *in_source;
    double *in_factor;
    int32_t *next;                 /* S, node of one outgoing edge that is not `loop` */
    double *next_factor;
    int32_t *out;                  /* S + 1, further outgoing edges */
    int32_t *out_source, *out_node;
    double *out_factor;
    int32_t *loop_edge, *source_edge, *more_edge, *in_edge; /* numbers of edges, -1 for none */
} sc_layout;

/* `table` has an item of -1 per label and is left so. */
typedef struct {
    int64_t first, num_edges;
    int64_t length;
    uint32_t start, end;
    int32_t *table;
    int32_t log_domain;
} sc_sequence;

/* Returns SC_OK, SC_NO_PATH or an error; `item` is the edge to blame. */
int sc_lay_out(const sc_full_sum *job, const sc_sequence *sequence, sc_arena *arena,
               sc_layout *layout, int64_t *item);

#endif
