/* Frames in scaled probabilities; the same code for several instruction sets. */
#include "_passes.h"

#include <math.h>
#include <string.h>

#define SC_INLINE static inline __attribute__((always_inline))

/* Four doubles: in one register with AVX, in several elsewhere. */
typedef double sc_vector __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t sc_mask __attribute__((vector_size(32), aligned(8), may_alias));

/* Turns values x <= 0 into exp(x), 0 below 2^-995; relative error below 1e-15. */
SC_INLINE void fast_exp(sc_vector *values) {
    sc_vector x = *values;
    const double shift = 0x1.8p52, low_part = 1.90821492927058770002e-10;
    const sc_mask kept = x >= -690.0;
    x = (sc_vector)((sc_mask)x & kept);
    sc_vector whole = x * 1.4426950408889634074 + shift;
    const sc_mask bits = (sc_mask)whole;
    whole -= shift;
    const sc_vector r = (x - whole * 6.93147180369123816490e-01) - whole * low_part;
    const sc_vector r2 = r * r, r4 = r2 * r2;
    sc_vector y = (r * (1.0 / 6227020800.0) + 1.0 / 479001600.0) * r4 +
                  (r * (1.0 / 39916800.0) + 1.0 / 3628800.0) * r2 +
                  (r * (1.0 / 362880.0) + 1.0 / 40320.0);
    y = y * r4 + (r * (1.0 / 5040.0) + 1.0 / 720.0) * r2 + (r * (1.0 / 120.0) + 1.0 / 24.0);
    y = y * r4 + (r * (1.0 / 6.0) + 0.5) * r2;
    y = y + r + 1.0;
    *values = (sc_vector)(((sc_mask)y + (bits << 52)) & kept); /* times 2^whole */
}

SC_INLINE int normalize(double *scores, int64_t count, double scale, double *highest) {
    const sc_vector limit = (sc_vector){0} + INFINITY;
    sc_vector best = -limit;
    sc_mask valid = best < limit;
    for (int64_t k = 0; k < count; k += SC_LANES) {
        sc_vector values = *(sc_vector *)(scores + k);
        valid &= values < limit;
        if (scale != 0)
            values *= scale;
        else
            values = (sc_vector){0}; /* also where a score is -inf */
        *(sc_vector *)(scores + k) = values;
        const sc_mask larger = values > best;
        best = (sc_vector)(((sc_mask)values & larger) | ((sc_mask)best & ~larger));
    }
    if (!(valid[0] & valid[1] & valid[2] & valid[3])) return 0;
    const double first = best[0] > best[1] ? best[0] : best[1];
    const double second = best[2] > best[3] ? best[2] : best[3];
    *highest = first > second ? first : second;
    if (*highest == -INFINITY) return 1;
    for (int64_t k = 0; k < count; k += SC_LANES) {
        sc_vector *values = (sc_vector *)(scores + k);
        *values -= *highest;
        fast_exp(values);
    }
    return 1;
}

SC_INLINE double largest(const double *values, int32_t begin, int32_t end) {
    double m0 = 0, m1 = 0, m2 = 0, m3 = 0;
    int32_t s = begin;
    for (; s + 4 <= end; s += 4) {
        m0 = values[s] > m0 ? values[s] : m0;
        m1 = values[s + 1] > m1 ? values[s + 1] : m1;
        m2 = values[s + 2] > m2 ? values[s + 2] : m2;
        m3 = values[s + 3] > m3 ? values[s + 3] : m3;
    }
    for (; s < end; s++) m0 = values[s] > m0 ? values[s] : m0;
    m0 = m1 > m0 ? m1 : m0;
    m2 = m3 > m2 ? m3 : m2;
    return m2 > m0 ? m2 : m0;
}

