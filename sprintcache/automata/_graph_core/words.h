/* From lemmas to pronunciations. */
#ifndef SPRINTCACHE_GRAPH_WORDS_H
#define SPRINTCACHE_GRAPH_WORDS_H

#include <stdlib.h>

#include "lemmas.h"

static int word_node_of(sg_work *w, uint32_t node, uint32_t was_skip, uint32_t *index)
{
    uint32_t *known = &w->word_node_of.at[node * 2 + was_skip];
    if (*known == SG_NONE) {
        *known = w->word_nodes.n;
        PUSH(w->word_nodes, (word_node){node, was_skip, 0, 0, 0, 0, 0, 0, 0});
    }
    *index = *known;
    return SG_OK;
}

static int expand_word_node(sg_work *w, const sg_model *m, uint32_t index)
{
    uint32_t node = w->word_nodes.at[index].node, k, p, target, begin = w->words.n;
    lemma_node from = w->lemma_nodes.at[node];
    w->word_nodes.at[index].words_begin = begin;
    w->word_nodes.at[index].skips_begin = w->skips.n;
    for (k = 0; k < from.count; k++) {
        lemma_edge edge = w->lemma_edges.at[from.begin + k];
        int32_t end = w->lemma_nodes.at[edge.target].token;
        if (edge.lemma == SG_NONE) {
            TRY(word_node_of(w, edge.target, 1, &target));
            PUSH(w->skips, target);
            continue;
        }
        for (p = m->lemma_begin[edge.lemma]; p < m->lemma_begin[edge.lemma + 1]; p++) {
            uint32_t suffix = m->pron_suffix[p];
            sg_word word;
            TRY(word_node_of(w, edge.target, 0, &target));
            word.pronunciation = p;
            word.lemma = edge.lemma;
            word.phone = suffix ? m->suffix_phone[suffix] : NO_PHONE;
            word.suffix = suffix ? m->suffix_next[suffix] : INITIAL;
            word.target = target;
            word.weight = from.out_weight + m->pron_score[p];
            word.begin = from.token;
            word.end = end;
            PUSH(w->words, word);
        }
    }
    w->word_nodes.at[index].words_count = w->words.n - begin;
    w->word_nodes.at[index].skips_count = w->skips.n - w->word_nodes.at[index].skips_begin;
    return SG_OK;
}

static void mark_alive_word_nodes(sg_work *w)
{
    uint32_t i, k;
    int changed = 1;
    for (i = 0; i < w->word_nodes.n; i++)
        w->word_nodes.at[i].is_alive = w->lemma_nodes.at[w->word_nodes.at[i].node].is_final;
    while (changed) {
        changed = 0;
        for (i = w->word_nodes.n; i-- > 0;) {
            word_node *node = &w->word_nodes.at[i];
            for (k = 0; k < node->words_count && !node->is_alive; k++)
                if (w->word_nodes.at[w->words.at[node->words_begin + k].target].is_alive)
                    node->is_alive = 1, changed = 1;
            for (k = 0; k < node->skips_count && !node->is_alive; k++)
                if (w->word_nodes.at[w->skips.at[node->skips_begin + k]].is_alive)
                    node->is_alive = 1, changed = 1;
        }
    }
}

SORT_BY_ORDER(sort_words, sg_word, 24)

/* Removes words that lead nowhere and sorts the others by phone and pronunciation. */
static void trim_words(sg_work *w)
{
    uint32_t i, k, kept;
    for (i = 0; i < w->word_nodes.n; i++) {
        word_node *node = &w->word_nodes.at[i];
        sg_word *words = w->words.at + node->words_begin;
        for (k = kept = 0; k < node->words_count; k++) {
            if (!w->word_nodes.at[words[k].target].is_alive)
                continue;
            words[kept] = words[k];
            /* pronunciations ascend with the lemmas; the number keeps equal ones in order */
            words[kept].order = kept;
            kept++;
        }
        node->words_count = kept;
        for (k = 1; k < kept && words[k - 1].pronunciation <= words[k].pronunciation; k++) {
        }
        if (k < kept) { /* edges of one lemma to several nodes, and homographs out of order */
            for (k = 0; k < kept; k++)
                words[k].order |= (uint64_t)words[k].pronunciation << 32;
            sort_words(words, kept);
            for (k = 0; k < kept; k++)
                words[k].order = k;
        }
        for (k = 1; k < kept && words[k - 1].phone <= words[k].phone; k++) {
        }
        if (k < kept) {
            for (k = 0; k < kept; k++)
                words[k].order |= (uint64_t)words[k].phone << 32;
            sort_words(words, kept);
        }
        for (k = kept = 0; k < node->skips_count; k++)
            if (w->word_nodes.at[w->skips.at[node->skips_begin + k]].is_alive)
                w->skips.at[node->skips_begin + kept++] = w->skips.at[node->skips_begin + k];
        node->skips_count = kept;
    }
}

/* The phones that may follow at a node: 0 is "no phone". */
static int collect_next_phones(sg_work *w, uint32_t index)
{
    uint32_t begin = w->next_phones.n, i, k;
    w->stack.n = w->seen.n = 0;
    PUSH(w->stack, index);
    PUSH(w->seen, index);
    while (w->stack.n) {
        word_node node = w->word_nodes.at[w->stack.at[--w->stack.n]];
        for (k = 0; k < node.words_count + node.skips_count; k++) {
            uint32_t target;
            if (k < node.words_count) {
                const sg_word *word = &w->words.at[node.words_begin + k];
                if (word->phone != NO_PHONE) {
                    for (i = begin; i < w->next_phones.n; i++)
                        if (w->next_phones.at[i] == word->phone)
                            break;
                    if (i == w->next_phones.n)
                        PUSH(w->next_phones, word->phone);
                    continue;
                }
                target = word->target;
            }
            else
                target = w->skips.at[node.skips_begin + k - node.words_count];
            for (i = 0; i < w->seen.n; i++)
                if (w->seen.at[i] == target)
                    break;
            if (i == w->seen.n) {
                PUSH(w->seen, target);
                PUSH(w->stack, target);
            }
        }
    }
    w->word_nodes.at[index].next_begin = begin;
    w->word_nodes.at[index].next_count = w->next_phones.n - begin;
    return SG_OK;
}

static int pronounce(sg_work *w, const sg_model *m, uint32_t *detail)
{
    uint32_t i, index;
    int32_t furthest = 0;
    w->word_nodes.n = w->words.n = w->skips.n = w->next_phones.n = 0;
    RESERVE(w->word_node_of, (uint64_t)w->lemma_nodes.n * 2);
    for (i = 0; i < w->lemma_nodes.n * 2; i++)
        w->word_node_of.at[i] = SG_NONE;
    TRY(word_node_of(w, w->node_of_token.at[0], 0, &index));
    for (i = 0; i < w->word_nodes.n; i++)
        TRY(expand_word_node(w, m, i));
    mark_alive_word_nodes(w);
    if (!w->word_nodes.at[0].is_alive) {
        for (i = 0; i < w->word_nodes.n; i++) {
            int32_t token = w->lemma_nodes.at[w->word_nodes.at[i].node].token;
            furthest = token > furthest ? token : furthest;
        }
        *detail = (uint32_t)furthest;
        return SG_NO_PRONUNCIATION;
    }
    trim_words(w);
    for (i = 0; i < w->word_nodes.n; i++)
        TRY(collect_next_phones(w, i));
    return SG_OK;
}

#endif
