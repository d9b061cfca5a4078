/* Drives the passes over one sequence, in chunks of bounded memory.
 *
 * Values of states are raised to 2^SC_FLOOR where they fall below, so forward values a and backward
 * values b never fall short of the truth, and Z, the sum over all paths, neither. What is added in
 * frame t amounts to at most S * 2^SC_FLOOR * max(b) in Z, and likewise for the backward values
 * with max(a). Both stay below 2^-50 / T of Z, for S states and T frames, if
 *
 *     log2(S * T) + SC_FLOOR + SC_HIGHEST + SC_MARGIN + x <= -50
 *
 * in every frame, where 2^x is about the factor that turns a * b into posteriors. A sequence that
 * does not pass is computed again in the log domain. */
#include "_passes.h"

#include <math.h>
#include <string.h>

#define SC_CHUNK ((int64_t)1 << 22) /* doubles in memory at a time, unless the job says otherwise */
#define SC_LINE 64                  /* bytes of a cache line */
#define SC_AHEAD 4                  /* frames */
#define SC_MARGIN 40                /* bits that sums over incoming edges may exceed SC_HIGHEST by */

#define TAKE(name, count)                                       \
    do {                                                        \
        name = sc_take(arena, (size_t)(count), sizeof(*name));  \
        if (name == NULL) return SC_NO_MEMORY;                  \
    } while (0)

typedef struct {
    int64_t begin, end; /* frames begin + 1 to end */
    double *states;     /* values of frame `begin` */
} sc_chunk;

typedef struct {
    sc_pass pass;
    const sc_kernel *kernel;
    int64_t number;
    int64_t *exponent; /* T + 1: values of frame t are 2^exponent[t] times as large as the truth */
    sc_chunk *chunks;
    int64_t num_chunks;
    double highest_sum; /* sum over frames of what was subtracted from scores */
    sc_status *status;
} sc_run;

/* Asks for the cache lines of a frame that is read soon: frames of one sequence are often pages
 * apart, which the processor does not foresee. */
static void prefetch_scores(const sc_run *run, int64_t frame) {
    const sc_full_sum *job = run->pass.job;
    const sc_layout *l = run->pass.layout;
    const int64_t size = job->scores_double ? (int64_t)sizeof(double) : (int64_t)sizeof(float);
    if (frame > run->pass.num_frames) return;
    const char *row = (const char *)job->scores;
    row += ((frame - 1) * job->score_frame + run->number * job->score_sequence) * size;
    if (job->score_label == 1 && job->num_labels * size <= SC_LINE * (int64_t)l->num_labels) {
        for (int64_t i = 0; i < job->num_labels * size; i += SC_LINE) __builtin_prefetch(row + i);
    } else {
        for (int32_t k = 0; k < l->num_labels; k++)
            __builtin_prefetch(row + l->labels[k] * job->score_label * size);
    }
}

/* Reads the scores of one frame for the labels in use. */
static int read_scores(sc_run *run, int64_t frame, double *highest) {
    const sc_full_sum *job = run->pass.job;
    const sc_layout *l = run->pass.layout;
    double *row = sc_scores(&run->pass, frame);
    prefetch_scores(run, frame + SC_AHEAD);
    int64_t first = (frame - 1) * job->score_frame + run->number * job->score_sequence;
    const int64_t stride = job->score_label;
    if (job->scores_double) {
        const double *scores = (const double *)job->scores + first;
        for (int32_t k = 0; k < l->num_labels; k++) row[k] = scores[l->labels[k] * stride];
    } else {
        const float *scores = (const float *)job->scores + first;
        for (int32_t k = 0; k < l->num_labels; k++) row[k] = scores[l->labels[k] * stride];
    }
    for (int32_t k = l->num_labels; k < run->pass.score_width; k++) row[k] = -INFINITY;
    if (!run->kernel->normalize(row, run->pass.score_width, job->label_scale, highest)) {
        for (int32_t k = 0; k < l->num_labels; k++) {
            double score = job->scores_double
                               ? ((const double *)job->scores)[first + l->labels[k] * stride]
                               : ((const float *)job->scores)[first + l->labels[k] * stride];
            if (score < INFINITY) continue;
            run->status->item = frame - 1;
            run->status->label = l->labels[k];
            return SC_BAD_SCORE;
        }
    }
    return *highest > -INFINITY ? SC_OK : SC_NO_PATH;
}

