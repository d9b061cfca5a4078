/* From tokens to a graph of lemmas. */
#ifndef SPRINTCACHE_GRAPH_LEMMAS_H
#define SPRINTCACHE_GRAPH_LEMMAS_H

#include <float.h>
#include <string.h>

#include "scores.h"
#include "work.h"

static int new_lemma_node(sg_work *w, int32_t token, uint32_t *node)
{
    *node = w->lemma_nodes.n;
    PUSH(w->lemma_nodes, (lemma_node){0, 0, token, 0, 0, 1});
    return SG_OK;
}

static int node_at(sg_work *w, uint32_t token, uint32_t *node)
{
    if (w->node_of_token.at[token] == SG_NONE) {
        TRY(new_lemma_node(w, (int32_t)token, node));
        w->node_of_token.at[token] = *node;
    }
    *node = w->node_of_token.at[token];
    return SG_OK;
}

static int add_edges(sg_work *w, uint32_t node)
{
    uint32_t i;
    w->lemma_nodes.at[node].begin = w->lemma_edges.n;
    w->lemma_nodes.at[node].count = w->new_edges.n;
    for (i = 0; i < w->new_edges.n; i++)
        PUSH(w->lemma_edges, w->new_edges.at[i]);
    return SG_OK;
}

static int parse_token(sg_work *w, const sg_model *m, const int32_t *tokens, uint32_t num_tokens,
                       uint32_t token, uint32_t *rightmost)
{
    uint32_t node = w->node_of_token.at[token], target, tree_node = 0, i, k, end;
    w->matches.n = w->match_ends.n = 0;
    w->new_edges.n = 0;
    for (end = token;; end++) {
        if (m->node_lemmas_begin[tree_node + 1] > m->node_lemmas_begin[tree_node]) {
            PUSH(w->matches, tree_node);
            PUSH(w->match_ends, end);
        }
        if (end >= num_tokens || tokens[end] < 0)
            break;
        tree_node = sg_find(&m->tree, (uint64_t)tree_node << 32 | (uint32_t)tokens[end]);
        if (tree_node == SG_NONE)
            break;
    }
    for (i = w->matches.n; i-- > 0;) { /* the longest first */
        tree_node = w->matches.at[i];
        end = w->match_ends.at[i];
        TRY(node_at(w, end, &target));
        if (end > *rightmost)
            *rightmost = end;
        for (k = m->node_lemmas_begin[tree_node]; k < m->node_lemmas_begin[tree_node + 1]; k++) {
            uint32_t lemma = m->node_lemmas[k];
            if (m->silence_repetitions || lemma != m->silence_lemma || end > token) {
                PUSH(w->new_edges, (lemma_edge){lemma, target});
                continue;
            }
            TRY(new_lemma_node(w, (int32_t)token, &target));
            TRY(add_edges(w, target));
            w->lemma_nodes.at[target].is_final = token == num_tokens;
            PUSH(w->new_edges, (lemma_edge){lemma, target});
            target = node;
        }
    }
    if (token == *rightmost && token < num_tokens) {
        TRY(node_at(w, token + 1, &target));
        *rightmost = token + 1;
        PUSH(w->new_edges, (lemma_edge){m->unknown_lemma, target});
    }
    return add_edges(w, node);
}

static int parse(sg_work *w, const sg_model *m, const int32_t *tokens, uint32_t num_tokens)
{
    uint32_t token, rightmost = 0, node;
    w->lemma_nodes.n = w->lemma_edges.n = 0;
    RESERVE(w->node_of_token, (uint64_t)num_tokens + 1);
    for (token = 0; token <= num_tokens; token++)
        w->node_of_token.at[token] = SG_NONE;
    TRY(node_at(w, 0, &node));
    for (token = 0; token <= num_tokens; token++)
        if (w->node_of_token.at[token] != SG_NONE)
            TRY(parse_token(w, m, tokens, num_tokens, token, &rightmost));
    w->lemma_nodes.at[w->node_of_token.at[num_tokens]].is_final = 1;
    return SG_OK;
}

static void mark_alive_lemma_nodes(sg_work *w)
{
    uint32_t i, k;
    int changed = 1;
    for (i = 0; i < w->lemma_nodes.n; i++)
        w->lemma_nodes.at[i].is_alive = w->lemma_nodes.at[i].is_final;
    while (changed) {
        changed = 0;
        for (i = w->lemma_nodes.n; i-- > 0;) {
            lemma_node *node = &w->lemma_nodes.at[i];
            for (k = 0; k < node->count && !node->is_alive; k++)
                if (w->lemma_nodes.at[w->lemma_edges.at[node->begin + k].target].is_alive)
                    node->is_alive = 1, changed = 1;
        }
    }
}

static int edge_less(const lemma_edge *a, const lemma_edge *b)
{
    return a->lemma != b->lemma ? a->lemma < b->lemma : a->target < b->target;
}

static void sort_edges(lemma_edge *edges, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        lemma_edge edge = edges[i];
        uint32_t k = i;
        for (; k > 0 && edge_less(&edge, &edges[k - 1]); k--)
            edges[k] = edges[k - 1];
        edges[k] = edge;
    }
}

/* Trims the graph of lemmas, removes skipped words, and weights every way out alike. */
static int normalize_lemmas(sg_work *w)
{
    uint32_t i, k, node, num_nodes = w->lemma_nodes.n;
    float sum;
    mark_alive_lemma_nodes(w);
    for (node = num_nodes; node-- > 0;) {
        uint32_t source = node, low, first;
        int is_final = 0;
        if (!w->lemma_nodes.at[node].is_alive)
            continue;
        w->new_edges.n = 0;
        w->stack.n = 0;
        for (;;) { /* a skipped word is the only one of its node, so this is one chain */
            lemma_node *at = &w->lemma_nodes.at[source];
            uint32_t next = SG_NONE;
            PUSH(w->stack, source);
            is_final |= at->is_final;
            for (k = 0; k < at->count; k++)
                if (w->lemma_edges.at[at->begin + k].lemma == SG_NONE)
                    next = w->lemma_edges.at[at->begin + k].target;
            if (next == SG_NONE || !w->lemma_nodes.at[next].is_alive)
                break;
            source = next;
        }
        for (i = 0; i < w->stack.n; i++) {
            lemma_node at = w->lemma_nodes.at[w->stack.at[i]];
            first = w->new_edges.n;
            for (k = 0; k < at.count; k++) {
                lemma_edge edge = w->lemma_edges.at[at.begin + k];
                if (edge.lemma != SG_NONE && w->lemma_nodes.at[edge.target].is_alive)
                    PUSH(w->new_edges, edge);
            }
            sort_edges(w->new_edges.at + first, w->new_edges.n - first);
            for (k = first; i > 0 && k < w->new_edges.n; k++) {
                lemma_edge edge = w->new_edges.at[k];
                for (low = 0; low < k && w->new_edges.at[low].lemma < edge.lemma;)
                    low++;
                memmove(w->new_edges.at + low + 1, w->new_edges.at + low,
                        (k - low) * sizeof edge);
                w->new_edges.at[low] = edge;
            }
        }
        TRY(add_edges(w, node));
        sum = FLT_MAX;
        for (k = 0; k < w->new_edges.n + (uint32_t)is_final; k++)
            sum = log_sum(sum, 0);
        w->lemma_nodes.at[node].is_final = (uint8_t)is_final;
        w->lemma_nodes.at[node].out_weight = -sum;
    }
    return SG_OK;
}

#endif
