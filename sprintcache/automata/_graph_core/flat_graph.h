/* From pronunciations to allophone states: the graph without loops and skips. */
#ifndef SPRINTCACHE_GRAPH_FLAT_GRAPH_H
#define SPRINTCACHE_GRAPH_FLAT_GRAPH_H

#include <math.h>
#include <stdlib.h>

#include "groups.h"
#include "trimming.h"
#include "words.h"

static int flat_boundary(sg_work *w, uint32_t boundary, int phone_filter, uint32_t suffix,
                         int skip_filter, uint32_t node, uint32_t *state)
{
    map_entry *entry;
    TRY(map_entry_of(&w->flat_map, (uint64_t)boundary << 32 | suffix,
                     (uint64_t)node << 8 | (uint32_t)(skip_filter << 4 | phone_filter << 2),
                     &entry));
    if (entry->value == SG_NONE) {
        entry->value = w->flat_states.n;
        PUSH(w->flat_states, (flat_state){boundary, suffix, node, 0, (uint8_t)skip_filter,
                                          (uint8_t)phone_filter});
    }
    *state = entry->value;
    return SG_OK;
}

/* The state after the first arc of an allophone. */
static int flat_allophone(sg_work *w, const sg_model *m, uint32_t allophone, uint32_t suffix,
                          int skip_filter, uint32_t node, uint32_t *state)
{
    map_entry *entry;
    uint16_t arc;
    if (m->allophone_arcs[allophone] == 1)
        return flat_boundary(w, m->allophone_to[allophone], 0, suffix, skip_filter, node, state);
    TRY(map_entry_of(&w->flat_map, (uint64_t)allophone << 32 | suffix,
                     (uint64_t)node << 8 | (uint32_t)(skip_filter << 4 | 1), &entry));
    if (entry->value == SG_NONE) {
        entry->value = w->flat_states.n;
        for (arc = 1; arc < m->allophone_arcs[allophone]; arc++)
            PUSH(w->flat_states,
                 (flat_state){allophone, suffix, node, arc, (uint8_t)skip_filter, 0});
    }
    *state = entry->value;
    return SG_OK;
}

static uint32_t label_of(const sg_model *m, uint32_t allophone, uint32_t arc)
{
    return allophone | arc / m->allophone_repetitions[allophone] << SG_STATE_SHIFT;
}

static int add_candidates(sg_work *w, const sg_model *m, uint32_t boundary, uint32_t phone,
                          uint32_t next, int is_last, uint32_t word)
{
    uint32_t k, slot = sg_find(&m->candidates, sg_candidate_key(boundary, phone, next, is_last));
    if (slot == SG_NONE)
        return SG_OK;
    for (k = m->candidate_begin[slot]; k < m->candidate_begin[slot + 1]; k++) {
        uint32_t allophone = m->candidate_allophones[k];
        PUSH(w->candidates, (candidate){(uint64_t)allophone << 32 | word, allophone, word});
    }
    return SG_OK;
}

/* Allophones of a phone that fit between a boundary state and what may follow. */
static int find_candidates(sg_work *w, const sg_model *m, uint32_t boundary, uint32_t phone,
                           uint32_t suffix, uint32_t node, uint32_t word)
{
    int is_last = suffix == END;
    uint32_t k;
    TRY(add_candidates(w, m, boundary, phone, 0, is_last, word));
    if (!is_last)
        return add_candidates(w, m, boundary, phone, m->suffix_phone[suffix], 0, word);
    for (k = 0; k < w->word_nodes.at[node].next_count; k++) {
        uint32_t next = w->next_phones.at[w->word_nodes.at[node].next_begin + k];
        TRY(add_candidates(w, m, boundary, phone, next, 1, word));
    }
    return SG_OK;
}

SORT_BY_ORDER(sort_candidates, candidate, 48)

/* Arcs between words: skipped words, then words by phone, allophone, pronunciation. */
static int expand_word_start(sg_work *w, const sg_model *m, flat_state from)
{
    word_node node = w->word_nodes.at[from.node];
    uint32_t k, i, target;
    if (from.skip_filter != 1 && from.phone_filter != 1)
        for (k = 0; k < node.skips_count; k++) {
            TRY(flat_boundary(w, from.item, 2, INITIAL, 2, w->skips.at[node.skips_begin + k],
                              &target));
            PUSH(w->flat_arcs, (sg_arc){target, EPSILON, 0, SG_NONE});
        }
    for (k = 0; k < node.words_count;) {
        uint32_t phone = w->words.at[node.words_begin + k].phone;
        w->candidates.n = 0;
        for (; k < node.words_count && w->words.at[node.words_begin + k].phone == phone; k++) {
            const sg_word *word = &w->words.at[node.words_begin + k];
            if (phone != NO_PHONE)
                TRY(find_candidates(w, m, from.item, phone, word->suffix, word->target,
                                    node.words_begin + k));
            else if (m->boundary_link[from.item] != SG_NONE) {
                TRY(flat_boundary(w, m->boundary_link[from.item], 0, INITIAL, 0, word->target,
                                  &target));
                PUSH(w->flat_arcs,
                     (sg_arc){target, WORD_END, word->weight, node.words_begin + k});
            }
        }
        sort_candidates(w->candidates.at, w->candidates.n);
        for (i = 0; i < w->candidates.n; i++) {
            candidate item = w->candidates.at[i];
            const sg_word *word = &w->words.at[item.word];
            TRY(flat_allophone(w, m, item.allophone, word->suffix, 0, word->target, &target));
            PUSH(w->flat_arcs, (sg_arc){target, label_of(m, item.allophone, 0), word->weight,
                                        item.word});
        }
    }
    return SG_OK;
}

