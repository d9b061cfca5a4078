/* Hash tables: of the model, and of pairs of numbers. */
#ifndef SPRINTCACHE_GRAPH_HASHING_H
#define SPRINTCACHE_GRAPH_HASHING_H

#include <stdlib.h>
#include <string.h>

#include "arrays.h"

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

#endif
