/* Sums and comparisons of weights, rounded as Sprint rounds them. */
#ifndef SPRINTCACHE_GRAPH_SCORES_H
#define SPRINTCACHE_GRAPH_SCORES_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "arrays.h"

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

#endif
