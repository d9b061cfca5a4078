/* Search of the best path, or of all paths, through an acceptor.
 *
 * The order of hypotheses, the float32 sums and the tie rules are those of Sprint's aligner: arcs
 * in the order of the acceptor, hypotheses in the order in which their state was first reached, and
 * the later of two equal scores wins. A Search belongs to one thread and is reused for one segment
 * after the other. Compile without contraction of a * b + c.
 */
#ifndef SPRINTCACHE_ALIGN_SEARCH_H
#define SPRINTCACHE_ALIGN_SEARCH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SA_NONE UINT32_MAX
#define SA_STATE_SHIFT 26 /* of an allophone-state id: below it the allophone, from it the state */

enum sa_code { SA_OK, SA_NO_MEMORY, SA_NO_PATH, SA_NO_ARC, SA_NO_COLUMN };

typedef struct {
    uint32_t target, column;
    float weight;
} sa_arc;

typedef struct {
    uint32_t state;
    float score;
} sa_hyp;

/* A hypothesis of a frame: its state and the best arc into it. */
typedef struct {
    uint32_t state, arc;
} sa_trace;

/* Best hypothesis of a state in the next frame: bits of its score, and above them the arc. The bits
 * are SA_NONE, a NaN that no sum has, where the state was not reached. */
typedef uint64_t sa_node;

/* One arc between surviving hypotheses, for the sum over all paths. */
typedef struct {
    uint32_t from, to, arc; /* from and to: hypotheses of this frame and the next */
    double weight, posterior;
} sa_link;

typedef struct {
    uint32_t frame, arc;
    double weight;
} sa_item;

typedef struct {
    /* the acceptor */
    uint32_t num_states, initial;
    const uint32_t *arc_begin;
    sa_arc *arcs;
    size_t arcs_capacity;
    const float *final_weight;
    /* scores of the segment: (frames, columns) */
    uint32_t num_frames, num_columns;
    uint32_t *column_of_label, *column_label; /* SA_NONE, labels in use */
    size_t labels_capacity, columns_capacity;
    uint32_t highest_label;
    float *scores;
    size_t scores_capacity;
    /* hypotheses */
    sa_hyp *current, *next;
    uint32_t *position; /* of a state in `next`, SA_NONE elsewhere */
    sa_node *nodes;     /* of each state */
    uint32_t *order;    /* states of the next frame as they were first reached; in the trellis
                         * their index after pruning */
    size_t states_capacity;
    sa_trace *trace;
    size_t trace_capacity, trace_size;
    size_t *frame_begin; /* first trace of a frame */
    float *frame_best;   /* best score of a frame */
    size_t frames_capacity;
    /* sum over all paths */
    double *alpha, *beta;
    size_t alpha_capacity;
    sa_link *links;
    size_t links_capacity, links_size;
    size_t *link_begin;
    sa_item *items;
    size_t items_capacity, items_size;
    /* result of a round */
    float score;
    double total;
    uint64_t num_hypotheses;
    uint32_t num_pruned, best_final;
} sa_search;

static int sa_reserve(void **memory, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity) return 1;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < count) wanted = count;
    if (wanted < 256) wanted = 256;
    if (wanted > SIZE_MAX / size) return 0;
    void *grown = realloc(*memory, wanted * size);
    if (grown == NULL) return 0;
    *memory = grown;
    *capacity = wanted;
    return 1;
}

#define SA_RESERVE(s, field, capacity, count) \
    sa_reserve((void **)&(s)->field, &(s)->capacity, (count), sizeof(*(s)->field))

static void sa_free(sa_search *s) {
    free(s->arcs), free(s->scores), free(s->current), free(s->next), free(s->position);
    free(s->nodes), free(s->order);
    free(s->trace), free(s->frame_begin), free(s->alpha), free(s->beta), free(s->links);
    free(s->link_begin), free(s->items), free(s->frame_best);
    free(s->column_of_label), free(s->column_label);
    memset(s, 0, sizeof(*s));
}

/* Numbers the labels of the arcs that are in use. SA_NO_COLUMN: one of them is num_labels or more;
 * highest_label is the largest. */
