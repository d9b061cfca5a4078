/* HMM topology: loops, skips and their weights. */
#ifndef SPRINTCACHE_GRAPH_HMM_H
#define SPRINTCACHE_GRAPH_HMM_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "flat_graph.h"
#include "scores.h"

enum { MAY_LOOP = 1, MAY_FORWARD = 2, MAY_SKIP = 4, MAY_EXIT = 8, MAY_END = 16 };
#define MASK_START (MAY_FORWARD | MAY_SKIP | MAY_EXIT | MAY_END)
#define MASK_EMIT (MASK_START | MAY_LOOP)
#define NO_SET UINT32_MAX

static uint32_t set_of(const sg_model *m, uint32_t label)
{
    if (label == m->silence_state)
        return SG_SET_SILENCE;
    if (!m->weight_sets)
        return SG_SET_PHONE;
    return SG_SET_SILENCE +
           m->weight_sets[(size_t)(label >> SG_STATE_SHIFT) * m->num_allophones +
                          (label & SG_ALLOPHONE_MASK)];
}

static int hmm_state_of(sg_work *w, uint8_t mask, uint32_t label, uint32_t context, uint32_t set,
                        uint32_t right, uint32_t *state)
{
    uint32_t s;
    float final_weight = INFINITY;
    for (s = w->hmm_head.at[right]; s != SG_NONE; s = w->hmm_states.at[s].next) {
        const hmm_state *known = &w->hmm_states.at[s];
        if (known->label == label && known->mask == mask && known->set == set) {
            *state = s;
            return SG_OK;
        }
    }
    *state = w->hmm_states.n;
    PUSH(w->hmm_states,
         (hmm_state){right, label, context, w->hmm_head.at[right], SG_NONE, set, mask});
    w->hmm_head.at[right] = *state;
    if (mask & MAY_END)
        final_weight = w->flat_nodes.at[right].final_weight;
    PUSH(w->nodes, (sg_node){0, 0, final_weight});
    PUSH(w->walk, *state);
    return SG_OK;
}

static float hmm_weight(const sg_model *m, uint32_t set, int kind)
{
    return set == NO_SET ? 0 : m->sets[set][kind];
}

/* Weight of going forward or skipping from a state. */
static float leaving_weight(const sg_model *m, const hmm_state *from, int kind)
{
    if (!m->corrected || from->label != EPSILON)
        return hmm_weight(m, from->set, kind);
    if (from->context == EPSILON) /* nothing comes before: no forward, and skip of a phone */
        return kind == SG_FORWARD ? 0
                                  : hmm_weight(m, m->weight_sets ? SG_SET_SILENCE : SG_SET_PHONE,
                                               kind);
    return hmm_weight(m, set_of(m, from->context), kind);
}

static int mention_emission(sg_work *w, const sg_model *m, uint32_t context, uint32_t flat,
                            const sg_arc *arc, uint32_t *state)
{
    uint32_t group;
    TRY(hmm_state_of(w, MASK_EMIT, arc->label, context, set_of(m, arc->label), arc->target,
                     state));
    TRY(group_of_arc(w, flat, arc, &group));
    return group_union(w, w->hmm_states.at[*state].group, group, &w->hmm_states.at[*state].group);
}

typedef struct {
    uint32_t labels_in, labels_out, ends_out, epsilons_out;
} flat_degree;

static int expand_hmm_arc(sg_work *w, const sg_model *m, const hmm_state *from,
                          const flat_degree *degrees, const sg_arc *arc)
{
    uint32_t target;
    if (arc->label == EPSILON) {
        TRY(hmm_state_of(w, from->mask & ~MAY_LOOP, EPSILON, from->label, from->set, arc->target,
                         &target));
        PUSH(w->arcs, (sg_arc){target, EPSILON, arc->weight, arc->word});
        return SG_OK;
    }
    if (arc->label == WORD_END) {
        if (!(from->mask & MAY_EXIT))
            return SG_OK;
        TRY(hmm_state_of(w, MASK_START, EPSILON, from->label, SG_SET_ENTRY, arc->target, &target));
        PUSH(w->arcs, (sg_arc){target, EPSILON,
                               arc->weight + hmm_weight(m, from->set, SG_EXIT), arc->word});
        return SG_OK;
    }
    if (from->mask & MAY_FORWARD) {
        float weight = arc->weight + leaving_weight(m, from, SG_FORWARD);
        TRY(mention_emission(w, m, from->label, from->right, arc, &target));
        PUSH(w->arcs, (sg_arc){target, arc->label, weight, arc->word});
    }
    if (from->mask & MAY_SKIP) {
        const flat_degree *degree = &degrees[arc->target];
        float weight = leaving_weight(m, from, SG_SKIP);
        if (!(degree->labels_out + degree->epsilons_out) ||
            compare_weights(weight, FLT_MAX) >= 0)
            return SG_OK;
        weight = arc->weight + weight;
        if (degree->labels_out == 1 && !degree->ends_out && !degree->epsilons_out &&
            w->flat_arcs.at[w->flat_nodes.at[arc->target].begin].word == SG_NONE) {
            sg_arc next = w->flat_arcs.at[w->flat_nodes.at[arc->target].begin];
            TRY(mention_emission(w, m, from->label, arc->target, &next, &target));
            PUSH(w->arcs, (sg_arc){target, next.label, weight + next.weight, arc->word});
        }
        else {
            TRY(hmm_state_of(w, MAY_FORWARD, EPSILON, from->label, NO_SET, arc->target, &target));
            PUSH(w->arcs, (sg_arc){target, EPSILON, weight, arc->word});
        }
    }
    return SG_OK;
}

