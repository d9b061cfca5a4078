/* See _graph_core.h. The order of states and arcs follows Sprint (RASR: Bliss/OrthographicParser,
 * Fsa/tCompose, Am/TransitionModel, Fsa/tRemoveEpsilons, Nn/AllophoneStateFsaExporter). */
#include <math.h>

#include "_graph_core/blanks.h"
#include "_graph_core/edges.h"
#include "_graph_core/epsilons.h"
#include "_graph_core/hmm.h"
#include "_graph_core/rna.h"

/* The graph without epsilon arcs: `final_nodes` and `final_arcs`, breadth first. */
static int finish(sg_work *w, const sg_model *m, uint32_t *detail)
{
    uint32_t s, k, n = w->nodes.n, head = 0, final_state = SG_NONE;
    float final_weight;
    TRY(prepare_removal(w));
    w->final_nodes.n = w->final_arcs.n = w->walk.n = 0;
    RESERVE(w->final_nodes, n);
    w->final_nodes.n = n;
    w->blank_begin = n;
    for (s = 0; s < n; s++) {
        w->final_nodes.at[s] = (sg_node){SG_NONE, 0, INFINITY};
        TRY(sort_arcs(w, w->arcs.at + w->nodes.at[s].begin, w->nodes.at[s].count));
    }
    PUSH(w->walk, w->initial);
    while (head < w->walk.n) {
        s = w->walk.at[head++];
        if (w->final_nodes.at[s].begin != SG_NONE)
            continue;
        TRY(remove_epsilons(w, m, s, &final_weight));
        w->final_nodes.at[s].final_weight = final_weight;
        if (m->topology == SG_CTC) {
            TRY(add_ctc_blanks(w, m, s, &final_state, final_weight != INFINITY, detail));
        }
        else {
            uint32_t begin = w->final_arcs.n;
            for (k = 0; k < w->list.n; k++) {
                sg_arc arc = w->list.at[k];
                if (m->topology == SG_RNA && arc.target == s) {
                    *detail = arc.label;
                    return SG_LABEL_LOOP;
                }
                PUSH(w->final_arcs, arc);
                if (w->final_nodes.at[arc.target].begin == SG_NONE)
                    PUSH(w->walk, arc.target);
            }
            if (m->topology == SG_RNA)
                PUSH(w->final_arcs, (sg_arc){s, m->blank_state, 0, SG_NONE});
            w->final_nodes.at[s].begin = begin;
            w->final_nodes.at[s].count = w->final_arcs.n - begin;
        }
    }
    for (s = 0; s < w->final_nodes.n; s++)
        if (w->final_nodes.at[s].begin != SG_NONE)
            TRY(sort_arcs(w, w->final_arcs.at + w->final_nodes.at[s].begin,
                          w->final_nodes.at[s].count));
    return SG_OK;
}

int sg_accept(sg_work *w, const sg_model *m, const int32_t *tokens, uint32_t num_tokens,
              uint32_t *detail)
{
    *detail = 0;
    if (!w->group_begin.n) {
        TRY(map_clear(&w->group_map));
        PUSH(w->group_begin, 0);
    }
    TRY(parse(w, m, tokens, num_tokens));
    if (m->normalize)
        TRY(normalize_lemmas(w));
    TRY(pronounce(w, m, detail));
    TRY(build_flat(w, m));
    if (m->topology == SG_RNA)
        TRY(build_rna(w));
    else
        TRY(build_hmm(w, m));
    return finish(w, m, detail);
}

int sg_append_acceptor(sg_work *w, sg_acceptor *acceptor)
{
    uint32_t s, k, n = 0, total = 0;
    RESERVE(w->number, w->final_nodes.n);
    for (s = 0; s < w->final_nodes.n; s++)
        if (w->final_nodes.at[s].begin != SG_NONE) {
            w->number.at[s] = n++;
            total += w->final_nodes.at[s].count;
        }
    RESERVE(w->batch_nodes, (uint64_t)w->batch_nodes.n + n);
    RESERVE(w->batch_arcs, (uint64_t)w->batch_arcs.n + total);
    RESERVE(w->batch_words, (uint64_t)w->batch_words.n + w->words.n);
    total = 0;
    for (s = 0; s < w->final_nodes.n; s++) {
        sg_node node = w->final_nodes.at[s];
        if (node.begin == SG_NONE)
            continue;
        w->batch_nodes.at[w->batch_nodes.n++] = (sg_node){total, node.count, node.final_weight};
        total += node.count;
        for (k = 0; k < node.count; k++) {
            sg_arc arc = w->final_arcs.at[node.begin + k];
            arc.target = w->number.at[arc.target];
            if (arc.word != SG_NONE)
                arc.word += w->batch_words.n;
            w->batch_arcs.at[w->batch_arcs.n++] = arc;
        }
    }
    for (k = 0; k < w->words.n; k++)
        w->batch_words.at[w->batch_words.n++] = w->words.at[k];
    *acceptor = (sg_acceptor){n, total, w->number.at[w->initial]};
    return SG_OK;
}

void sg_batch_clear(sg_work *w)
{
    w->edges.n = 0;
    w->group_begin.n = 0;
    w->group_lemmas.n = 0;
    w->group_map.n = 0;
    w->batch_nodes.n = w->batch_arcs.n = w->batch_words.n = 0;
}

void sg_batch_acceptors(const sg_work *w, const sg_node **nodes, const sg_arc **arcs,
                        const sg_word **words)
{
    *nodes = w->batch_nodes.at;
    *arcs = w->batch_arcs.at;
    *words = w->batch_words.at;
}

size_t sg_batch_size(const sg_work *w)
{
    return w->edges.n;
}

const sg_edge *sg_batch_edges(const sg_work *w)
{
    return w->edges.at;
}

size_t sg_batch_groups(const sg_work *w, const uint32_t **begin, const uint32_t **lemmas)
{
    *begin = w->group_begin.at;
    *lemmas = w->group_lemmas.at;
    return w->group_begin.n ? w->group_begin.n - 1 : 0;
}