static int is_scaled(const sc_run *run) { return run->kernel != &sc_log_kernel; }

/* Power of two that brings values of this size back to 2^SC_TARGET; 0 where they are near it. */
static int32_t rescaling(double value) {
    int exponent;
    frexp(value, &exponent);
    if (exponent >= SC_LOWEST && exponent <= SC_HIGHEST) return 0;
    return SC_TARGET - exponent;
}

static void kill_states(sc_pass *pass, int64_t frame) {
    const sc_layout *l = pass->layout;
    while (pass->num_dead < l->num_states) {
        int32_t s = l->by_end[pass->num_dead];
        if (l->to_end[s] <= pass->num_frames - frame) break;
        pass->label[s] = l->num_labels;
        for (int32_t j = l->second[s]; j < l->second[s + 1]; j++)
            pass->label[l->num_states + j] = l->num_labels;
        pass->num_dead++;
    }
}

/* Sets the states to those of the beginning of a chunk. */
static void restore(sc_run *run, const sc_chunk *chunk) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    pass->chunk_begin = chunk->begin;
    memcpy(pass->label, l->node_label, (size_t)l->num_nodes * sizeof(*pass->label));
    pass->num_dead = 0;
    for (int parity = 0; parity < 2; parity++)
        for (int32_t s = 0; s < l->num_states; s++) pass->states[parity][s] = run->kernel->none;
    int32_t low = pass->low[chunk->begin], high = pass->high[chunk->begin];
    memcpy(pass->states[chunk->begin & 1] + low, chunk->states,
           (size_t)(high - low) * sizeof(double));
}

static int forward_chunk(sc_run *run, const sc_chunk *chunk, int is_first_visit) {
    sc_pass *pass = &run->pass;
    int32_t power = 0;
    restore(run, chunk);
    if (is_scaled(run) && chunk->begin > 0) /* as the frame before asked for */
        power = (int32_t)(run->exponent[chunk->begin + 1] - run->exponent[chunk->begin]);
    for (int64_t t = chunk->begin + 1; t <= chunk->end; t++) {
        double highest, value;
        int code = read_scores(run, t, &highest);
        if (code != SC_OK) return code;
        kill_states(pass, t);
        double *after = pass->states[t & 1];
        int32_t low = pass->low[t], high = pass->high[t];
        if (t - chunk->begin >= 2)
            for (int32_t s = pass->low[t - 2]; s < low; s++) after[s] = run->kernel->none;
        run->exponent[t] = run->exponent[t - 1] + power;
        value = run->kernel->forward(pass, t, ldexp(1, power));
        if (is_scaled(run)) power = rescaling(value);
        if (is_first_visit) run->highest_sum += highest;
        if (pass->job->counts != NULL) {
            const sc_layout *l = pass->layout;
            int32_t width = high - low + l->second[high] - l->second[low];
            memcpy(sc_row(pass, t) + width, after + low, (size_t)(high - low) * sizeof(double));
        }
    }
    if (is_scaled(run) && chunk->end < pass->num_frames)
        run->exponent[chunk->end + 1] = run->exponent[chunk->end] + power;
    return SC_OK;
}

/* Adds the posteriors of the edges of one frame. */
static void count_edges(sc_run *run, int64_t t, const sc_chunk *chunk, double posterior_scale) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    const sc_full_sum *job = pass->job;
    double *counts = job->counts + job->offsets[run->number];
    const double *scores = sc_scores(pass, t);
    int32_t before_low = pass->low[t - 1], before_high = pass->high[t - 1];
    int32_t power = is_scaled(run) ? (int32_t)(run->exponent[t] - run->exponent[t - 1]) : 0;
    const double *before = chunk->states;
    if (t - 1 > chunk->begin)
        before = sc_row(pass, t - 1) + (before_high - before_low) + l->second[before_high] -
                 l->second[before_low];