static int sa_number_columns(sa_search *s, size_t num_arcs, const uint32_t *arc_label,
                             const uint32_t *label_table, size_t num_allophones,
                             size_t num_labels) {
    size_t before = s->labels_capacity;
    if (!SA_RESERVE(s, column_of_label, labels_capacity, num_labels) ||
        !SA_RESERVE(s, column_label, columns_capacity, num_labels))
        return SA_NO_MEMORY;
    for (size_t k = before; k < s->labels_capacity; k++) s->column_of_label[k] = SA_NONE;
    int code = SA_OK;
    s->num_columns = s->highest_label = 0;
    for (size_t a = 0; a < num_arcs; a++) {
        uint32_t id = arc_label[a], allophone = id & (((uint32_t)1 << SA_STATE_SHIFT) - 1);
        uint32_t label = label_table[(id >> SA_STATE_SHIFT) * num_allophones + allophone];
        if (label > s->highest_label) s->highest_label = label;
        if (label >= num_labels) {
            code = SA_NO_COLUMN;
            continue;
        }
        uint32_t *column = s->column_of_label + label;
        if (*column == SA_NONE) {
            *column = s->num_columns;
            s->column_label[s->num_columns++] = label;
        }
        s->arcs[a].column = *column;
    }
    for (uint32_t c = 0; c < s->num_columns; c++) s->column_of_label[s->column_label[c]] = SA_NONE;
    return code;
}

/* Copies an acceptor and the scores of a segment.
 *
 * log_probs: (num_frames, num_labels) float32; label_table has num_allophones labels per state. A
 * score is scale * (-log_prob + prior_scale * prior), the inner sum rounded once, as Sprint's
 * compiler fuses it. NaN counts as no path. */
static int sa_begin(sa_search *s, uint32_t num_states, uint32_t initial, const uint32_t *arc_begin,
                    const uint32_t *arc_target, const uint32_t *arc_label,
                    const float *arc_weight, const float *final_weight,
                    const uint32_t *label_table, size_t num_allophones, const float *log_probs,
                    uint32_t num_frames, size_t num_labels, float scale, float prior_scale,
                    const float *prior) {
    size_t num_arcs = arc_begin[num_states];
    size_t states = s->states_capacity, frames = s->frames_capacity;
    if (!SA_RESERVE(s, arcs, arcs_capacity, num_arcs ? num_arcs : 1)) return SA_NO_MEMORY;
    int code = sa_number_columns(s, num_arcs, arc_label, label_table, num_allophones, num_labels);
    if (code != SA_OK) return code;
    const uint32_t num_columns = s->num_columns, *column_label = s->column_label;
    if (!SA_RESERVE(s, scores, scores_capacity, (size_t)num_frames * num_columns + 1))
        return SA_NO_MEMORY;
    if (num_states > states) {
        size_t a = states, b = states, c = states, d = states, e = states;
        if (!sa_reserve((void **)&s->current, &a, num_states, sizeof(sa_hyp)) ||
            !sa_reserve((void **)&s->next, &b, num_states, sizeof(sa_hyp)) ||
            !sa_reserve((void **)&s->position, &c, num_states, sizeof(uint32_t)) ||
            !sa_reserve((void **)&s->nodes, &d, num_states, sizeof(sa_node)) ||
            !sa_reserve((void **)&s->order, &e, (size_t)num_states + 1, sizeof(uint32_t)))
            return SA_NO_MEMORY;
        s->states_capacity = num_states;
    }
    memset(s->nodes, 0xff, (size_t)num_states * sizeof(sa_node));
    memset(s->position, 0xff, (size_t)num_states * sizeof(uint32_t));
    if ((size_t)num_frames + 2 > frames) {
        size_t a = frames, b = frames, c = frames;
        if (!sa_reserve((void **)&s->frame_begin, &a, (size_t)num_frames + 2, sizeof(size_t)) ||
            !sa_reserve((void **)&s->frame_best, &c, (size_t)num_frames + 2, sizeof(float)) ||
            !sa_reserve((void **)&s->link_begin, &b, (size_t)num_frames + 2, sizeof(size_t)))
            return SA_NO_MEMORY;
        s->frames_capacity = (size_t)num_frames + 2;
    }
    s->num_states = num_states, s->initial = initial, s->arc_begin = arc_begin;
    s->final_weight = final_weight, s->num_frames = num_frames;
    for (size_t a = 0; a < num_arcs; a++)
        s->arcs[a].target = arc_target[a], s->arcs[a].weight = arc_weight[a];
    for (uint32_t t = 0; t < num_frames; t++) {
        const float *row = log_probs + t * num_labels;
        float *out = s->scores + (size_t)t * num_columns;
        for (uint32_t c = 0; c < num_columns; c++) {
            float value = -row[column_label[c]];
            if (prior != NULL) value = fmaf(prior_scale, prior[column_label[c]], value);
            value = scale * value;
            out[c] = isnan(value) ? INFINITY : value;
        }
    }
    return SA_OK;
}

