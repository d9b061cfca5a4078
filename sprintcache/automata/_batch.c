/* Distributes the sequences of a batch over threads, longest first. */
#include "_full_sum.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../_core/thread_pool.h"
#include "_passes.h"

#define SC_SCALED_ITEMS ((int64_t)1 << 16) /* from which another thread is worth it */

typedef struct {
    const sc_full_sum *job;
    const int64_t *order;
    atomic_int_fast64_t next;
} sc_queue;

typedef struct {
    int64_t cost, number;
} sc_cost;

static void work(void *argument, int seat) {
    (void)seat;
    sc_queue *queue = (sc_queue *)argument;
    const sc_full_sum *job = queue->job;
    sc_arena arena = {NULL};
    size_t num_labels = job->num_labels > 0 ? (size_t)job->num_labels : 1;
    int32_t *table = (int32_t *)malloc(num_labels * sizeof(int32_t));
    if (table != NULL)
        for (size_t k = 0; k < num_labels; k++) table[k] = -1;
    for (;;) {
        int64_t i = atomic_fetch_add(&queue->next, 1);
        if (i >= job->num_sequences) break;
        int64_t number = queue->order != NULL ? queue->order[i] : i;
        if (table != NULL)
            sc_run_sequence(job, number, table, &arena);
        else
            job->status[number].code = SC_NO_MEMORY;
    }
    free(table);
    sc_release(&arena);
}

static int compare_costs(const void *a, const void *b) {
    const sc_cost *x = (const sc_cost *)a, *y = (const sc_cost *)b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Returns the sequences by falling cost, or NULL without memory: then they are done as they come. */
static int64_t *longest_first(const sc_full_sum *job) {
    sc_cost *costs = (sc_cost *)malloc((size_t)job->num_sequences * sizeof(*costs));
    int64_t *order = (int64_t *)malloc((size_t)job->num_sequences * sizeof(*order));
    if (costs != NULL && order != NULL) {
        for (int64_t b = 0; b < job->num_sequences; b++) {
            costs[b].cost = (job->offsets[b + 1] - job->offsets[b]) * job->lengths[b];
            costs[b].number = b;
        }
        qsort(costs, (size_t)job->num_sequences, sizeof(*costs), compare_costs);
        for (int64_t b = 0; b < job->num_sequences; b++) order[b] = costs[b].number;
    } else {
        free(order);
        order = NULL;
    }
    free(costs);
    return order;
}

void sc_full_sum_run(const sc_full_sum *job) {
    int64_t num_threads = job->num_threads;
    if (num_threads > job->num_sequences) num_threads = job->num_sequences;
    sc_queue queue = {.job = job, .order = num_threads > 1 ? longest_first(job) : NULL};
    atomic_init(&queue.next, 0);
    sc_pool_run(work, &queue, (int)num_threads);
    free((void *)queue.order);
}

typedef struct {
    const sc_scaling *job;
    int64_t num_rows, num_parts;
    atomic_int_fast64_t next_part;
} sc_parts;

#define SCALE_ROW(TYPE, STEP)                                  \
    do {                                                       \
        TYPE *row = (TYPE *)job->posteriors + first;           \
        const TYPE factor = (TYPE)job->factors[b];             \
        for (int64_t k = 0; k < size; k++) row[k * (STEP)] *= factor; \
    } while (0)

/* Rows are those of all sequences, in the order of memory. */
static void scale_rows(const sc_scaling *job, int64_t begin, int64_t end) {
    const int64_t size = job->num_labels, step = job->label_step;
    const int frames_outer = job->frame_step >= job->sequence_step;
    for (int64_t i = begin; i < end; i++) {
        const int64_t inner = frames_outer ? job->num_sequences : job->num_frames;
        const int64_t t = frames_outer ? i / inner : i % inner;
        const int64_t b = frames_outer ? i % inner : i / inner;
        const int64_t first = t * job->frame_step + b * job->sequence_step;
        if (job->factors[b] == 1) continue;
        if (job->is_double && step == 1)
            SCALE_ROW(double, 1);
        else if (job->is_double)
            SCALE_ROW(double, step);
        else if (step == 1)
            SCALE_ROW(float, 1);
        else
            SCALE_ROW(float, step);
    }
}

static void scale(void *argument, int seat) {
    (void)seat;
    sc_parts *parts = (sc_parts *)argument;
    const int64_t num_rows = parts->num_rows, count = parts->num_parts;
    int64_t part;
    while ((part = atomic_fetch_add(&parts->next_part, 1)) < count)
        scale_rows(parts->job, num_rows * part / count, num_rows * (part + 1) / count);
}

void sc_scale(const sc_scaling *job) {
    int64_t num_threads = job->num_threads;
    sc_parts parts = {.job = job, .num_rows = job->num_frames * job->num_sequences};
    parts.num_parts = parts.num_rows * job->num_labels / SC_SCALED_ITEMS + 1;
    if (parts.num_parts > parts.num_rows) parts.num_parts = parts.num_rows;
    if (num_threads > parts.num_parts) num_threads = parts.num_parts;
    atomic_init(&parts.next_part, 0);
    sc_pool_run(scale, &parts, (int)num_threads);
}