#define ADD(edge, source_state, edge_factor, node)                                             \
    do {                                                                                       \
        int32_t from_ = (source_state), label_ = l->node_label[node];                          \
        if ((edge) < 0 || from_ < before_low || from_ >= before_high) break;                   \
        double after_ = pass->backward[l->node_state[node]];                                  \
        counts[edge] += is_scaled(run) ? before[from_ - before_low] * (edge_factor) *          \
                                             ldexp(scores[label_], power) * after_ *          \
                                             posterior_scale                                   \
                                       : exp(before[from_ - before_low] + (edge_factor) +      \
                                             scores[label_] + after_ - posterior_scale);      \
    } while (0)
    for (int32_t s = pass->low[t]; s < pass->high[t]; s++) {
        if (l->to_end[s] > pass->num_frames - t) continue;
        ADD(l->loop_edge[s], s, l->loop[s], s);
        ADD(l->source_edge[s], l->source[s], l->factor[s], s);
        for (int32_t e = l->more[s]; e < l->more[s + 1]; e++)
            ADD(l->more_edge[e], l->more_source[e], l->more_factor[e], s);
        for (int32_t j = l->second[s]; j < l->second[s + 1]; j++)
            for (int32_t e = l->in[j]; e < l->in[j + 1]; e++)
                ADD(l->in_edge[e], l->in_source[e], l->in_factor[e], l->num_states + j);
    }
#undef ADD
}

static void clear_posteriors(const sc_full_sum *job, int64_t number, int64_t frame) {
    const size_t size = job->posteriors_double ? sizeof(double) : sizeof(float);
    int64_t first = frame * job->posterior_frame + number * job->posterior_sequence;
    char *row = (char *)job->posteriors + first * (int64_t)size;
    if (job->posterior_label == 1) {
        memset(row, 0, (size_t)job->num_labels * size);
    } else {
        for (int64_t k = 0; k < job->num_labels; k++)
            memset(row + k * job->posterior_label * (int64_t)size, 0, size);
    }
}

static void write_posteriors(const sc_run *run, int64_t frame) {
    const sc_full_sum *job = run->pass.job;
    const sc_layout *l = run->pass.layout;
    const double *sums = run->pass.label_sums;
    int64_t first = (frame - 1) * job->posterior_frame + run->number * job->posterior_sequence;
    clear_posteriors(job, run->number, frame - 1);
    if (job->posterior_label == 1 && frame > SC_AHEAD) { /* pages apart, as scores are */
        const int64_t size = job->posteriors_double ? (int64_t)sizeof(double) : (int64_t)sizeof(float);
        const char *row = (const char *)job->posteriors + (first - SC_AHEAD * job->posterior_frame) * size;
        for (int64_t i = 0; i < job->num_labels * size; i += SC_LINE) __builtin_prefetch(row + i, 1);
    }
    for (int32_t k = 0; k < l->num_labels; k++) {
        double value = (sums[4 * k] + sums[4 * k + 1]) + (sums[4 * k + 2] + sums[4 * k + 3]);
        value *= job->posterior_factor;
        int64_t item = first + l->labels[k] * job->posterior_label;
        if (job->posteriors_double)
            ((double *)job->posteriors)[item] = value;
        else
            ((float *)job->posteriors)[item] = (float)value;
    }
}

/* Windows of states, rows and chunks. */
static int plan(sc_run *run, sc_arena *arena) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    const int64_t num_frames = pass->num_frames;
    pass->score_width = (l->num_labels + SC_LANES - 1) / SC_LANES * SC_LANES;
    const int64_t score_width = pass->score_width;
    const int64_t limit = pass->job->chunk > 0 ? pass->job->chunk : SC_CHUNK;
    TAKE(pass->low, num_frames + 1);
    TAKE(pass->high, num_frames + 1);
    TAKE(pass->row, num_frames + 1);
    TAKE(run->exponent, num_frames + 1);
    int32_t low = 0, high = 0;
    int64_t used = 0, widest = 0, longest = 0, begin = 0, num_chunks = 1, states = 0;
    for (int64_t t = 0; t <= num_frames; t++) {
        while (high < l->num_states && l->from_start[high] <= t) high++;
        while (low < high && l->to_end[low] > num_frames - t) low++;
        pass->low[t] = low;
        pass->high[t] = high;
        if (t == 0) continue;
        int64_t width = high - low + l->second[high] - l->second[low];
        if (pass->job->counts != NULL) width += high - low;
        if (used > 0 && used + width + score_width > limit) {
            begin = t - 1;
            used = 0;
            num_chunks++;
            states += pass->high[begin] - pass->low[begin];
        }
        pass->row[t] = used - (t - 1 - begin) * score_width;
        used += width + score_width;
        int64_t rows = used - (t - begin) * score_width;
        widest = rows > widest ? rows : widest;
        longest = t - begin > longest ? t - begin : longest;
    }
    TAKE(pass->rows, widest);
    TAKE(pass->scores, longest * score_width);
    TAKE(run->chunks, num_chunks);
    run->num_chunks = 0;
    double *memory;
    TAKE(memory, states + 1);
    for (int64_t t = 1; t <= num_frames; t++) {
        if (t > 1 && pass->row[t] != 0) continue; /* a chunk begins where its rows do */
        sc_chunk *chunk = run->chunks + run->num_chunks++;
        chunk->begin = t - 1;
        chunk->end = num_frames;
        chunk->states = memory;
        memory += pass->high[t - 1] - pass->low[t - 1];
        if (run->num_chunks > 1) chunk[-1].end = t - 1;
    }
    return SC_OK;
}