/* The hypotheses after one frame, into nodes and order; returns their number. A search spends its
 * time here. Whether a state is new can be predicted, since the same arcs reach it first in most
 * frames; which score is better cannot, so there is no branch on it. */
static uint32_t sa_expand(const sa_search *s, const float *scores, uint32_t num_current,
                          float *best_score) {
    const sa_hyp *current = s->current;
    const uint32_t *arc_begin = s->arc_begin;
    const sa_arc *arcs = s->arcs;
    sa_node *nodes = s->nodes;
    uint32_t *order = s->order, num_next = 0;
    float best = INFINITY;
    for (uint32_t h = 0; h < num_current; h++) {
        uint32_t a = arc_begin[current[h].state], end = arc_begin[current[h].state + 1];
        float score = current[h].score;
        for (; a < end; a++) {
            float x = (score + arcs[a].weight) + scores[arcs[a].column], before;
            uint32_t target = arcs[a].target, x_bits, bits;
            memcpy(&x_bits, &x, sizeof(x));
            sa_node node = nodes[target], reached = (sa_node)a << 32 | x_bits;
            bits = (uint32_t)node;
            if (bits == SA_NONE) {
                order[num_next++] = target;
                nodes[target] = reached;
            } else {
                memcpy(&before, &bits, sizeof(before));
                nodes[target] = node ^ ((node ^ reached) & -(sa_node)(x <= before));
            }
            best = x < best ? x : best;
        }
    }
    *best_score = best;
    return num_next;
}

/* One round of the search with a beam. SA_NO_PATH: no final state was reached. */
static int sa_round(sa_search *s, float beam) {
    sa_hyp *current = s->current;
    sa_node *nodes = s->nodes;
    uint32_t num_current = 1;
    size_t size = 0;
    current[0] = (sa_hyp){s->initial, 0};
    s->num_hypotheses = 0, s->num_pruned = 0;
    for (uint32_t t = 0; t < s->num_frames; t++) {
        s->frame_begin[t] = size;
        if (!SA_RESERVE(s, trace, trace_capacity, size + s->num_states)) return SA_NO_MEMORY;
        sa_trace *trace = s->trace + size;
        uint32_t num_next = sa_expand(s, s->scores + (size_t)t * s->num_columns, num_current,
                                      s->frame_best + t);
        float limit = s->frame_best[t] + beam;
        uint32_t kept = 0;
        for (uint32_t p = 0; p < num_next; p++) { /* kept <= p: current has room for it */
            uint32_t state = s->order[p];
            sa_node node = nodes[state];
            uint32_t bits = (uint32_t)node;
            float score;
            memcpy(&score, &bits, sizeof(score));
            nodes[state] = SA_NONE;
            current[kept] = (sa_hyp){state, score};
            trace[kept] = (sa_trace){state, (uint32_t)(node >> 32)};
            kept += !(score > limit);
        }
        s->num_pruned += num_next - kept;
        s->num_hypotheses += kept;
        size += kept;
        num_current = kept;
    }
    s->trace_size = size;
    s->frame_begin[s->num_frames] = size;
    s->best_final = SA_NONE, s->score = FLT_MAX;
    for (uint32_t h = 0; h < num_current; h++) {
        float x = current[h].score + s->final_weight[current[h].state];
        if (x < s->score) s->score = x, s->best_final = h;
    }
    return s->best_final == SA_NONE ? SA_NO_PATH : SA_OK;
}

static inline int sa_leaves(const sa_search *s, uint32_t state, uint32_t arc) {
    return s->arc_begin[state] <= arc && arc < s->arc_begin[state + 1];
}

/* Arc of the best path in every frame. The state that an arc leaves has nearly the same index in the
 * frame before: it is looked for there first, then farther away on both sides. */
static void sa_path(const sa_search *s, uint32_t *arcs) {
    size_t h = s->best_final;
    for (uint32_t t = s->num_frames; t-- > 0;) {
        uint32_t arc = arcs[t] = s->trace[s->frame_begin[t] + h].arc;
        if (t == 0) break;
        const sa_trace *before = s->trace + s->frame_begin[t - 1];
        size_t count = s->frame_begin[t] - s->frame_begin[t - 1];
        size_t low = h < count ? h : count - 1, high = low + 1;
        for (;;) {
            /* low wraps below the first */
            if (low < count && sa_leaves(s, before[h = low--].state, arc)) break;
            if (high < count && sa_leaves(s, before[h = high++].state, arc)) break;
        }
    }
}

