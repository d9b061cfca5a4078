/* Removal of epsilon arcs. */
#ifndef SPRINTCACHE_GRAPH_EPSILONS_H
#define SPRINTCACHE_GRAPH_EPSILONS_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "scores.h"
#include "work.h"

static int arc_less(const sg_arc *a, const sg_arc *b)
{
    return a->label != b->label ? a->label < b->label : a->target < b->target;
}

/* Sorts arcs by label and target, stably. */
static int sort_arcs(sg_work *w, sg_arc *at, uint32_t count)
{
    uint32_t width, i, k;
    sg_arc *from = at, *to;
    if (count <= 32) {
        for (i = 1; i < count; i++) {
            sg_arc arc = at[i];
            for (k = i; k > 0 && arc_less(&arc, &at[k - 1]); k--)
                at[k] = at[k - 1];
            at[k] = arc;
        }
        return SG_OK;
    }
    RESERVE(w->sorted, count);
    to = w->sorted.at;
    for (width = 1; width < count; width *= 2) {
        for (i = 0; i < count; i += 2 * width) {
            uint32_t left = i, middle = i + width < count ? i + width : count;
            uint32_t right = middle, stop = middle + width < count ? middle + width : count;
            for (k = i; k < stop; k++)
                to[k] = left < middle && (right >= stop || !arc_less(&from[right], &from[left]))
                            ? from[left++]
                            : from[right++];
        }
        sg_arc *swap = from;
        from = to;
        to = swap;
    }
    if (from != at)
        memcpy(at, from, count * sizeof *at);
    return SG_OK;
}

/* Where std::lower_bound finds an arc by label and weight. */
static uint32_t lower_bound(const sg_arc *at, uint32_t count, const sg_arc *arc)
{
    uint32_t first = 0;
    while (count > 0) {
        uint32_t half = count / 2;
        const sg_arc *middle = at + first + half;
        if (middle->label < arc->label ||
            (middle->label == arc->label && compare_weights(middle->weight, arc->weight) < 0)) {
            first += half + 1;
            count -= half + 1;
        }
        else
            count = half;
    }
    return first;
}

/* Distances over epsilon arcs, the least ones. `w->closure` gets the states that are reached. */
static int close_tropical(sg_work *w, uint32_t start)
{
    uint64_t steps = 0;
    w->closure.n = w->stack.n = 0;
    PUSH(w->stack, start);
    w->distance.at[start] = 0;
    w->distance_epoch.at[start] = w->epoch;
    w->path_word.at[start] = SG_NONE;
    while (w->stack.n) {
        uint32_t s = w->stack.at[--w->stack.n], k;
        sg_node node = w->nodes.at[s];
        for (k = 0; k < node.count; k++) {
            const sg_arc *arc = &w->arcs.at[node.begin + k];
            float distance;
            if (arc->label != EPSILON)
                continue;
            distance = w->distance.at[s] + arc->weight;
            if (w->distance_epoch.at[arc->target] != w->epoch) {
                w->distance_epoch.at[arc->target] = w->epoch;
                PUSH(w->closure, arc->target);
            }
            else if (!(distance < w->distance.at[arc->target]))
                continue;
            w->distance.at[arc->target] = distance;
            w->path_word.at[arc->target] = arc->word != SG_NONE ? arc->word : w->path_word.at[s];
            PUSH(w->stack, arc->target);
            if (++steps > 1000 + (uint64_t)w->closure.n * w->closure.n)
                return SG_EPSILON_CYCLE;
        }
    }
    return SG_OK;
}

