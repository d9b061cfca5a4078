/* Edges of the export: their order, and the batch they are appended to. */
#ifndef SPRINTCACHE_GRAPH_EDGES_H
#define SPRINTCACHE_GRAPH_EDGES_H

#include <math.h>
#include <string.h>

#include "groups.h"
#include "numbering.h"
#include "scores.h"
#include "standard_sort.h"

/* Sorts items by (to - from, to), the two halves of the key, stably. */
static int radix_sort(sg_work *w, uint32_t num_states)
{
    uint32_t i, n = w->items.n, total, pass;
    RESERVE(w->items2, n);
    RESERVE(w->counts, (uint64_t)num_states + 1);
    for (pass = 0; pass < 2; pass++) {
        sort_item *from = pass ? w->items2.at : w->items.at;
        sort_item *to = pass ? w->items.at : w->items2.at;
        int shift = pass ? 32 : 0;
        memset(w->counts.at, 0, num_states * sizeof(uint32_t));
        for (i = 0; i < n; i++)
            w->counts.at[(uint32_t)(from[i].key >> shift)]++;
        for (i = total = 0; i < num_states; i++) {
            uint32_t count = w->counts.at[i];
            w->counts.at[i] = total;
            total += count;
        }
        for (i = 0; i < n; i++)
            to[w->counts.at[(uint32_t)(from[i].key >> shift)]++] = from[i];
    }
    return SG_OK;
}

static int sort_edges_of_export(sg_work *w)
{
    uint32_t i, run = 1;
    int unstable = 0;
    RESERVE(w->items, w->walked.n);
    w->items.n = w->walked.n;
    for (i = 0; i < w->walked.n; i++) {
        const sg_edge *edge = &w->walked.at[i];
        w->items.at[i] = (sort_item){(uint64_t)(edge->to - edge->from) << 32 | edge->to, i};
    }
    TRY(radix_sort(w, w->num_walked));
    /* order matters where edges between two states differ, or three or more are summed */
    for (i = 1; i < w->items.n && !unstable; i++) {
        run = w->items.at[i].key == w->items.at[i - 1].key ? run + 1 : 1;
        unstable = run > 2 || (run == 2 && w->walked.at[w->items.at[i].edge].label !=
                                               w->walked.at[w->items.at[i - 1].edge].label);
    }
    if (unstable) {
        for (i = 0; i < w->walked.n; i++) {
            const sg_edge *edge = &w->walked.at[i];
            w->items.at[i] = (sort_item){(uint64_t)(edge->to - edge->from) << 32 | edge->to, i};
        }
        standard_sort(w->items.at, w->items.n);
    }
    return SG_OK;
}

static int append_edges(sg_work *w, uint32_t *num_states)
{
    uint32_t i, k, first = w->edges.n, n = w->num_walked, last_state, stop;
    RESERVE(w->edges, (uint64_t)first + w->items.n);
    for (i = 0; i < w->items.n; i++) {
        const sg_edge *edge = &w->walked.at[w->items.at[i].edge];
        if (w->edges.n > first) {
            sg_edge *before = &w->edges.at[w->edges.n - 1];
            if (before->from == edge->from && before->to == edge->to &&
                before->label == edge->label) {
                before->weight = score_sum(before->weight, edge->weight);
                TRY(group_union(w, before->group, edge->group, &before->group));
                continue;
            }
        }
        w->edges.at[w->edges.n++] = *edge;
    }
    last_state = w->position.at[n - 1];
    *num_states = n;
    if (w->finals.n == 1 && w->position.at[w->finals.at[0].begin] == last_state &&
        w->finals.at[0].final_weight == 0)
        return SG_OK;
    RESERVE(w->distance, n);
    for (i = 0; i < n; i++)
        w->distance.at[i] = INFINITY;
    for (i = 0; i < w->finals.n; i++)
        w->distance.at[w->position.at[w->finals.at[i].begin]] = w->finals.at[i].final_weight;
    stop = w->edges.n;
    for (k = first; k < stop; k++) {
        sg_edge edge = w->edges.at[k];
        if (w->distance.at[edge.to] == INFINITY)
            continue;
        edge.weight += w->distance.at[edge.to];
        edge.to = n;
        PUSH(w->edges, edge);
    }
    *num_states = n + 1;
    return SG_OK;
}

int sg_export(sg_work *w, const sg_model *m, uint32_t *num_states, uint32_t *detail)
{
    TRY(walk_graph(w, m, detail));
    if (!w->walked.n)
        return SG_NO_EDGES;
    TRY(number_topologically(w));
    TRY(sort_edges_of_export(w));
    return append_edges(w, num_states);
}

#endif
