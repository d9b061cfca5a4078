/* States from which a final state is reached. */
#ifndef SPRINTCACHE_GRAPH_TRIMMING_H
#define SPRINTCACHE_GRAPH_TRIMMING_H

#include <math.h>
#include <string.h>

#include "work.h"

/* Marks the states from which a final state is reached; `w->alive` is 1 for these. Most arcs lead to
 * higher states, so a few passes from the last state find all; else it follows arcs backwards. */
static int mark_alive(sg_work *w, const sg_node *nodes, uint32_t num_nodes, const sg_arc *arcs,
                      uint32_t num_arcs, int *are_all_alive)
{
    uint32_t s, k, total = 0, num_alive = 0, before, pass;
    RESERVE(w->alive, num_nodes);
    for (s = 0; s < num_nodes; s++)
        w->alive.at[s] = nodes[s].final_weight != INFINITY;
    for (pass = 0; pass < 4; pass++) {
        before = num_alive;
        for (s = num_nodes, num_alive = 0; s-- > 0;) {
            uint32_t is_alive = w->alive.at[s];
            for (k = 0; k < nodes[s].count && !is_alive; k++)
                is_alive = w->alive.at[arcs[nodes[s].begin + k].target];
            w->alive.at[s] = is_alive;
            num_alive += is_alive;
        }
        *are_all_alive = num_alive == num_nodes;
        if (*are_all_alive || num_alive == before)
            return SG_OK;
    }
    RESERVE(w->reverse_begin, (uint64_t)num_nodes + 1);
    RESERVE(w->reverse, num_arcs);
    RESERVE(w->stack, num_nodes);
    memset(w->reverse_begin.at, 0, ((size_t)num_nodes + 1) * sizeof(uint32_t));
    for (s = 0; s < num_nodes; s++)
        for (k = 0; k < nodes[s].count; k++)
            w->reverse_begin.at[arcs[nodes[s].begin + k].target]++;
    for (s = 0; s <= num_nodes; s++) {
        total += w->reverse_begin.at[s];
        w->reverse_begin.at[s] = total;
    }
    for (s = 0; s < num_nodes; s++)
        for (k = 0; k < nodes[s].count; k++)
            w->reverse.at[--w->reverse_begin.at[arcs[nodes[s].begin + k].target]] = s;
    w->stack.n = 0;
    for (s = 0; s < num_nodes; s++) {
        w->alive.at[s] = nodes[s].final_weight != INFINITY;
        if (w->alive.at[s])
            w->stack.at[w->stack.n++] = s;
    }
    while (w->stack.n) {
        s = w->stack.at[--w->stack.n];
        for (k = w->reverse_begin.at[s]; k < w->reverse_begin.at[s + 1]; k++) {
            uint32_t source = w->reverse.at[k];
            if (!w->alive.at[source]) {
                w->alive.at[source] = 1;
                w->stack.at[w->stack.n++] = source;
            }
        }
    }
    return SG_OK;
}

static void drop_dead_arcs(const uint32_t *alive, sg_node *nodes, uint32_t num_nodes, sg_arc *arcs)
{
    uint32_t s, k, kept;
    for (s = 0; s < num_nodes; s++) {
        sg_arc *at = arcs + nodes[s].begin;
        for (k = kept = 0; alive[s] && k < nodes[s].count; k++)
            if (alive[at[k].target])
                at[kept++] = at[k];
        nodes[s].count = kept;
    }
}

#endif
