/* See _graph_core.h. The order of states and arcs follows Sprint (RASR: Bliss/OrthographicParser,
 * Fsa/tCompose, Am/TransitionModel, Fsa/tRemoveEpsilons, Nn/AllophoneStateFsaExporter). */
#include "_graph_core.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON UINT32_MAX
#define WORD_END (UINT32_MAX - 1)
#define INITIAL UINT32_MAX /* suffix: between words */
#define END 0u             /* suffix: before the word end */
#define NO_PHONE UINT32_MAX
#define MOST_ITEMS (1u << 26)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- growing arrays */

#define VEC(type) struct { type *at; uint32_t n, cap; }

static int grow(void **at, uint32_t *cap, uint64_t need, size_t size)
{
    uint64_t next = *cap ? (uint64_t)*cap * 2 : 64;
    void *moved;
    if (need > MOST_ITEMS)
        return SG_TOO_LARGE;
    while (next < need)
        next *= 2;
    moved = realloc(*at, next * size);
    if (!moved)
        return SG_NO_MEMORY;
    *at = moved;
    *cap = (uint32_t)next;
    return SG_OK;
}

#define RESERVE(vec, need)                                                                        \
    do {                                                                                          \
        if (UNLIKELY((uint64_t)(need) > (vec).cap)) {                                             \
            int code_ = grow((void **)&(vec).at, &(vec).cap, (need), sizeof *(vec).at);           \
            if (code_)                                                                            \
                return code_;                                                                     \
        }                                                                                         \
    } while (0)
#define PUSH(vec, ...)                                                                            \
    do {                                                                                          \
        RESERVE(vec, (uint64_t)(vec).n + 1);                                                      \
        (vec).at[(vec).n++] = __VA_ARGS__;                                                        \
    } while (0)
#define TRY(call)                                                                                 \
    do {                                                                                          \
        int code_ = (call);                                                                       \
        if (UNLIKELY(code_))                                                                      \
            return code_;                                                                         \
    } while (0)

typedef VEC(uint32_t) vec_u32;
typedef VEC(sg_arc) vec_arc;

/* ---- hashing */

uint64_t sg_hash(uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9E3779B97F4A7C15u;
    return key ^ key >> 29;
}

uint32_t sg_find(const sg_table *table, uint64_t key)
{
    uint64_t i = sg_hash(key) & table->mask;
    while (table->values[i] != SG_NONE && table->keys[i] != key)
        i = (i + 1) & table->mask;
    return table->values[i];
}

uint64_t sg_candidate_key(uint32_t boundary, uint32_t phone, uint32_t next, int is_last)
{
    return (uint64_t)boundary << 33 | (uint64_t)phone << 17 | (uint64_t)next << 1 | !!is_last;
}

/* A table that is cleared by a new epoch. */
typedef struct {
    uint64_t first, second;
    uint32_t epoch, value;
} map_entry;

typedef struct {
    map_entry *at;
    uint32_t epoch, n;
    uint64_t mask;
} pair_map;

static int map_clear(pair_map *map)
{
    map->n = 0;
    if (!map->at) {
        map->at = calloc(1024, sizeof *map->at);
        if (!map->at)
            return SG_NO_MEMORY;
        map->mask = 1023;
    }
    if (++map->epoch == 0) {
        memset(map->at, 0, (map->mask + 1) * sizeof *map->at);
        map->epoch = 1;
    }
    return SG_OK;
}

static uint64_t pair_hash(uint64_t first, uint64_t second)
{
    return sg_hash(first * 0xD6E8FEB86659FD93u + second);
}

static int map_grow(pair_map *map)
{
    uint64_t mask = map->mask * 2 + 1, i, k;
    map_entry *at = calloc(mask + 1, sizeof *at);
    if (!at)
        return SG_NO_MEMORY;
    for (k = 0; k <= map->mask; k++) {
        if (map->at[k].epoch != map->epoch)
            continue;
        i = pair_hash(map->at[k].first, map->at[k].second) & mask;
        while (at[i].epoch == map->epoch)
            i = (i + 1) & mask;
        at[i] = map->at[k];
    }
    free(map->at);
    map->at = at;
    map->mask = mask;
    return SG_OK;
}