SC_INLINE double forward(sc_pass *pass, int64_t t, double scale) {
    const sc_layout *l = pass->layout;
    const int32_t low = pass->low[t], high = pass->high[t], num_labels = l->num_labels;
    const double *restrict before = pass->states[(t - 1) & 1];
    double *restrict after = pass->states[t & 1];
    double *restrict sums = pass->sums;
    double *restrict factors = pass->factors;
    double *restrict row = sc_row(pass, t);
    const double *restrict scores = sc_scores(pass, t);
    const int32_t *restrict label = pass->label;
    const double *restrict loop = l->loop, *restrict factor = l->factor;
    const int32_t *restrict source = l->source;
    for (int32_t k = 0; k < num_labels; k++) factors[k] = scores[k] * scale;
    factors[num_labels] = 0;
    for (int32_t s = low; s < high; s++)
        sums[s] = before[s] * loop[s] + before[source[s]] * factor[s];
    for (int32_t e = l->more[low]; e < l->more[high]; e++)
        sums[l->more_target[e]] += before[l->more_source[e]] * l->more_factor[e];
    for (int32_t s = low; s < high; s++) {
        double value = sums[s] * factors[label[s]];
        row[s - low] = value;
        after[s] = value > SC_FLOOR_VALUE ? value : SC_FLOOR_VALUE;
    }
    row += high - low;
    for (int32_t j = l->second[low]; j < l->second[high]; j++) {
        double sum = 0;
        for (int32_t e = l->in[j]; e < l->in[j + 1]; e++)
            sum += before[l->in_source[e]] * l->in_factor[e];
        sum *= factors[label[l->num_states + j]];
        *row++ = sum;
        after[l->node_state[l->num_states + j]] += sum;
    }
    return largest(after, low, high);
}

SC_INLINE double backward(sc_pass *pass, int64_t t, double posterior_scale, double scale) {
    const sc_layout *l = pass->layout;
    const int32_t num_states = l->num_states, num_labels = l->num_labels;
    int32_t low = pass->low[t], high = pass->high[t];
    double *restrict states = pass->backward;
    double *restrict nodes = pass->node_values;
    double *restrict factors = pass->factors;
    double *restrict label_sums = pass->label_sums;
    const double *restrict row = sc_row(pass, t);
    const double *restrict scores = sc_scores(pass, t);
    const int32_t *restrict label = l->node_label;
    if (label_sums != NULL) {
        /* four sums for each label, so that neighbors with a common label do not wait */
        memset(label_sums, 0, 4 * (size_t)(num_labels + 1) * sizeof(double));
        for (int32_t s = low; s < high; s++)
            label_sums[4 * label[s] + (s & 3)] += row[s - low] * states[s] * posterior_scale;
        row += high - low;
        for (int32_t j = l->second[low]; j < l->second[high]; j++) {
            int32_t n = num_states + j;
            label_sums[4 * label[n]] += *row++ * states[l->node_state[n]] * posterior_scale;
        }
    }
    if (t == 1) return 0;
    for (int32_t k = 0; k < num_labels; k++) factors[k] = scores[k] * scale;
    factors[num_labels] = 0;
    for (int32_t s = low; s < high; s++) nodes[s] = states[s] * factors[label[s]];
    for (int32_t j = l->second[low]; j < l->second[high]; j++) {
        int32_t n = num_states + j;
        nodes[n] = states[l->node_state[n]] * factors[label[n]];
    }
    low = pass->low[t - 1];
    high = pass->high[t - 1];
    const double *restrict loop = l->loop, *restrict factor = l->next_factor;
    const int32_t *restrict next = l->next;
    for (int32_t s = low; s < high; s++)
        states[s] = nodes[s] * loop[s] + nodes[next[s]] * factor[s];
    for (int32_t e = l->out[low]; e < l->out[high]; e++)
        states[l->out_source[e]] += nodes[l->out_node[e]] * l->out_factor[e];
    for (int32_t s = low; s < high; s++)
        states[s] = states[s] > SC_FLOOR_VALUE ? states[s] : SC_FLOOR_VALUE;
    return largest(states, low, high);
}

#define SC_VARIANT(name, attributes)                                                          \
    attributes static int normalize_##name(double *scores, int64_t count, double scale,       \
                                           double *highest) {                                 \
        return normalize(scores, count, scale, highest);                                      \
    }                                                                                         \
    attributes static double forward_##name(sc_pass *pass, int64_t frame, double scale) {     \
        return forward(pass, frame, scale);                                                   \
    }                                                                                         \
    attributes static double backward_##name(sc_pass *pass, int64_t frame,                    \
                                             double posterior_scale, double scale) {          \
        return backward(pass, frame, posterior_scale, scale);                                 \
    }                                                                                         \
    static const sc_kernel kernel_##name = {0, 1, normalize_##name, forward_##name,           \
                                            backward_##name};

SC_VARIANT(plain, )

#if defined(__x86_64__)
SC_VARIANT(avx2, __attribute__((target("avx2,fma"))))

const sc_kernel *sc_scaled_kernel(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernel_avx2;
    return &kernel_plain;
}
#else
const sc_kernel *sc_scaled_kernel(void) { return &kernel_plain; }
#endif
