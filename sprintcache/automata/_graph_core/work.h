/* Memory of a thread for one sentence after the other, and the batch of results. */
#ifndef SPRINTCACHE_GRAPH_WORK_H
#define SPRINTCACHE_GRAPH_WORK_H

#include <stdlib.h>

#include "hashing.h"

#define EPSILON UINT32_MAX
#define WORD_END (UINT32_MAX - 1)
#define INITIAL UINT32_MAX /* suffix: between words */
#define END 0u             /* suffix: before the word end */
#define NO_PHONE UINT32_MAX

typedef struct {
    uint32_t lemma, target; /* lemma SG_NONE: the word is skipped */
} lemma_edge;

typedef struct {
    uint32_t begin, count;
    int32_t token;
    float out_weight; /* of every edge and of being final, when sequences are normalized */
    uint8_t is_final, is_alive;
} lemma_node;

typedef struct {
    uint32_t node, was_skip; /* state of the composition with pronunciations */
    uint32_t words_begin, words_count, skips_begin, skips_count, next_begin, next_count;
    uint8_t is_alive;
} word_node;

/* A state of the flat graph: a boundary between phones, or a position in an allophone. */
typedef struct {
    uint32_t item;   /* boundary state; or allophone */
    uint32_t suffix; /* phones that remain; INITIAL between words */
    uint32_t node;   /* word node after the word */
    uint16_t arc;    /* 0: boundary; else how many arcs of the allophone are done */
    uint8_t skip_filter, phone_filter;
} flat_state;

typedef struct {
    uint32_t right, label, context, next, group;
    uint32_t set;
    uint8_t mask;
} hmm_state;

typedef struct {
    uint64_t order;
    uint32_t allophone, word;
} candidate;

typedef struct {
    uint64_t key;
    uint32_t edge;
} sort_item;

struct sg_work {
    /* words */
    vec_u32 node_of_token, matches, match_ends;
    VEC(lemma_node) lemma_nodes;
    VEC(lemma_edge) lemma_edges, new_edges;
    VEC(word_node) word_nodes;
    vec_u32 word_node_of, skips, next_phones, stack, seen;
    VEC(sg_word) words, batch_words;
    VEC(candidate) candidates;
    uint32_t next_epoch;
    /* flat graph */
    pair_map flat_map;
    VEC(flat_state) flat_states;
    VEC(sg_node) flat_nodes;
    vec_arc flat_arcs;
    vec_u32 flat_group;
    /* graph with epsilon arcs, then without */
    VEC(hmm_state) hmm_states;
    vec_u32 hmm_head;
    VEC(sg_node) nodes, final_nodes, batch_nodes;
    vec_arc arcs, final_arcs, batch_arcs;
    vec_u32 group; /* of each state of the graph */
    uint32_t initial;
    /* removal of epsilon arcs */
    VEC(float) distance;
    vec_u32 distance_epoch, closure, path_word, order;
    uint32_t epoch;
    vec_arc list, sorted;
    /* reverse graph, numbering */
    vec_u32 reverse_begin, reverse, alive, number, walk;
    vec_u32 position, heap;
    VEC(sg_edge) walked, edges;
    vec_u32 edge_begin, counts;
    VEC(sort_item) items, items2;
    VEC(sg_node) finals;
    uint32_t num_walked;
    /* groups of lemmas */
    pair_map group_map;
    vec_u32 group_begin, group_lemmas, merged;
    uint32_t blank_begin; /* states from here on are blanks */
};

sg_work *sg_work_new(void)
{
    return calloc(1, sizeof(sg_work));
}

void sg_work_free(sg_work *w)
{
    if (!w)
        return;
    void *arrays[] = {
        w->node_of_token.at, w->matches.at, w->match_ends.at, w->lemma_nodes.at,
        w->lemma_edges.at, w->new_edges.at, w->word_nodes.at, w->word_node_of.at, w->skips.at,
        w->next_phones.at, w->stack.at, w->seen.at, w->words.at, w->candidates.at,
        w->flat_map.at, w->flat_states.at, w->flat_nodes.at, w->flat_arcs.at, w->flat_group.at,
        w->hmm_states.at, w->hmm_head.at, w->nodes.at, w->final_nodes.at, w->batch_nodes.at, w->batch_arcs.at, w->batch_words.at, w->arcs.at,
        w->final_arcs.at, w->group.at, w->distance.at, w->distance_epoch.at, w->closure.at,
        w->path_word.at, w->order.at, w->list.at, w->sorted.at, w->reverse_begin.at,
        w->reverse.at, w->alive.at, w->number.at, w->walk.at, w->position.at, w->heap.at,
        w->walked.at, w->edges.at, w->edge_begin.at, w->counts.at, w->items.at, w->items2.at,
        w->finals.at, w->group_map.at, w->group_begin.at, w->group_lemmas.at, w->merged.at,
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(w);
}

#endif