/* The entry of a key; a new one has the value SG_NONE. */
static int map_entry_of(pair_map *map, uint64_t first, uint64_t second, map_entry **entry)
{
    uint64_t i;
    if ((uint64_t)(map->n + 1) * 2 > map->mask)
        TRY(map_grow(map));
    i = pair_hash(first, second) & map->mask;
    while (map->at[i].epoch == map->epoch) {
        if (map->at[i].first == first && map->at[i].second == second) {
            *entry = &map->at[i];
            return SG_OK;
        }
        i = (i + 1) & map->mask;
    }
    map->n++;
    map->at[i] = (map_entry){first, second, map->epoch, SG_NONE};
    *entry = &map->at[i];
    return SG_OK;
}

/* ---- working memory */

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

/* ---- scores */

int sg_pronunciation_scores(float *scores, const double *values, const uint8_t *are_scores,
                            size_t count, int normalize)
{
    size_t i;
    float sum = 0;
    for (i = 0; i < count; i++) {
        float weight = are_scores[i] ? (float)exp(-values[i]) : (float)values[i];
        scores[i] = (float)-log((double)weight);
    }
    if (!normalize || !count)
        return 1;
    for (i = count; i-- > 0;)
        sum += expf(-scores[i]);
    if (!(sum > 0))
        return 0;
    for (i = 0; i < count; i++)
        scores[i] = -logf(expf(-scores[i]) / sum);
    return 1;
}

/* -log of the sum of two probabilities, as the semiring of logarithms adds them. */
static float log_sum(float a, float b)
{
    float low, high;
    if (a == FLT_MAX)
        return b;
    if (b == FLT_MAX)
        return a;
    low = a < b ? a : b;
    high = a < b ? b : a;
    return low - log1pf(expf(low - high));
}

/* The same for the edges of the export. */
static float score_sum(float a, float b)
{
    float difference = a - b;
    if (isnan(difference))
        return INFINITY;
    return (a < b ? a : b) - log1pf(expf(-fabsf(difference)));
}

/* Compares weights; neighbors in float32 are equal. */
static int compare_weights(float a, float b)
{
    int32_t x, y;
    int64_t distance;
    if (a == b)
        return 0;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    distance = (int64_t)(x < 0 ? INT32_MIN - x : x) - (int64_t)(y < 0 ? INT32_MIN - y : y);
    if (distance >= -1 && distance <= 1)
        return 0;
    return a < b ? -1 : 1;
}

/* ---- groups of lemmas that an edge may belong to */

static int group_of_set(sg_work *w, const uint32_t *lemmas, uint32_t count, uint32_t *group)
{
    map_entry *entry;
    uint64_t hash = count;
    uint32_t i, attempt;
    for (i = 0; i < count; i++)
        hash = sg_hash(hash ^ ((uint64_t)lemmas[i] + 1) * 0x9E3779B97F4A7C15u);
    for (attempt = 0;; attempt++) {
        TRY(map_entry_of(&w->group_map, hash, (uint64_t)count << 32 | attempt, &entry));
        if (entry->value == SG_NONE)
            break;
        if (!memcmp(w->group_lemmas.at + w->group_begin.at[entry->value], lemmas,
                    count * sizeof *lemmas)) {
            *group = entry->value;
            return SG_OK;
        }
    }
    *group = w->group_begin.n - 1;
    entry->value = *group;
    RESERVE(w->group_lemmas, (uint64_t)w->group_lemmas.n + count);
    for (i = 0; i < count; i++)
        w->group_lemmas.at[w->group_lemmas.n++] = lemmas[i];
    PUSH(w->group_begin, w->group_lemmas.n);
    return SG_OK;
}

