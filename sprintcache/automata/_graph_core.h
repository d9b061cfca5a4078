/* Automata of orthographies: from lemmas to allophone states, in the order of Sprint.
 *
 * An orthography becomes a graph of words, the words become allophone states (`flat` graph), loops
 * and skips are added (`Graph`), epsilon arcs are removed, and states and edges are numbered. All
 * memory belongs to a Work, which one thread uses for one sentence after the other. Each step is a
 * file of `_graph_core/`, which names what it needs; _graph_core.c runs them.
 */
#ifndef SPRINTCACHE_AUTOMATA_GRAPH_CORE_H
#define SPRINTCACHE_AUTOMATA_GRAPH_CORE_H

#include <stddef.h>
#include <stdint.h>

#define SG_NONE UINT32_MAX
#define SG_STATE_SHIFT 26
#define SG_ALLOPHONE_MASK 0x03FFFFFFu

enum sg_topology { SG_HMM, SG_CTC, SG_RNA };

enum sg_code {
    SG_OK,
    SG_NO_MEMORY,
    SG_TOO_LARGE,
    SG_NO_PRONUNCIATION, /* detail: token that no pronunciation covers */
    SG_NO_ALLOPHONES,
    SG_NO_LABEL,         /* detail: allophone-state id */
    SG_NO_EDGES,
    SG_CYCLE,
    SG_EPSILON_CYCLE,
    SG_TWO_LOOPS,        /* detail: allophone-state id of the second loop */
    SG_LABEL_LOOP,       /* detail: allophone-state id */
    SG_NO_PATH
};

enum { SG_LOOP, SG_FORWARD, SG_SKIP, SG_EXIT };
enum { SG_SET_ENTRY, SG_SET_SILENCE, SG_SET_PHONE };

/* A read-only hash table from 64 bits to a number. */
typedef struct {
    const uint64_t *keys;
    const uint32_t *values; /* SG_NONE: free */
    uint64_t mask;
} sg_table;

/* Everything that does not depend on the sentence; arrays belong to the caller. */
typedef struct {
    /* words: tree of token sequences, and the lemmas at its nodes */
    sg_table tree;
    const uint32_t *node_lemmas_begin; /* (nodes + 1,) */
    const uint32_t *node_lemmas;
    uint32_t unknown_lemma, silence_lemma;
    /* pronunciations: of lemma i those from lemma_begin[i] to lemma_begin[i + 1] */
    uint32_t num_lemmas;
    const uint32_t *lemma_begin;
    const uint32_t *pron_suffix; /* id of its phones; 0 is the empty sequence */
    const float *pron_score;
    const uint32_t *suffix_phone; /* first phone of a sequence */
    const uint32_t *suffix_next;  /* the sequence without it */
    /* allophones between boundary states: key(boundary, phone, next phone, last of word) */
    sg_table candidates;
    const uint32_t *candidate_begin;
    const uint32_t *candidate_allophones;
    uint32_t num_allophones, num_boundaries, initial_boundary;
    const uint8_t *boundary_final;
    const uint32_t *boundary_link; /* boundary state after a word end, or SG_NONE */
    const uint32_t *allophone_to;
    const uint16_t *allophone_arcs; /* states times repetitions */
    const uint16_t *allophone_repetitions;
    /* labels and weights */
    uint32_t num_states; /* rows of the tables */
    const uint32_t *labels;     /* (num_states, num_allophones), SG_NONE: no label */
    const uint32_t *weight_sets; /* likewise, of every state; NULL: one set for all phones */
    const float (*sets)[4];
    uint32_t silence_state, blank_state; /* allophone-state ids */
    int topology;
    int silence_repetitions, normalize, corrected;
} sg_model;

typedef struct {
    uint32_t target, label;
    float weight;
    uint32_t word; /* word arc that begins here, or SG_NONE */
} sg_arc;

/* One pronunciation of one word at one position of the sentence. */
typedef struct {
    uint64_t order;
    uint32_t pronunciation, lemma, phone, suffix, target;
    float weight;
    int32_t begin, end; /* tokens */
} sg_word;

typedef struct {
    uint32_t from, to, label, state, group;
    float weight;
} sg_edge;

typedef struct {
    uint32_t begin, count;
    float final_weight; /* inf: not final */
} sg_node;

typedef struct sg_work sg_work;

sg_work *sg_work_new(void);
void sg_work_free(sg_work *work);

/* Builds the graph without epsilon arcs of a sentence. Returns an sg_code; `detail` explains it. */
int sg_accept(sg_work *work, const sg_model *model, const int32_t *tokens, uint32_t num_tokens,
              uint32_t *detail);

/* Numbers states and edges of that graph as Sprint exports them and appends the edges to the batch
 * in `work`, from state `first_state` on; `num_states` gets their number. */
int sg_export(sg_work *work, const sg_model *model, uint32_t *num_states, uint32_t *detail);

void sg_batch_clear(sg_work *work);
size_t sg_batch_size(const sg_work *work);
const sg_edge *sg_batch_edges(const sg_work *work);
/* Groups of lemmas that an edge may belong to: group i has lemmas from begin[i] to begin[i + 1]. */
size_t sg_batch_groups(const sg_work *work, const uint32_t **begin, const uint32_t **lemmas);

/* Sizes of the graph of a sentence. */
typedef struct {
    uint32_t num_states, num_arcs, initial;
} sg_acceptor;

/* Appends the graph of sg_accept to the batch in `work`: states in Sprint's order, arcs sorted by
 * label, target, weight. States and arcs are numbered per graph, words per batch. */
int sg_append_acceptor(sg_work *work, sg_acceptor *acceptor);
void sg_batch_acceptors(const sg_work *work, const sg_node **nodes, const sg_arc **arcs,
                        const sg_word **words);

uint64_t sg_hash(uint64_t key);
uint32_t sg_find(const sg_table *table, uint64_t key);
uint64_t sg_candidate_key(uint32_t boundary, uint32_t phone, uint32_t next, int is_last);

/* Scores of the pronunciations of a lemma, normalized to a sum of 1 or not; 0 if the sum is 0. */
int sg_pronunciation_scores(float *scores, const double *values, const uint8_t *are_scores,
                            size_t count, int normalize);

#endif