/* Whether the best path stays within a narrower beam of the best score of every frame. Then a round
 * with that beam finds this path and score as well: its scores are no better than those here. */
static int sa_is_within(const sa_search *s, float beam, const uint32_t *arcs) {
    float score = 0;
    for (uint32_t t = 0; t < s->num_frames; t++) {
        sa_arc arc = s->arcs[arcs[t]];
        score = (score + arc.weight) + s->scores[(size_t)t * s->num_columns + arc.column];
        if (!(score <= s->frame_best[t] + beam)) return 0;
    }
    return 1;
}

static inline double sa_log_add(double a, double b) { /* of negative logarithms */
    if (a > b) {
        double swap = a;
        a = b, b = swap;
    }
    return isinf(b) ? a : a - log1p(exp(a - b));
}

/* The trellis of all paths within the beam, as links between hypotheses; s->total is their sum. */
static int sa_trellis(sa_search *s, float beam) {
    sa_hyp *current = s->current, *next = s->next;
    uint32_t num_current = 1, *position = s->position, *kept_index = s->order;
    size_t size = 1;
    s->links_size = 0, s->num_hypotheses = 0, s->num_pruned = 0;
    if (!SA_RESERVE(s, alpha, alpha_capacity, 1)) return SA_NO_MEMORY;
    current[0] = (sa_hyp){s->initial, 0};
    s->alpha[0] = 0, s->frame_begin[0] = 0;
    for (uint32_t t = 0; t < s->num_frames; t++) {
        const float *scores = s->scores + (size_t)t * s->num_columns;
        uint32_t num_next = 0;
        size_t first = s->frame_begin[t], begin = s->links_size;
        s->link_begin[t] = begin, s->frame_begin[t + 1] = size;
        if (!SA_RESERVE(s, alpha, alpha_capacity, size + s->num_states)) return SA_NO_MEMORY;
        double *alpha = s->alpha, *sums = s->alpha + size;
        for (uint32_t h = 0; h < num_current; h++) {
            uint32_t end = s->arc_begin[current[h].state + 1], a = s->arc_begin[current[h].state];
            if (!SA_RESERVE(s, links, links_capacity, s->links_size + (end - a)))
                return SA_NO_MEMORY;
            for (; a < end; a++) {
                float step = s->arcs[a].weight + scores[s->arcs[a].column];
                if (!(step < FLT_MAX)) continue;
                uint32_t target = s->arcs[a].target, p = position[target];
                double x = alpha[first + h] + (double)step;
                if (p == SA_NONE) {
                    p = position[target] = num_next++;
                    next[p].state = target;
                    sums[p] = x;
                } else {
                    sums[p] = sa_log_add(sums[p], x);
                }
                s->links[s->links_size++] = (sa_link){h, p, a, (double)step, 0};
            }
        }
        double best = INFINITY;
        for (uint32_t p = 0; p < num_next; p++) {
            position[next[p].state] = SA_NONE;
            if (sums[p] < best) best = sums[p];
        }
        double limit = best + (double)beam;
        uint32_t kept = 0;
        for (uint32_t p = 0; p < num_next; p++) {
            kept_index[p] = sums[p] > limit ? SA_NONE : kept;
            if (kept_index[p] == SA_NONE) continue;
            sums[kept] = sums[p];
            kept++;
        }
        if (kept < num_next) { /* renumber, and drop links into pruned hypotheses */
            size_t out = begin;
            for (size_t i = begin; i < s->links_size; i++) {
                sa_link link = s->links[i];
                if (kept_index[link.to] == SA_NONE) continue;
                link.to = kept_index[link.to];
                s->links[out++] = link;
            }
            s->links_size = out;
            for (uint32_t p = 0, k = 0; p < num_next; p++)
                if (kept_index[p] != SA_NONE) next[k++] = next[p];
        }
        s->num_pruned += num_next - kept;
        s->num_hypotheses += kept;
        size += kept;
        sa_hyp *swap = current;
        current = next, next = swap, num_current = kept;
    }
    s->link_begin[s->num_frames] = s->links_size;
    size_t last = s->frame_begin[s->num_frames];
    if (s->num_frames == 0) last = 0;
    size_t beta_capacity = 0;
    free(s->beta), s->beta = NULL;
    if (!sa_reserve((void **)&s->beta, &beta_capacity, size, sizeof(double))) return SA_NO_MEMORY;
    double total = INFINITY;
    for (uint32_t h = 0; h < num_current; h++) {
        float final_weight = s->final_weight[current[h].state];
        s->beta[last + h] = final_weight < FLT_MAX ? (double)final_weight : INFINITY;
        total = sa_log_add(total, s->alpha[last + h] + s->beta[last + h]);
    }
    s->trace_size = size;
    s->total = total;
    s->score = (float)total;
    return total < (double)FLT_MAX ? SA_OK : SA_NO_PATH;
}