static int take_memory(sc_run *run, sc_arena *arena) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    int code = plan(run, arena);
    if (code != SC_OK) return code;
    TAKE(pass->states[0], l->num_states);
    TAKE(pass->states[1], l->num_states);
    TAKE(pass->sums, l->num_states);
    TAKE(pass->factors, pass->score_width + 1);
    TAKE(pass->label, l->num_nodes);
    TAKE(pass->backward, l->num_states);
    TAKE(pass->node_values, l->num_nodes);
    pass->label_sums = NULL;
    if (pass->job->posteriors != NULL) TAKE(pass->label_sums, 4 * ((int64_t)l->num_labels + 1));
    for (int32_t s = 0; s < l->num_states; s++) pass->backward[s] = run->kernel->none;
    for (int32_t n = 0; n < l->num_nodes; n++) pass->node_values[n] = run->kernel->none;
    return SC_OK;
}

/* Forward and backward; returns SC_OK, SC_NO_PATH, an error, or -1 if the log domain is needed. */
static int run_passes(sc_run *run, sc_arena *arena) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    const int64_t num_frames = pass->num_frames;
    const int scaled = is_scaled(run);
    int code = take_memory(run, arena);
    if (code != SC_OK) return code;
    run->highest_sum = 0;
    run->exponent[0] = scaled ? SC_TARGET : 0;
    run->chunks[0].states[0] = scaled ? ldexp(1, SC_TARGET) : 0; /* of the start state */
    for (int64_t i = 0; i < run->num_chunks; i++) {
        const sc_chunk *chunk = run->chunks + i;
        code = forward_chunk(run, chunk, 1);
        if (code != SC_OK) return code;
        if (i + 1 == run->num_chunks) break;
        int32_t low = pass->low[chunk->end];
        memcpy(chunk[1].states, pass->states[chunk->end & 1] + low,
               (size_t)(pass->high[chunk->end] - low) * sizeof(double));
    }
    double total = pass->states[num_frames & 1][l->end], posterior_scale = total;
    int total_exponent = 0;
    double common = run->highest_sum - (double)num_frames * l->offset;
    if (scaled) {
        posterior_scale = 1 / frexp(total, &total_exponent);
        pass->job->loss[run->number] =
            (double)run->exponent[num_frames] * M_LN2 - log(total) - common;
    } else {
        if (!(total > -INFINITY)) return SC_NO_PATH;
        pass->job->loss[run->number] = -total - common;
    }
    int64_t worst = -50 - SC_FLOOR - SC_HIGHEST - SC_MARGIN;
    worst -= (int64_t)log2((double)l->num_states * (double)num_frames) + 1;
    pass->backward[l->end] = run->kernel->one;
    int64_t exponent = 0;
    int32_t power = 0;
    for (int64_t i = run->num_chunks; i-- > 0;) {
        const sc_chunk *chunk = run->chunks + i;
        if (i + 1 < run->num_chunks) {
            code = forward_chunk(run, chunk, 0);
            if (code != SC_OK) return code;
        }
        for (int64_t t = chunk->end; t > chunk->begin; t--) {
            double scale = posterior_scale;
            if (scaled) {
                int64_t x = run->exponent[num_frames] - run->exponent[t] - exponent - total_exponent;
                if (x > worst) return -1;
                scale = ldexp(posterior_scale, (int)(x < -1000 ? -1000 : x));
            }
            if (pass->job->counts != NULL) count_edges(run, t, chunk, scale);
            double value = run->kernel->backward(pass, t, scale, ldexp(1, power));
            exponent += power;
            if (scaled && t > 1) power = rescaling(value);
            if (pass->label_sums != NULL) write_posteriors(run, t);
        }
    }
    return SC_OK;
}

