/* Blanks of the topologies CTC and RNA. */
#ifndef SPRINTCACHE_GRAPH_BLANKS_H
#define SPRINTCACHE_GRAPH_BLANKS_H

#include <float.h>
#include <math.h>

#include "work.h"

static int emission_of(const sg_model *m, uint32_t label, uint32_t *emission, uint32_t *detail)
{
    *emission = m->labels[(size_t)(label >> SG_STATE_SHIFT) * m->num_allophones +
                          (label & SG_ALLOPHONE_MASK)];
    if (*emission == SG_NONE) {
        *detail = label;
        return SG_NO_LABEL;
    }
    return SG_OK;
}

static int add_ctc_blanks(sg_work *w, const sg_model *m, uint32_t s, uint32_t *final_state,
                          int is_final, uint32_t *detail)
{
    uint32_t k, count = w->list.n, loop = SG_NONE, loop_emission = 0, emission;
    uint32_t begin;
    for (k = 0; k < count; k++)
        if (w->list.at[k].target == s && w->list.at[k].label != m->blank_state) {
            if (loop != SG_NONE) {
                *detail = w->list.at[k].label;
                return SG_TWO_LOOPS;
            }
            loop = w->list.at[k].label;
        }
    for (k = 0; k < count; k++) {
        sg_arc arc = w->list.at[k];
        uint32_t blank = w->final_nodes.n;
        PUSH(w->walk, arc.target);
        if (arc.target == s || arc.label == m->blank_state || arc.weight >= FLT_MAX)
            continue;
        PUSH(w->final_nodes, (sg_node){w->final_arcs.n, 2, INFINITY});
        PUSH(w->final_arcs, (sg_arc){blank, m->blank_state, 0, SG_NONE});
        PUSH(w->final_arcs, arc);
        if (loop != SG_NONE) {
            TRY(emission_of(m, loop, &loop_emission, detail));
            TRY(emission_of(m, arc.label, &emission, detail));
        }
        if (loop != SG_NONE && emission == loop_emission)
            w->list.at[k] = (sg_arc){blank, m->blank_state, 0, SG_NONE};
        else
            PUSH(w->list, (sg_arc){blank, m->blank_state, 0, SG_NONE});
    }
    if (is_final) {
        if (*final_state == SG_NONE) {
            *final_state = w->final_nodes.n;
            PUSH(w->final_nodes, (sg_node){w->final_arcs.n, 1, 0});
            PUSH(w->final_arcs, (sg_arc){*final_state, m->blank_state, 0, SG_NONE});
        }
        PUSH(w->list, (sg_arc){*final_state, m->blank_state, 0, SG_NONE});
    }
    begin = w->final_arcs.n;
    for (k = 0; k < w->list.n; k++)
        PUSH(w->final_arcs, w->list.at[k]);
    w->final_nodes.at[s].begin = begin;
    w->final_nodes.at[s].count = w->list.n;
    return SG_OK;
}

#endif