/* Posteriors of the links. With `again`, alpha is computed from the links that are left. Needs
 * beta of the last frame, which sa_trellis sets. */
static int sa_posteriors(sa_search *s, int again) {
    size_t last = s->frame_begin[s->num_frames];
    if (again) {
        for (size_t i = 1; i < s->trace_size; i++) s->alpha[i] = INFINITY;
        for (uint32_t t = 0; t < s->num_frames; t++)
            for (size_t i = s->link_begin[t]; i < s->link_begin[t + 1]; i++) {
                const sa_link *link = s->links + i;
                double *to = s->alpha + s->frame_begin[t + 1] + link->to;
                *to = sa_log_add(*to, s->alpha[s->frame_begin[t] + link->from] + link->weight);
            }
        s->total = INFINITY;
        for (size_t i = last; i < s->trace_size; i++)
            s->total = sa_log_add(s->total, s->alpha[i] + s->beta[i]);
        if (isinf(s->total)) return SA_NO_ARC;
    }
    for (size_t i = 0; i < last; i++) s->beta[i] = INFINITY;
    for (uint32_t t = s->num_frames; t-- > 0;)
        for (size_t i = s->link_begin[t]; i < s->link_begin[t + 1]; i++) {
            sa_link *link = s->links + i;
            double *from = s->beta + s->frame_begin[t] + link->from;
            double rest = s->beta[s->frame_begin[t + 1] + link->to] + link->weight;
            *from = sa_log_add(*from, rest);
            link->posterior = exp(s->total - s->alpha[s->frame_begin[t] + link->from] - rest);
        }
    return SA_OK;
}

/* Drops links whose posterior is below the minimum. SA_NO_ARC: a frame has none left. */
static int sa_drop_links(sa_search *s, double min_weight) {
    size_t out = 0;
    for (uint32_t t = 0; t < s->num_frames; t++) {
        size_t begin = out, i = s->link_begin[t], end = s->link_begin[t + 1];
        for (; i < end; i++)
            if (s->links[i].posterior >= min_weight) s->links[out++] = s->links[i];
        s->link_begin[t] = begin;
        if (out == begin) return SA_NO_ARC;
    }
    s->link_begin[s->num_frames] = out;
    s->links_size = out;
    return SA_OK;
}

static int sa_by_label(const void *a, const void *b) {
    const sa_item *x = a, *y = b;
    return x->arc < y->arc ? -1 : x->arc > y->arc;
}

static int sa_by_weight(const void *a, const void *b) {
    const sa_item *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return sa_by_label(a, b);
}

/* Items of every frame: posteriors summed per label, small ones dropped, normalized, by weight.
 * `arc` of an item is the label of the arc. SA_NO_ARC: a frame has no item left. */
static int sa_items(sa_search *s, const uint32_t *arc_label, double min_weight) {
    s->items_size = 0;
    for (uint32_t t = 0; t < s->num_frames; t++) {
        size_t begin = s->items_size, count = s->link_begin[t + 1] - s->link_begin[t], out = 0;
        if (!SA_RESERVE(s, items, items_capacity, begin + count + 1)) return SA_NO_MEMORY;
        sa_item *items = s->items + begin;
        for (size_t i = 0; i < count; i++) {
            const sa_link *link = s->links + s->link_begin[t] + i;
            items[i] = (sa_item){t, arc_label[link->arc], link->posterior};
        }
        qsort(items, count, sizeof(*items), sa_by_label);
        for (size_t i = 0; i < count; i++) {
            if (out && items[out - 1].arc == items[i].arc) items[out - 1].weight += items[i].weight;
            else items[out++] = items[i];
        }
        double sum = 0;
        count = out, out = 0;
        for (size_t i = 0; i < count; i++)
            if (items[i].weight > 0 && items[i].weight >= min_weight) {
                sum += items[i].weight;
                items[out++] = items[i];
            }
        if (out == 0) return SA_NO_ARC;
        for (size_t i = 0; i < out; i++) items[i].weight /= sum;
        qsort(items, out, sizeof(*items), sa_by_weight);
        s->items_size += out;
    }
    return SA_OK;
}

#endif
