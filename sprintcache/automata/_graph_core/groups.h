/* Groups of lemmas that an edge may belong to. */
#ifndef SPRINTCACHE_GRAPH_GROUPS_H
#define SPRINTCACHE_GRAPH_GROUPS_H

#include <string.h>

#include "work.h"

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

#endif