/* Arcs inside a word. A skipped word after it may be passed together with a phone. */
static int expand_inside_word(sg_work *w, const sg_model *m, flat_state from)
{
    word_node node = w->word_nodes.at[from.node];
    int is_end = from.suffix == END;
    uint32_t next = is_end ? INITIAL : m->suffix_next[from.suffix], i, target;
    uint32_t num_skips = from.skip_filter ? 0 : node.skips_count, variant;
    int alone = from.skip_filter == 1 || node.words_count ||
                w->lemma_nodes.at[node.node].is_final;
    w->candidates.n = 0;
    for (variant = !alone; variant <= num_skips; variant++) {
        uint32_t node_after = variant ? w->skips.at[node.skips_begin + variant - 1] : from.node;
        if (!is_end) {
            TRY(find_candidates(w, m, from.item, m->suffix_phone[from.suffix], next, node_after,
                                variant));
            continue;
        }
        if (m->boundary_link[from.item] == SG_NONE)
            return SG_OK;
        TRY(flat_boundary(w, m->boundary_link[from.item], 0, INITIAL, !variant, node_after,
                          &target));
        PUSH(w->flat_arcs, (sg_arc){target, WORD_END, 0, SG_NONE});
    }
    sort_candidates(w->candidates.at, w->candidates.n);
    for (i = 0; i < w->candidates.n; i++) {
        candidate item = w->candidates.at[i];
        uint32_t node_after = item.word ? w->skips.at[node.skips_begin + item.word - 1] : from.node;
        TRY(flat_allophone(w, m, item.allophone, next, !item.word, node_after, &target));
        PUSH(w->flat_arcs, (sg_arc){target, label_of(m, item.allophone, 0), 0, SG_NONE});
    }
    return SG_OK;
}

static int expand_flat(sg_work *w, const sg_model *m)
{
    uint32_t s, target;
    w->flat_states.n = w->flat_nodes.n = w->flat_arcs.n = 0;
    TRY(map_clear(&w->flat_map));
    TRY(flat_boundary(w, m->initial_boundary, 0, INITIAL, 0, 0, &target));
    for (s = 0; s < w->flat_states.n; s++) {
        flat_state from = w->flat_states.at[s];
        uint32_t begin = w->flat_arcs.n;
        float final_weight = INFINITY;
        if (from.arc) {
            uint16_t num_arcs = m->allophone_arcs[from.item];
            if (from.arc + 1 < num_arcs)
                target = s + 1;
            else
                TRY(flat_boundary(w, m->allophone_to[from.item], 1, from.suffix,
                                  from.skip_filter, from.node, &target));
            PUSH(w->flat_arcs,
                 (sg_arc){target, label_of(m, from.item, from.arc), 0, SG_NONE});
        }
        else if (from.suffix == INITIAL) {
            const lemma_node *node =
                &w->lemma_nodes.at[w->word_nodes.at[from.node].node];
            if (node->is_final && m->boundary_final[from.item])
                final_weight = node->out_weight;
            TRY(expand_word_start(w, m, from));
        }
        else
            TRY(expand_inside_word(w, m, from));
        PUSH(w->flat_nodes, (sg_node){begin, w->flat_arcs.n - begin, final_weight});
    }
    return SG_OK;
}

/* Which words a state of the flat graph may belong to. */
static int group_flat_states(sg_work *w)
{
    uint32_t s, k, group;
    RESERVE(w->flat_group, w->flat_nodes.n);
    RESERVE(w->stack, (uint64_t)w->flat_nodes.n);
    for (s = 0; s < w->flat_nodes.n; s++)
        w->flat_group.at[s] = SG_NONE;
    w->stack.n = 0;
    for (s = 0; s < w->flat_nodes.n; s++) {
        if (w->flat_states.at[s].arc || w->flat_states.at[s].suffix != INITIAL)
            continue;
        PUSH(w->stack, s);
        while (w->stack.n) {
            uint32_t from = w->stack.at[--w->stack.n];
            sg_node node = w->flat_nodes.at[from];
            for (k = 0; k < node.count; k++) {
                sg_arc arc = w->flat_arcs.at[node.begin + k];
                uint32_t target = arc.target;
                if (arc.label >= WORD_END)
                    continue;
                group = w->flat_group.at[from];
                if (arc.word != SG_NONE)
                    TRY(group_of_set(w, &w->words.at[arc.word].lemma, 1, &group));
                TRY(group_union(w, w->flat_group.at[target], group, &group));
                if (group != w->flat_group.at[target]) {
                    w->flat_group.at[target] = group;
                    PUSH(w->stack, target);
                }
            }
        }
    }
    return SG_OK;
}

static int build_flat(sg_work *w, const sg_model *m)
{
    int are_all_alive;
    TRY(expand_flat(w, m));
    TRY(mark_alive(w, w->flat_nodes.at, w->flat_nodes.n, w->flat_arcs.at, w->flat_arcs.n,
                   &are_all_alive));
    if (!w->alive.at[0])
        return SG_NO_ALLOPHONES;
    if (!are_all_alive)
        drop_dead_arcs(w->alive.at, w->flat_nodes.at, w->flat_nodes.n, w->flat_arcs.at);
    if (m->topology != SG_RNA && !w->flat_nodes.at[0].count)
        return SG_NO_EDGES; /* nothing but the end: Sprint crashes */
    return group_flat_states(w);
}

static int group_of_arc(sg_work *w, uint32_t from, const sg_arc *arc, uint32_t *group)
{
    if (arc->word != SG_NONE)
        return group_of_set(w, &w->words.at[arc->word].lemma, 1, group);
    *group = w->flat_group.at[from];
    return SG_OK;
}

#endif