/* Score of the best path, by the log-domain layout. */
static int find_best(sc_run *run, sc_arena *arena) {
    sc_pass *pass = &run->pass;
    const sc_layout *l = pass->layout;
    int code = take_memory(run, arena);
    if (code != SC_OK) return code;
    double common = 0;
    run->chunks[0].states[0] = 0;
    restore(run, run->chunks);
    for (int64_t t = 1; t <= pass->num_frames; t++) {
        const double *before = pass->states[(t - 1) & 1];
        double *after = pass->states[t & 1], highest;
        pass->chunk_begin = t - 1; /* one row of scores */
        code = read_scores(run, t, &highest);
        if (code != SC_OK) return code;
        common += highest - l->offset;
        for (int32_t s = 0; s < l->num_states; s++) after[s] = -INFINITY;
        const double *scores = sc_scores(pass, t);
        for (int32_t s = pass->low[t]; s < pass->high[t]; s++) {
            double best = -INFINITY;
            if (l->node_label[s] < l->num_labels) {
                best = fmax(before[s] + l->loop[s], before[l->source[s]] + l->factor[s]);
                for (int32_t e = l->more[s]; e < l->more[s + 1]; e++)
                    best = fmax(best, before[l->more_source[e]] + l->more_factor[e]);
                best += scores[l->node_label[s]];
            }
            for (int32_t j = l->second[s]; j < l->second[s + 1]; j++)
                for (int32_t e = l->in[j]; e < l->in[j + 1]; e++)
                    best = fmax(best, before[l->in_source[e]] + l->in_factor[e] +
                                          scores[l->node_label[l->num_states + j]]);
            after[s] = best;
        }
    }
    pass->job->best_score[run->number] = -pass->states[pass->num_frames & 1][l->end] - common;
    return SC_OK;
}

static int run_domain(const sc_full_sum *job, const sc_sequence *sequence, int64_t number,
                      sc_arena *arena, int (*work)(sc_run *, sc_arena *)) {
    sc_layout layout;
    sc_run run = {.number = number, .status = job->status + number};
    int code = sc_lay_out(job, sequence, arena, &layout, &run.status->item);
    if (code != SC_OK) return code;
    run.kernel = sequence->log_domain ? &sc_log_kernel : sc_scaled_kernel();
    run.pass.job = job;
    run.pass.layout = &layout;
    run.pass.num_frames = sequence->length;
    return work(&run, arena);
}

static void run_sequence(const sc_full_sum *job, int64_t number, int32_t *table, sc_arena *arena) {
    sc_status *status = job->status + number;
    sc_sequence sequence = {
        .first = job->offsets[number],
        .num_edges = job->offsets[number + 1] - job->offsets[number],
        .length = job->lengths[number],
        .start = job->start[number],
        .end = job->end[number],
        .table = table,
        .log_domain = job->domain == SC_LOG_DOMAIN,
    };
    memset(status, 0, sizeof(*status));
    job->loss[number] = INFINITY;
    if (job->best_score != NULL) job->best_score[number] = INFINITY;
    if (sequence.length == 0) {
        status->code = sequence.start == sequence.end ? SC_OK : SC_NO_PATH;
        if (status->code != SC_OK) return;
        job->loss[number] = 0;
        if (job->best_score != NULL) job->best_score[number] = 0;
        return;
    }
    int code = run_domain(job, &sequence, number, arena, run_passes);
    if (code == -1) {
        sc_reset(arena);
        sequence.log_domain = 1;
        if (job->counts != NULL)
            memset(job->counts + sequence.first, 0, (size_t)sequence.num_edges * sizeof(double));
        code = run_domain(job, &sequence, number, arena, run_passes);
    }
    status->in_log_domain = sequence.log_domain;
    if (code == SC_OK && job->best_score != NULL) {
        sc_reset(arena);
        sequence.log_domain = 1;
        code = run_domain(job, &sequence, number, arena, find_best);
    }
    status->code = code;
    if (code != SC_OK) job->loss[number] = INFINITY;
    sc_reset(arena);
}

void sc_run_sequence(const sc_full_sum *job, int64_t number, int32_t *table, sc_arena *arena) {
    run_sequence(job, number, table, arena);
    if (job->posteriors == NULL) return;
    int64_t written = job->status[number].code == SC_OK ? job->lengths[number] : 0;
    for (int64_t t = written; t < job->num_frames; t++) clear_posteriors(job, number, t);
}
