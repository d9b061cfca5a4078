/* RNA topology: the flat graph, numbered when a state is first mentioned. */
#ifndef SPRINTCACHE_GRAPH_RNA_H
#define SPRINTCACHE_GRAPH_RNA_H

#include "flat_graph.h"

static int build_rna(sg_work *w)
{
    uint32_t s, k, n = w->flat_nodes.n, next = 0;
    RESERVE(w->number, n);
    RESERVE(w->position, n);
    for (s = 0; s < n; s++)
        w->number.at[s] = SG_NONE, w->position.at[s] = 0;
    w->walk.n = w->nodes.n = w->arcs.n = 0;
    RESERVE(w->nodes, n);
    PUSH(w->walk, 0);
    w->number.at[0] = next++;
    while (w->walk.n) {
        s = w->walk.at[--w->walk.n];
        if (w->position.at[s])
            continue;
        w->position.at[s] = 1;
        sg_node node = w->flat_nodes.at[s];
        uint32_t begin = w->arcs.n;
        for (k = 0; k < node.count; k++) {
            sg_arc arc = w->flat_arcs.at[node.begin + k];
            if (w->number.at[arc.target] == SG_NONE)
                w->number.at[arc.target] = next++;
            if (!w->position.at[arc.target])
                PUSH(w->walk, arc.target);
            arc.target = w->number.at[arc.target];
            if (arc.label == WORD_END)
                arc.label = EPSILON;
            PUSH(w->arcs, arc);
        }
        w->nodes.at[w->number.at[s]] = (sg_node){begin, w->arcs.n - begin, node.final_weight};
    }
    w->nodes.n = next;
    w->initial = 0;
    RESERVE(w->group, next);
    for (s = 0; s < n; s++)
        if (w->number.at[s] != SG_NONE)
            w->group.at[w->number.at[s]] = w->flat_group.at[s];
    return SG_OK;
}

#endif
