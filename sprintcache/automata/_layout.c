/* Prunes, numbers and sorts the automaton of one sequence. */
#include "_layout.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define TAKE(name, count)                                              \
    do {                                                               \
        name = sc_take(arena, (size_t)(count), sizeof(*name));         \
        if (name == NULL) return SC_NO_MEMORY;                         \
    } while (0)

typedef struct {
    int32_t num_edges, num_states, start, end;
    int32_t *from, *to, *edge;
    double *cost;
} sc_graph; /* edges that are allowed, states from 0 */

static int compare_states(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int32_t find_state(const uint32_t *states, int32_t count, uint32_t state) {
    int32_t low = 0;
    while (count > 1) {
        int32_t half = count / 2;
        if (states[low + half] <= state) low += half;
        count -= half;
    }
    return low;
}

/* Copies the edges that are allowed and numbers the states from 0 without large gaps. */
static int read_graph(const sc_full_sum *job, const sc_sequence *sequence, sc_arena *arena,
                      sc_graph *g, int64_t *item) {
    const uint32_t *from = job->from + sequence->first, *to = job->to + sequence->first;
    const uint32_t *labels = job->labels + sequence->first;
    const float *weights = job->weights + sequence->first;
    uint32_t start = sequence->start, end = sequence->end;
    uint32_t low = start < end ? start : end, high = start < end ? end : start;
    TAKE(g->from, sequence->num_edges);
    TAKE(g->to, sequence->num_edges);
    TAKE(g->edge, sequence->num_edges);
    TAKE(g->cost, sequence->num_edges);
    int32_t count = 0;
    for (int64_t e = 0; e < sequence->num_edges; e++) {
        *item = sequence->first + e;
        if ((int64_t)labels[e] >= job->num_labels) return SC_BAD_LABEL;
        if (!(weights[e] >= -FLT_MAX)) return SC_BAD_WEIGHT;
        if (weights[e] >= FLT_MAX) continue; /* how Sprint writes a forbidden edge */
        g->cost[count] = (double)weights[e] * job->transition_scale;
        g->edge[count++] = (int32_t)e;
        low = from[e] < low ? from[e] : low;
        low = to[e] < low ? to[e] : low;
        high = from[e] > high ? from[e] : high;
        high = to[e] > high ? to[e] : high;
    }
    g->num_edges = count;
    int64_t span = (int64_t)high - low + 1;
    if (span <= 8 * (int64_t)count + 64) {
        for (int32_t i = 0; i < count; i++) {
            g->from[i] = (int32_t)(from[g->edge[i]] - low);
            g->to[i] = (int32_t)(to[g->edge[i]] - low);
        }
        g->num_states = (int32_t)span;
        g->start = (int32_t)(start - low);
        g->end = (int32_t)(end - low);
        return SC_OK;
    }
    uint32_t *states;
    TAKE(states, 2 * (int64_t)count + 2);
    for (int32_t i = 0; i < count; i++) {
        states[2 * i] = from[g->edge[i]];
        states[2 * i + 1] = to[g->edge[i]];
    }
    states[2 * (int64_t)count] = start;
    states[2 * (int64_t)count + 1] = end;
    qsort(states, 2 * (size_t)count + 2, sizeof(*states), compare_states);
    int32_t distinct = 1;
    for (int64_t i = 1; i < 2 * (int64_t)count + 2; i++)
        if (states[i] != states[distinct - 1]) states[distinct++] = states[i];
    for (int32_t i = 0; i < count; i++) {
        g->from[i] = find_state(states, distinct, from[g->edge[i]]);
        g->to[i] = find_state(states, distinct, to[g->edge[i]]);
    }
    g->num_states = distinct;
    g->start = find_state(states, distinct, start);
    g->end = find_state(states, distinct, end);
    return SC_OK;
}

/* Fills `order` with the numbers 0 to count - 1, sorted by key, stably; offsets has keys + 1. */
static void sort_by_key(const int32_t *key, int32_t count, int32_t keys, const int32_t *given,
                        int32_t *order, int32_t *offsets) {
    memset(offsets, 0, (size_t)(keys + 1) * sizeof(*offsets));
    for (int32_t i = 0; i < count; i++) offsets[key[i] + 1]++;
    for (int32_t k = 0; k < keys; k++) offsets[k + 1] += offsets[k];
    for (int32_t i = 0; i < count; i++) {
        int32_t item = given != NULL ? given[i] : i;
        order[offsets[key[item]]++] = item;
    }
    for (int32_t k = keys; k > 0; k--) offsets[k] = offsets[k - 1];
    offsets[0] = 0;
}

/* Distances in edges from one state, -1 for out of reach; `queue` is the order of the search. */
static int32_t search(int32_t start, int32_t num_states, const int32_t *offsets,
                      const int32_t *order, const int32_t *heads, int32_t *distance,
                      int32_t *queue) {
    int32_t begin = 0, end = 0;
    for (int32_t s = 0; s < num_states; s++) distance[s] = -1;
    distance[start] = 0;
    queue[end++] = start;
    while (begin < end) {
        int32_t s = queue[begin++];
        for (int32_t i = offsets[s]; i < offsets[s + 1]; i++) {
            int32_t head = heads[order[i]];
            if (distance[head] >= 0) continue;
            distance[head] = distance[s] + 1;
            queue[end++] = head;
        }
    }
    return end;
}

typedef struct {
    int32_t *from, *to, *label, *edge;
    double *factor;
    int32_t count;
} sc_kept; /* edges on paths that are short enough, with new numbers */

static double factor_of(double cost, double offset, int32_t log_domain) {
    return log_domain ? offset - cost : exp(offset - cost);
}

/* Puts edges, sorted by target and label, into nodes. */
static int fill_incoming(sc_arena *arena, const sc_kept *kept, const int32_t *order,
                         const int32_t *offsets, double none, sc_layout *l, int32_t *node_of) {
    int32_t num_states = l->num_states;
    TAKE(l->node_label, num_states + kept->count);
    TAKE(l->node_state, num_states + kept->count);
    TAKE(l->second, num_states + 1);
    TAKE(l->loop, num_states);
    TAKE(l->factor, num_states);
    TAKE(l->source, num_states);
    TAKE(l->more, num_states + 1);
    TAKE(l->more_source, kept->count);
    TAKE(l->more_target, kept->count);
    TAKE(l->more_factor, kept->count);
    TAKE(l->in, kept->count + 1);
    TAKE(l->in_source, kept->count);
    TAKE(l->in_factor, kept->count);
    TAKE(l->loop_edge, num_states);
    TAKE(l->source_edge, num_states);
    TAKE(l->more_edge, kept->count);
    TAKE(l->in_edge, kept->count);
    int32_t more = 0, in = 0, second = 0;
    for (int32_t s = 0; s < num_states; s++) {
        l->node_state[s] = s;
        l->node_label[s] = l->num_labels;
        l->loop[s] = l->factor[s] = none;
        l->source[s] = 0;
        l->loop_edge[s] = l->source_edge[s] = -1;
        l->more[s] = more;
        l->second[s] = second;
        int32_t primary = -1, longest = 0, begin = offsets[s], run = begin;
        for (int32_t i = begin; i < offsets[s + 1]; i++) {
            int32_t e = order[i];
            if (kept->label[e] != kept->label[order[run]]) run = i;
            if (kept->from[e] == s) { /* the loop's label, whatever the others are */
                primary = kept->label[e];
                break;
            }
            if (i - run + 1 > longest) {
                longest = i - run + 1;
                primary = kept->label[e];
            }
        }
        int32_t last = -1;
        for (int32_t i = begin; i < offsets[s + 1]; i++) {
            int32_t e = order[i];
            if (kept->label[e] == primary) {
                l->node_label[s] = primary;
                node_of[e] = s;
                if (kept->from[e] == s && l->loop_edge[s] < 0) {
                    l->loop[s] = kept->factor[e];
                    l->loop_edge[s] = kept->edge[e];
                } else if (l->source_edge[s] < 0) {
                    l->source[s] = kept->from[e];
                    l->factor[s] = kept->factor[e];
                    l->source_edge[s] = kept->edge[e];
                } else {
                    l->more_source[more] = kept->from[e];
                    l->more_target[more] = s;
                    l->more_factor[more] = kept->factor[e];
                    l->more_edge[more++] = kept->edge[e];
                }
                continue;
            }
            if (kept->label[e] != last) {
                last = kept->label[e];
                l->node_label[num_states + second] = last;
                l->node_state[num_states + second] = s;
                l->in[second++] = in;
            }
            node_of[e] = num_states + second - 1;
            l->in_source[in] = kept->from[e];
            l->in_factor[in] = kept->factor[e];
            l->in_edge[in++] = kept->edge[e];
        }
    }
    l->more[num_states] = more;
    l->second[num_states] = second;
    l->in[second] = in;
    l->num_nodes = num_states + second;
    return SC_OK;
}

/* Outgoing edges, sorted by source, as nodes they lead to. */
static int fill_outgoing(sc_arena *arena, const sc_kept *kept, const int32_t *order,
                         const int32_t *offsets, double none, sc_layout *l,
                         const int32_t *node_of) {
    int32_t num_states = l->num_states, out = 0;
    TAKE(l->next, num_states);
    TAKE(l->next_factor, num_states);
    TAKE(l->out, num_states + 1);
    TAKE(l->out_source, kept->count);
    TAKE(l->out_node, kept->count);
    TAKE(l->out_factor, kept->count);
    for (int32_t s = 0; s < num_states; s++) {
        l->next[s] = 0;
        l->next_factor[s] = none;
        l->out[s] = out;
        int32_t filled = 0;
        for (int32_t i = offsets[s]; i < offsets[s + 1]; i++) {
            int32_t e = order[i];
            if (kept->edge[e] == l->loop_edge[s]) continue; /* `loop` serves both directions */
            if (!filled) {
                l->next[s] = node_of[e];
                l->next_factor[s] = kept->factor[e];
                filled = 1;
                continue;
            }
            l->out_source[out] = s;
            l->out_node[out] = node_of[e];
            l->out_factor[out++] = kept->factor[e];
        }
    }
    l->out[num_states] = out;
    return SC_OK;
}

int sc_lay_out(const sc_full_sum *job, const sc_sequence *sequence, sc_arena *arena,
               sc_layout *l, int64_t *item) {
    sc_graph g;
    memset(l, 0, sizeof(*l));
    if (sequence->num_edges > (1 << 28)) return SC_TOO_MANY;
    int code = read_graph(job, sequence, arena, &g, item);
    if (code != SC_OK) return code;

    int32_t num_keys = g.num_states > g.num_edges ? g.num_states : g.num_edges;
    int32_t *order, *offsets, *from_start, *to_end, *queue, *number, *node_of;
    TAKE(order, g.num_edges);
    TAKE(offsets, num_keys + 1);
    TAKE(from_start, g.num_states);
    TAKE(to_end, g.num_states);
    TAKE(queue, g.num_states);
    TAKE(number, g.num_states);
    sort_by_key(g.to, g.num_edges, g.num_states, NULL, order, offsets);
    search(g.end, g.num_states, offsets, order, g.from, to_end, queue);
    sort_by_key(g.from, g.num_edges, g.num_states, NULL, order, offsets);
    int32_t reached = search(g.start, g.num_states, offsets, order, g.to, from_start, queue);
    if (to_end[g.start] < 0 || to_end[g.start] > sequence->length) return SC_NO_PATH;

    TAKE(l->from_start, reached);
    TAKE(l->to_end, reached);
    TAKE(l->by_end, reached);
    for (int32_t s = 0; s < g.num_states; s++) number[s] = -1;
    int32_t num_states = 0;
    for (int32_t i = 0; i < reached; i++) {
        int32_t s = queue[i];
        if (to_end[s] < 0 || (int64_t)from_start[s] + to_end[s] > sequence->length) continue;
        l->from_start[num_states] = from_start[s];
        l->to_end[num_states] = to_end[s];
        number[s] = num_states++;
    }
    l->num_states = num_states;
    l->end = number[g.end];

    sc_kept kept;
    TAKE(kept.from, g.num_edges);
    TAKE(kept.to, g.num_edges);
    TAKE(kept.label, g.num_edges);
    TAKE(kept.edge, g.num_edges);
    TAKE(kept.factor, g.num_edges);
    TAKE(l->labels, g.num_edges);
    kept.count = 0;
    l->offset = INFINITY;
    for (int32_t i = 0; i < g.num_edges; i++) {
        if (number[g.from[i]] < 0 || number[g.to[i]] < 0) continue;
        if (g.cost[i] < l->offset) l->offset = g.cost[i];
    }
    if (!(l->offset < INFINITY)) l->offset = 0;
    for (int32_t i = 0; i < g.num_edges; i++) {
        int32_t from = number[g.from[i]], to = number[g.to[i]];
        if (from < 0 || to < 0) continue;
        uint32_t label = job->labels[sequence->first + g.edge[i]];
        int32_t *local = sequence->table + label;
        if (*local < 0) {
            *local = l->num_labels;
            l->labels[l->num_labels++] = (int32_t)label;
        }
        kept.from[kept.count] = from;
        kept.to[kept.count] = to;
        kept.label[kept.count] = *local;
        kept.edge[kept.count] = g.edge[i];
        kept.factor[kept.count++] = factor_of(g.cost[i], l->offset, sequence->log_domain);
    }
    for (int32_t k = 0; k < l->num_labels; k++) sequence->table[l->labels[k]] = -1;
    l->num_edges = kept.count;

    double none = sequence->log_domain ? -INFINITY : 0;
    int32_t *by_label;
    TAKE(by_label, kept.count);
    TAKE(node_of, kept.count);
    sort_by_key(kept.label, kept.count, l->num_labels, NULL, by_label, offsets);
    sort_by_key(kept.to, kept.count, num_states, by_label, order, offsets);
    code = fill_incoming(arena, &kept, order, offsets, none, l, node_of);
    if (code != SC_OK) return code;
    sort_by_key(kept.from, kept.count, num_states, NULL, order, offsets);
    code = fill_outgoing(arena, &kept, order, offsets, none, l, node_of);
    if (code != SC_OK) return code;

    int32_t longest = 0; /* falling to_end: sorted by longest - to_end */
    for (int32_t s = 0; s < num_states; s++)
        if (l->to_end[s] > longest) longest = l->to_end[s];
    int32_t *far, *far_offsets;
    TAKE(far, num_states);
    TAKE(far_offsets, longest + 2);
    for (int32_t s = 0; s < num_states; s++) far[s] = longest - l->to_end[s];
    sort_by_key(far, num_states, longest + 1, NULL, l->by_end, far_offsets);
    return SC_OK;
}
