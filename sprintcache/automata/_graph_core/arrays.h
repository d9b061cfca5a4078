/* Arrays that grow, with a limit of their items. */
#ifndef SPRINTCACHE_GRAPH_ARRAYS_H
#define SPRINTCACHE_GRAPH_ARRAYS_H

#include <stdlib.h>

#include "../_graph_core.h"

#define MOST_ITEMS (1u << 26)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

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

/* Defines a function that sorts items by `order`: up to `few` of them by insertion. */
#define SORT_BY_ORDER(name, type, few)                                                            \
    static int name##_compare(const void *a, const void *b)                                       \
    {                                                                                             \
        const type *x = a, *y = b;                                                                \
        return x->order < y->order ? -1 : x->order > y->order;                                    \
    }                                                                                             \
    static void name(type *at, uint32_t count)                                                    \
    {                                                                                             \
        if (count > (few)) {                                                                      \
            qsort(at, count, sizeof *at, name##_compare);                                         \
            return;                                                                               \
        }                                                                                         \
        for (uint32_t i = 1; i < count; i++) {                                                    \
            type item = at[i];                                                                    \
            uint32_t k = i;                                                                       \
            for (; k > 0 && item.order < at[k - 1].order; k--)                                    \
                at[k] = at[k - 1];                                                                \
            at[k] = item;                                                                         \
        }                                                                                         \
    }

typedef VEC(uint32_t) vec_u32;
typedef VEC(sg_arc) vec_arc;

#endif