static int expand_hmm_state(sg_work *w, const sg_model *m, uint32_t s, const flat_degree *degrees)
{
    hmm_state from = w->hmm_states.at[s];
    const flat_degree *degree = &degrees[from.right];
    sg_node right = w->flat_nodes.at[from.right];
    uint32_t k, target, begin = w->arcs.n;
    if (from.mask & MAY_LOOP)
        PUSH(w->arcs, (sg_arc){s, from.label, hmm_weight(m, from.set, SG_LOOP), SG_NONE});
    if (from.label != EPSILON && degree->labels_in > 1 &&
        (degree->labels_out > 1 || degree->ends_out > 1)) {
        TRY(hmm_state_of(w, MAY_FORWARD, EPSILON, from.label, NO_SET, from.right, &target));
        PUSH(w->arcs,
             (sg_arc){target, EPSILON, hmm_weight(m, from.set, SG_FORWARD), SG_NONE});
        TRY(hmm_state_of(w, MAY_SKIP | MAY_EXIT, EPSILON, from.label, from.set, from.right,
                         &target));
        PUSH(w->arcs, (sg_arc){target, EPSILON, 0, SG_NONE});
    }
    else
        for (k = 0; k < right.count; k++) {
            sg_arc arc = w->flat_arcs.at[right.begin + k];
            TRY(expand_hmm_arc(w, m, &from, degrees, &arc));
        }
    w->nodes.at[s].begin = begin;
    w->nodes.at[s].count = w->arcs.n - begin;
    return SG_OK;
}

static int build_hmm(sg_work *w, const sg_model *m)
{
    uint32_t s, k, n = w->flat_nodes.n, kept;
    int are_all_alive;
    flat_degree *degrees;
    w->hmm_states.n = w->nodes.n = w->arcs.n = w->walk.n = 0;
    RESERVE(w->hmm_head, n);
    RESERVE(w->counts, (uint64_t)n * 4);
    degrees = (flat_degree *)w->counts.at;
    memset(degrees, 0, n * sizeof *degrees);
    for (s = 0; s < n; s++) {
        w->hmm_head.at[s] = SG_NONE;
        for (k = 0; k < w->flat_nodes.at[s].count; k++) {
            const sg_arc *arc = &w->flat_arcs.at[w->flat_nodes.at[s].begin + k];
            if (arc->label == EPSILON)
                degrees[s].epsilons_out++;
            else if (arc->label == WORD_END)
                degrees[s].ends_out++;
            else {
                degrees[s].labels_out++;
                degrees[arc->target].labels_in++;
            }
        }
    }
    TRY(hmm_state_of(w, MASK_START, EPSILON, EPSILON, SG_SET_ENTRY, 0, &w->initial));
    while (w->walk.n)
        TRY(expand_hmm_state(w, m, w->walk.at[--w->walk.n], degrees));
    for (s = 0; s + 1 < w->nodes.n; s++) { /* not of the last state, as in Sprint */
        sg_arc *at = w->arcs.at + w->nodes.at[s].begin;
        for (k = kept = 0; k < w->nodes.at[s].count; k++)
            if (at[k].weight != FLT_MAX && at[k].weight != -FLT_MAX)
                at[kept++] = at[k];
        w->nodes.at[s].count = kept;
    }
    TRY(mark_alive(w, w->nodes.at, w->nodes.n, w->arcs.at, w->arcs.n, &are_all_alive));
    if (!w->alive.at[w->initial])
        return SG_NO_PATH;
    if (!are_all_alive)
        drop_dead_arcs(w->alive.at, w->nodes.at, w->nodes.n, w->arcs.at);
    RESERVE(w->group, w->nodes.n);
    for (s = 0; s < w->nodes.n; s++)
        w->group.at[s] = w->hmm_states.at[s].group;
    return SG_OK;
}

#endif
