/* Frames in the log domain: exact for any scores, an order of magnitude slower. */
#include "_passes.h"

#include <math.h>

static int normalize(double *scores, int64_t count, double scale, double *highest) {
    double best = -INFINITY;
    for (int64_t k = 0; k < count; k++) {
        if (!(scores[k] < INFINITY)) return 0;
        scores[k] = scale != 0 ? scores[k] * scale : 0;
        best = scores[k] > best ? scores[k] : best;
    }
    *highest = best;
    if (best > -INFINITY)
        for (int64_t k = 0; k < count; k++) scores[k] -= best;
    return 1;
}

/* A logarithm of a sum, relative to the largest term so far. */
typedef struct {
    double highest, sum;
} sc_log_sum;

static inline void add(sc_log_sum *total, double term) {
    if (term == -INFINITY) return;
    if (term <= total->highest) {
        total->sum += exp(term - total->highest);
    } else {
        total->sum = total->sum * exp(total->highest - term) + 1;
        total->highest = term;
    }
}

static inline double value_of(const sc_log_sum *total) {
    return total->sum > 0 ? total->highest + log(total->sum) : -INFINITY;
}

static double forward(sc_pass *pass, int64_t t, double scale) {
    const sc_layout *l = pass->layout;
    const int32_t low = pass->low[t], high = pass->high[t];
    const double *before = pass->states[(t - 1) & 1], *scores = sc_scores(pass, t);
    double *after = pass->states[t & 1], *row = sc_row(pass, t), *second = row + (high - low);
    (void)scale;
    for (int32_t s = low; s < high; s++) {
        sc_log_sum sum = {-INFINITY, 0}, state = {-INFINITY, 0};
        int32_t label = pass->label[s];
        double value = -INFINITY;
        if (label < l->num_labels) {
            add(&sum, before[s] + l->loop[s]);
            add(&sum, before[l->source[s]] + l->factor[s]);
            for (int32_t e = l->more[s]; e < l->more[s + 1]; e++)
                add(&sum, before[l->more_source[e]] + l->more_factor[e]);
            value = value_of(&sum) + scores[label];
        }
        row[s - low] = value;
        add(&state, value);
        for (int32_t j = l->second[s]; j < l->second[s + 1]; j++) {
            sum = (sc_log_sum){-INFINITY, 0};
            label = pass->label[l->num_states + j];
            value = -INFINITY;
            if (label < l->num_labels) {
                for (int32_t e = l->in[j]; e < l->in[j + 1]; e++)
                    add(&sum, before[l->in_source[e]] + l->in_factor[e]);
                value = value_of(&sum) + scores[label];
            }
            *second++ = value;
            add(&state, value);
        }
        after[s] = value_of(&state);
    }
    return 0;
}

/* `posterior_scale` is the logarithm of all paths. */
static double backward(sc_pass *pass, int64_t t, double posterior_scale, double scale) {
    const sc_layout *l = pass->layout;
    int32_t low = pass->low[t], high = pass->high[t];
    double *states = pass->backward, *nodes = pass->node_values, *sums = pass->label_sums;
    const double *row = sc_row(pass, t), *scores = sc_scores(pass, t);
    (void)scale;
    if (sums != NULL)
        for (int32_t k = 0; k < 4 * (l->num_labels + 1); k++) sums[k] = 0;
    for (int32_t i = 0; i < high - low + l->second[high] - l->second[low]; i++) {
        int32_t n = i < high - low ? low + i : l->num_states + l->second[low] + i - (high - low);
        int32_t label = l->node_label[n];
        double after = states[l->node_state[n]];
        nodes[n] = label < l->num_labels ? after + scores[label] : -INFINITY;
        if (sums != NULL) sums[4 * label] += exp(row[i] + after - posterior_scale);
    }
    if (t == 1) return 0;
    low = pass->low[t - 1];
    high = pass->high[t - 1];
    for (int32_t s = low; s < high; s++) {
        sc_log_sum sum = {-INFINITY, 0};
        add(&sum, nodes[s] + l->loop[s]);
        add(&sum, nodes[l->next[s]] + l->next_factor[s]);
        for (int32_t e = l->out[s]; e < l->out[s + 1]; e++)
            add(&sum, nodes[l->out_node[e]] + l->out_factor[e]);
        states[s] = value_of(&sum);
    }
    return 0;
}

const sc_kernel sc_log_kernel = {-INFINITY, 0, normalize, forward, backward};