/* The same in the semiring of logarithms: sums over paths, in topological order. */
static int close_log(sg_work *w, uint32_t start)
{
    uint32_t i, k;
    w->closure.n = w->stack.n = w->order.n = 0;
    PUSH(w->stack, start);
    w->distance_epoch.at[start] = w->epoch;
    while (w->stack.n) { /* depth first; the high bit marks a state whose arcs are done */
        uint32_t s = w->stack.at[--w->stack.n];
        if (s & 0x80000000u) {
            PUSH(w->order, s & 0x7FFFFFFFu);
            continue;
        }
        PUSH(w->stack, s | 0x80000000u);
        for (k = 0; k < w->nodes.at[s].count; k++) {
            const sg_arc *arc = &w->arcs.at[w->nodes.at[s].begin + k];
            if (arc->label != EPSILON || w->distance_epoch.at[arc->target] == w->epoch)
                continue;
            w->distance_epoch.at[arc->target] = w->epoch;
            PUSH(w->closure, arc->target);
            PUSH(w->stack, arc->target);
        }
    }
    for (i = 0; i < w->order.n; i++) {
        w->distance.at[w->order.at[i]] = FLT_MAX;
        w->path_word.at[w->order.at[i]] = SG_NONE;
    }
    w->distance.at[start] = 0;
    for (i = w->order.n; i-- > 0;) {
        uint32_t s = w->order.at[i];
        for (k = 0; k < w->nodes.at[s].count; k++) {
            const sg_arc *arc = &w->arcs.at[w->nodes.at[s].begin + k];
            if (arc->label != EPSILON)
                continue;
            w->distance.at[arc->target] =
                log_sum(w->distance.at[arc->target], w->distance.at[s] + arc->weight);
            if (arc->word != SG_NONE)
                w->path_word.at[arc->target] = arc->word;
            else if (w->path_word.at[s] != SG_NONE)
                w->path_word.at[arc->target] = w->path_word.at[s];
        }
    }
    return SG_OK;
}

static int insert_arc(sg_work *w, const sg_model *m, sg_arc arc)
{
    uint32_t offset = lower_bound(w->list.at, w->list.n, &arc);
    sg_arc *known = w->list.at + offset;
    if (offset < w->list.n && known->label == arc.label && known->target == arc.target) {
        if (m->normalize)
            known->weight = log_sum(known->weight, arc.weight);
        else if (arc.weight < known->weight)
            *known = arc;
        return SG_OK;
    }
    RESERVE(w->list, (uint64_t)w->list.n + 1);
    memmove(w->list.at + offset + 1, w->list.at + offset,
            (w->list.n - offset) * sizeof *w->list.at);
    w->list.at[offset] = arc;
    w->list.n++;
    return SG_OK;
}

/* The arcs of a state without epsilon arcs, in `w->list`; its final weight. Arcs of the graph are
 * sorted by label and target, so epsilon arcs come last. */
static int remove_epsilons(sg_work *w, const sg_model *m, uint32_t s, float *final_weight)
{
    sg_node node = w->nodes.at[s];
    uint32_t i, k;
    *final_weight = node.final_weight;
    w->list.n = 0;
    RESERVE(w->list, node.count);
    while (w->list.n < node.count && w->arcs.at[node.begin + w->list.n].label != EPSILON) {
        w->list.at[w->list.n] = w->arcs.at[node.begin + w->list.n];
        w->list.n++;
    }
    if (w->list.n == node.count)
        return SG_OK;
    if (++w->epoch == 0) {
        memset(w->distance_epoch.at, 0, w->distance_epoch.cap * sizeof(uint32_t));
        w->epoch = 1;
    }
    TRY(m->normalize ? close_log(w, s) : close_tropical(w, s));
    for (i = 1; i < w->closure.n; i++) {
        uint32_t item = w->closure.at[i];
        for (k = i; k > 0 && item < w->closure.at[k - 1]; k--)
            w->closure.at[k] = w->closure.at[k - 1];
        w->closure.at[k] = item;
    }
    for (i = 0; i < w->closure.n; i++) {
        uint32_t reached = w->closure.at[i];
        float distance = w->distance.at[reached], weight;
        node = w->nodes.at[reached];
        for (k = 0; k < node.count; k++) {
            sg_arc arc = w->arcs.at[node.begin + k];
            if (arc.label == EPSILON)
                break;
            arc.weight = distance + arc.weight;
            if (arc.word == SG_NONE)
                arc.word = w->path_word.at[reached];
            TRY(insert_arc(w, m, arc));
        }
        if (node.final_weight != INFINITY) {
            weight = distance + node.final_weight;
            if (*final_weight == INFINITY)
                *final_weight = weight;
            else if (m->normalize)
                *final_weight = log_sum(*final_weight, weight);
            else if (weight < *final_weight)
                *final_weight = weight;
        }
    }
    return SG_OK;
}

static int prepare_removal(sg_work *w)
{
    uint32_t n = w->nodes.n, old = w->distance_epoch.cap;
    RESERVE(w->distance, n);
    RESERVE(w->path_word, n);
    RESERVE(w->distance_epoch, n);
    if (w->distance_epoch.cap > old)
        memset(w->distance_epoch.at + old, 0, (w->distance_epoch.cap - old) * sizeof(uint32_t));
    return SG_OK;
}

#endif