static int group_union(sg_work *w, uint32_t a, uint32_t b, uint32_t *group)
{
    uint32_t i, j, stop_i, stop_j;
    if (a == b || b == SG_NONE) {
        *group = a;
        return SG_OK;
    }
    if (a == SG_NONE) {
        *group = b;
        return SG_OK;
    }
    i = w->group_begin.at[a];
    stop_i = w->group_begin.at[a + 1];
    j = w->group_begin.at[b];
    stop_j = w->group_begin.at[b + 1];
    w->merged.n = 0;
    while (i < stop_i || j < stop_j) {
        uint32_t x = i < stop_i ? w->group_lemmas.at[i] : SG_NONE;
        uint32_t y = j < stop_j ? w->group_lemmas.at[j] : SG_NONE;
        PUSH(w->merged, x < y ? x : y);
        i += x <= y;
        j += y <= x;
    }
    return group_of_set(w, w->merged.at, w->merged.n, group);
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

/* ---- from tokens to lemmas */

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

/* ---- from lemmas to pronunciations */

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

static int compare_words(const void *a, const void *b)
{
    const sg_word *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
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

static void sort_words(sg_word *words, uint32_t count)
{
    if (count > 24) {
        qsort(words, count, sizeof *words, compare_words);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        sg_word word = words[i];
        uint32_t k = i;
        for (; k > 0 && word.order < words[k - 1].order; k--)
            words[k] = words[k - 1];
        words[k] = word;
    }
}

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

/* ---- from pronunciations to allophone states */

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

static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void sort_candidates(candidate *at, uint32_t count)
{
    if (count > 48) {
        qsort(at, count, sizeof *at, compare_candidates);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        candidate item = at[i];
        uint32_t k = i;
        for (; k > 0 && item.order < at[k - 1].order; k--)
            at[k] = at[k - 1];
        at[k] = item;
    }
}

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

/* ---- trimming */

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

/* ---- hmm: loops, skips, weights */

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

/* ---- rna: the flat graph, numbered when a state is first mentioned */

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

/* ---- removal of epsilon arcs */

static int arc_less(const sg_arc *a, const sg_arc *b)
{
    return a->label != b->label ? a->label < b->label : a->target < b->target;
}

/* Sorts arcs by label and target, stably. */
static int sort_arcs(sg_work *w, sg_arc *at, uint32_t count)
{
    uint32_t width, i, k;
    sg_arc *from = at, *to;
    if (count <= 32) {
        for (i = 1; i < count; i++) {
            sg_arc arc = at[i];
            for (k = i; k > 0 && arc_less(&arc, &at[k - 1]); k--)
                at[k] = at[k - 1];
            at[k] = arc;
        }
        return SG_OK;
    }
    RESERVE(w->sorted, count);
    to = w->sorted.at;
    for (width = 1; width < count; width *= 2) {
        for (i = 0; i < count; i += 2 * width) {
            uint32_t left = i, middle = i + width < count ? i + width : count;
            uint32_t right = middle, stop = middle + width < count ? middle + width : count;
            for (k = i; k < stop; k++)
                to[k] = left < middle && (right >= stop || !arc_less(&from[right], &from[left]))
                            ? from[left++]
                            : from[right++];
        }
        sg_arc *swap = from;
        from = to;
        to = swap;
    }
    if (from != at)
        memcpy(at, from, count * sizeof *at);
    return SG_OK;
}

/* Where std::lower_bound finds an arc by label and weight. */
static uint32_t lower_bound(const sg_arc *at, uint32_t count, const sg_arc *arc)
{
    uint32_t first = 0;
    while (count > 0) {
        uint32_t half = count / 2;
        const sg_arc *middle = at + first + half;
        if (middle->label < arc->label ||
            (middle->label == arc->label && compare_weights(middle->weight, arc->weight) < 0)) {
            first += half + 1;
            count -= half + 1;
        }
        else
            count = half;
    }
    return first;
}

/* Distances over epsilon arcs, the least ones. `w->closure` gets the states that are reached. */
static int close_tropical(sg_work *w, uint32_t start)
{
    uint64_t steps = 0;
    w->closure.n = w->stack.n = 0;
    PUSH(w->stack, start);
    w->distance.at[start] = 0;
    w->distance_epoch.at[start] = w->epoch;
    w->path_word.at[start] = SG_NONE;
    while (w->stack.n) {
        uint32_t s = w->stack.at[--w->stack.n], k;
        sg_node node = w->nodes.at[s];
        for (k = 0; k < node.count; k++) {
            const sg_arc *arc = &w->arcs.at[node.begin + k];
            float distance;
            if (arc->label != EPSILON)
                continue;
            distance = w->distance.at[s] + arc->weight;
            if (w->distance_epoch.at[arc->target] != w->epoch) {
                w->distance_epoch.at[arc->target] = w->epoch;
                PUSH(w->closure, arc->target);
            }
            else if (!(distance < w->distance.at[arc->target]))
                continue;
            w->distance.at[arc->target] = distance;
            w->path_word.at[arc->target] = arc->word != SG_NONE ? arc->word : w->path_word.at[s];
            PUSH(w->stack, arc->target);
            if (++steps > 1000 + (uint64_t)w->closure.n * w->closure.n)
                return SG_EPSILON_CYCLE;
        }
    }
    return SG_OK;
}

/* The same in the semiring of logarithms: sums over paths, in topological order. */
static int close_log(sg_work *w, uint32_t start)
{
    uint32_t i, k;
    w->closure.n = w->stack.n = w->order.n = 0;
    PUSH(w->stack, start);
    w->distance_epoch.at[start] = w->epoch;
    while (w->stack.n) { /* depth first; the high bit marks a state whose arcs are done */
        uint32_t s = w->stack.at[--w->stack.n];
        if (s & 0x80000000u) {
            PUSH(w->order, s & 0x7FFFFFFFu);
            continue;
        }
        PUSH(w->stack, s | 0x80000000u);
        for (k = 0; k < w->nodes.at[s].count; k++) {
            const sg_arc *arc = &w->arcs.at[w->nodes.at[s].begin + k];
            if (arc->label != EPSILON || w->distance_epoch.at[arc->target] == w->epoch)
                continue;
            w->distance_epoch.at[arc->target] = w->epoch;
            PUSH(w->closure, arc->target);
            PUSH(w->stack, arc->target);
        }
    }
    for (i = 0; i < w->order.n; i++) {
        w->distance.at[w->order.at[i]] = FLT_MAX;
        w->path_word.at[w->order.at[i]] = SG_NONE;
    }
    w->distance.at[start] = 0;
    for (i = w->order.n; i-- > 0;) {
        uint32_t s = w->order.at[i];
        for (k = 0; k < w->nodes.at[s].count; k++) {
            const sg_arc *arc = &w->arcs.at[w->nodes.at[s].begin + k];
            if (arc->label != EPSILON)
                continue;
            w->distance.at[arc->target] =
                log_sum(w->distance.at[arc->target], w->distance.at[s] + arc->weight);
            if (arc->word != SG_NONE)
                w->path_word.at[arc->target] = arc->word;
            else if (w->path_word.at[s] != SG_NONE)
                w->path_word.at[arc->target] = w->path_word.at[s];
        }
    }
    return SG_OK;
}

static int insert_arc(sg_work *w, const sg_model *m, sg_arc arc)
{
    uint32_t offset = lower_bound(w->list.at, w->list.n, &arc);
    sg_arc *known = w->list.at + offset;
    if (offset < w->list.n && known->label == arc.label && known->target == arc.target) {
        if (m->normalize)
            known->weight = log_sum(known->weight, arc.weight);
        else if (arc.weight < known->weight)
            *known = arc;
        return SG_OK;
    }
    RESERVE(w->list, (uint64_t)w->list.n + 1);
    memmove(w->list.at + offset + 1, w->list.at + offset,
            (w->list.n - offset) * sizeof *w->list.at);
    w->list.at[offset] = arc;
    w->list.n++;
    return SG_OK;
}

/* The arcs of a state without epsilon arcs, in `w->list`; its final weight. Arcs of the graph are
 * sorted by label and target, so epsilon arcs come last. */
static int remove_epsilons(sg_work *w, const sg_model *m, uint32_t s, float *final_weight)
{
    sg_node node = w->nodes.at[s];
    uint32_t i, k;
    *final_weight = node.final_weight;
    w->list.n = 0;
    RESERVE(w->list, node.count);
    while (w->list.n < node.count && w->arcs.at[node.begin + w->list.n].label != EPSILON) {
        w->list.at[w->list.n] = w->arcs.at[node.begin + w->list.n];
        w->list.n++;
    }
    if (w->list.n == node.count)
        return SG_OK;
    if (++w->epoch == 0) {
        memset(w->distance_epoch.at, 0, w->distance_epoch.cap * sizeof(uint32_t));
        w->epoch = 1;
    }
    TRY(m->normalize ? close_log(w, s) : close_tropical(w, s));
    for (i = 1; i < w->closure.n; i++) {
        uint32_t item = w->closure.at[i];
        for (k = i; k > 0 && item < w->closure.at[k - 1]; k--)
            w->closure.at[k] = w->closure.at[k - 1];
        w->closure.at[k] = item;
    }
    for (i = 0; i < w->closure.n; i++) {
        uint32_t reached = w->closure.at[i];
        float distance = w->distance.at[reached], weight;
        node = w->nodes.at[reached];
        for (k = 0; k < node.count; k++) {
            sg_arc arc = w->arcs.at[node.begin + k];
            if (arc.label == EPSILON)
                break;
            arc.weight = distance + arc.weight;
            if (arc.word == SG_NONE)
                arc.word = w->path_word.at[reached];
            TRY(insert_arc(w, m, arc));
        }
        if (node.final_weight != INFINITY) {
            weight = distance + node.final_weight;
            if (*final_weight == INFINITY)
                *final_weight = weight;
            else if (m->normalize)
                *final_weight = log_sum(*final_weight, weight);
            else if (weight < *final_weight)
                *final_weight = weight;
        }
    }
    return SG_OK;
}

static int prepare_removal(sg_work *w)
{
    uint32_t n = w->nodes.n, old = w->distance_epoch.cap;
    RESERVE(w->distance, n);
    RESERVE(w->path_word, n);
    RESERVE(w->distance_epoch, n);
    if (w->distance_epoch.cap > old)
        memset(w->distance_epoch.at + old, 0, (w->distance_epoch.cap - old) * sizeof(uint32_t));
    return SG_OK;
}

/* ---- ctc and rna: blanks */

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

/* ---- numbering and sorting of the export */

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

/* libstdc++'s std::sort, whose order of equal elements shows: introsort with the median of three,
 * heap sort below a depth of 2 log2(n), insertion sort of the last 16. */

static void sift_down(sort_item *at, ptrdiff_t hole, ptrdiff_t length, sort_item value)
{
    ptrdiff_t top = hole, child = hole;
    while (child < (length - 1) / 2) {
        child = 2 * (child + 1);
        if (at[child].key < at[child - 1].key)
            child--;
        at[hole] = at[child];
        hole = child;
    }
    if (length % 2 == 0 && child == (length - 2) / 2) {
        child = 2 * (child + 1);
        at[hole] = at[child - 1];
        hole = child - 1;
    }
    ptrdiff_t parent = (hole - 1) / 2;
    while (hole > top && at[parent].key < value.key) {
        at[hole] = at[parent];
        hole = parent;
        parent = (hole - 1) / 2;
    }
    at[hole] = value;
}

static void heap_sort(sort_item *at, ptrdiff_t length)
{
    ptrdiff_t i;
    for (i = (length - 2) / 2; length > 1 && i >= 0; i--)
        sift_down(at, i, length, at[i]);
    for (i = length - 1; i > 0; i--) {
        sort_item value = at[i];
        at[i] = at[0];
        sift_down(at, 0, i, value);
    }
}

static void swap_items(sort_item *a, sort_item *b)
{
    sort_item item = *a;
    *a = *b;
    *b = item;
}

static void median_to_first(sort_item *result, sort_item *a, sort_item *b, sort_item *c)
{
    if (a->key < b->key) {
        if (b->key < c->key)
            swap_items(result, b);
        else if (a->key < c->key)
            swap_items(result, c);
        else
            swap_items(result, a);
    }
    else if (a->key < c->key)
        swap_items(result, a);
    else if (b->key < c->key)
        swap_items(result, c);
    else
        swap_items(result, b);
}

static void introsort(sort_item *first, sort_item *last, int depth)
{
    while (last - first > 16) {
        sort_item *low, *high;
        if (depth-- == 0) {
            heap_sort(first, last - first);
            return;
        }
        median_to_first(first, first + 1, first + (last - first) / 2, last - 1);
        low = first + 1;
        high = last;
        for (;;) {
            while (low->key < first->key)
                low++;
            high--;
            while (first->key < high->key)
                high--;
            if (!(low < high))
                break;
            swap_items(low, high);
            low++;
        }
        introsort(low, last, depth);
        last = low;
    }
}

static void unguarded_insert(sort_item *at)
{
    sort_item item = *at;
    while (item.key < at[-1].key) {
        at[0] = at[-1];
        at--;
    }
    *at = item;
}

static void insertion_sort(sort_item *first, sort_item *last)
{
    sort_item *i;
    for (i = first + 1; i < last; i++) {
        if (i->key < first->key) {
            sort_item item = *i;
            memmove(first + 1, first, (size_t)(i - first) * sizeof item);
            *first = item;
        }
        else
            unguarded_insert(i);
    }
}

static void standard_sort(sort_item *at, uint32_t count)
{
    int depth = 0;
    sort_item *i;
    if (!count)
        return;
    while ((count >> depth) > 1)
        depth++;
    introsort(at, at + count, 2 * depth);
    if (count <= 16) {
        insertion_sort(at, at + count);
        return;
    }
    insertion_sort(at, at + 16);
    for (i = at + 16; i < at + count; i++)
        unguarded_insert(i);
}

/* Sorts items by (to - from, to), the two halves of the key, stably. */
static int radix_sort(sg_work *w, uint32_t num_states)
{
    uint32_t i, n = w->items.n, total, pass;
    RESERVE(w->items2, n);
    RESERVE(w->counts, (uint64_t)num_states + 1);
    for (pass = 0; pass < 2; pass++) {
        sort_item *from = pass ? w->items2.at : w->items.at;
        sort_item *to = pass ? w->items.at : w->items2.at;
        int shift = pass ? 32 : 0;
        memset(w->counts.at, 0, num_states * sizeof(uint32_t));
        for (i = 0; i < n; i++)
            w->counts.at[(uint32_t)(from[i].key >> shift)]++;
        for (i = total = 0; i < num_states; i++) {
            uint32_t count = w->counts.at[i];
            w->counts.at[i] = total;
            total += count;
        }
        for (i = 0; i < n; i++)
            to[w->counts.at[(uint32_t)(from[i].key >> shift)]++] = from[i];
    }
    return SG_OK;
}

static int sort_edges_of_export(sg_work *w)
{
    uint32_t i, run = 1;
    int unstable = 0;
    RESERVE(w->items, w->walked.n);
    w->items.n = w->walked.n;
    for (i = 0; i < w->walked.n; i++) {
        const sg_edge *edge = &w->walked.at[i];
        w->items.at[i] = (sort_item){(uint64_t)(edge->to - edge->from) << 32 | edge->to, i};
    }
    TRY(radix_sort(w, w->num_walked));
    /* order matters where edges between two states differ, or three or more are summed */
    for (i = 1; i < w->items.n && !unstable; i++) {
        run = w->items.at[i].key == w->items.at[i - 1].key ? run + 1 : 1;
        unstable = run > 2 || (run == 2 && w->walked.at[w->items.at[i].edge].label !=
                                               w->walked.at[w->items.at[i - 1].edge].label);
    }
    if (unstable) {
        for (i = 0; i < w->walked.n; i++) {
            const sg_edge *edge = &w->walked.at[i];
            w->items.at[i] = (sort_item){(uint64_t)(edge->to - edge->from) << 32 | edge->to, i};
        }
        standard_sort(w->items.at, w->items.n);
    }
    return SG_OK;
}

static int append_edges(sg_work *w, uint32_t *num_states)
{
    uint32_t i, k, first = w->edges.n, n = w->num_walked, last_state, stop;
    RESERVE(w->edges, (uint64_t)first + w->items.n);
    for (i = 0; i < w->items.n; i++) {
        const sg_edge *edge = &w->walked.at[w->items.at[i].edge];
        if (w->edges.n > first) {
            sg_edge *before = &w->edges.at[w->edges.n - 1];
            if (before->from == edge->from && before->to == edge->to &&
                before->label == edge->label) {
                before->weight = score_sum(before->weight, edge->weight);
                TRY(group_union(w, before->group, edge->group, &before->group));
                continue;
            }
        }
        w->edges.at[w->edges.n++] = *edge;
    }
    last_state = w->position.at[n - 1];
    *num_states = n;
    if (w->finals.n == 1 && w->position.at[w->finals.at[0].begin] == last_state &&
        w->finals.at[0].final_weight == 0)
        return SG_OK;
    RESERVE(w->distance, n);
    for (i = 0; i < n; i++)
        w->distance.at[i] = INFINITY;
    for (i = 0; i < w->finals.n; i++)
        w->distance.at[w->position.at[w->finals.at[i].begin]] = w->finals.at[i].final_weight;
    stop = w->edges.n;
    for (k = first; k < stop; k++) {
        sg_edge edge = w->edges.at[k];
        if (w->distance.at[edge.to] == INFINITY)
            continue;
        edge.weight += w->distance.at[edge.to];
        edge.to = n;
        PUSH(w->edges, edge);
    }
    *num_states = n + 1;
    return SG_OK;
}

int sg_export(sg_work *w, const sg_model *m, uint32_t *num_states, uint32_t *detail)
{
    TRY(walk_graph(w, m, detail));
    if (!w->walked.n)
        return SG_NO_EDGES;
    TRY(number_topologically(w));
    TRY(sort_edges_of_export(w));
    return append_edges(w, num_states);
}
