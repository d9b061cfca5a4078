/* Numbers of states in the export. */
#ifndef SPRINTCACHE_GRAPH_NUMBERING_H
#define SPRINTCACHE_GRAPH_NUMBERING_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "blanks.h"

static void heap_push(vec_u32 *heap, uint32_t item)
{
    uint32_t i = heap->n++;
    while (i > 0 && heap->at[(i - 1) / 2] > item) {
        heap->at[i] = heap->at[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->at[i] = item;
}

static uint32_t heap_pop(vec_u32 *heap)
{
    uint32_t top = heap->at[0], item = heap->at[--heap->n], i = 0, child;
    while ((child = 2 * i + 1) < heap->n) {
        if (child + 1 < heap->n && heap->at[child + 1] < heap->at[child])
            child++;
        if (heap->at[child] >= item)
            break;
        heap->at[i] = heap->at[child];
        i = child;
    }
    heap->at[i] = item;
    return top;
}

/* Numbers states when they are first mentioned; the one mentioned last is expanded next. */
static int walk_graph(sg_work *w, const sg_model *m, uint32_t *detail)
{
    uint32_t s, k, next = 0, n = w->final_nodes.n;
    RESERVE(w->number, n);
    RESERVE(w->edge_begin, (uint64_t)n * 2);
    for (s = 0; s < n; s++)
        w->number.at[s] = SG_NONE;
    memset(w->edge_begin.at, 0xFF, (size_t)n * 2 * sizeof(uint32_t));
    w->walk.n = w->walked.n = w->finals.n = 0;
    PUSH(w->walk, w->initial);
    w->number.at[w->initial] = next++;
    while (w->walk.n) {
        s = w->walk.at[--w->walk.n];
        uint32_t from = w->number.at[s];
        if (w->edge_begin.at[2 * from] != SG_NONE)
            continue;
        sg_node node = w->final_nodes.at[s];
        w->edge_begin.at[2 * from] = w->walked.n;
        for (k = 0; k < node.count; k++) {
            const sg_arc *arc = &w->final_arcs.at[node.begin + k];
            uint32_t to = w->number.at[arc->target], group, emission;
            if (to == SG_NONE) {
                to = next++;
                w->number.at[arc->target] = to;
            }
            if (w->edge_begin.at[2 * to] == SG_NONE)
                PUSH(w->walk, arc->target);
            if (arc->weight >= FLT_MAX)
                continue;
            TRY(emission_of(m, arc->label, &emission, detail));
            group = arc->target < w->blank_begin ? w->group.at[arc->target] : SG_NONE;
            if (m->topology == SG_RNA && arc->label == m->blank_state && to == from)
                group = SG_NONE;
            PUSH(w->walked, (sg_edge){from, to, emission, arc->label, group, arc->weight});
        }
        w->edge_begin.at[2 * from + 1] = w->walked.n;
        if (node.final_weight != INFINITY)
            PUSH(w->finals, (sg_node){from, 0, node.final_weight});
    }
    w->num_walked = next;
    return SG_OK;
}

static int number_topologically(sg_work *w)
{
    uint32_t i, k, n = w->num_walked, next = 0;
    RESERVE(w->counts, n);
    RESERVE(w->position, n);
    RESERVE(w->heap, n);
    memset(w->counts.at, 0, n * sizeof(uint32_t));
    for (i = 0; i < w->walked.n; i++)
        if (w->walked.at[i].from != w->walked.at[i].to)
            w->counts.at[w->walked.at[i].to]++;
    w->heap.n = 0;
    for (i = 0; i < n; i++)
        if (!w->counts.at[i])
            heap_push(&w->heap, i);
    while (w->heap.n) {
        uint32_t s = heap_pop(&w->heap);
        w->position.at[s] = next++;
        for (k = w->edge_begin.at[2 * s]; k < w->edge_begin.at[2 * s + 1]; k++) {
            uint32_t to = w->walked.at[k].to;
            if (to != s && !--w->counts.at[to])
                heap_push(&w->heap, to);
        }
    }
    if (next < n || w->position.at[0] != 0)
        return SG_CYCLE;
    for (i = 0; i < w->walked.n; i++) {
        w->walked.at[i].from = w->position.at[w->walked.at[i].from];
        w->walked.at[i].to = w->position.at[w->walked.at[i].to];
    }
    return SG_OK;
}

#endif
