/* Memory of one thread: blocks that are handed out in order and reused for the next sequence. */
#ifndef SPRINTCACHE_ARENA_H
#define SPRINTCACHE_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SC_BLOCK ((size_t)1 << 18)

typedef struct sc_block {
    struct sc_block *next;
    size_t size, used;
    size_t padding; /* keeps the bytes that follow aligned */
} sc_block;

typedef struct {
    sc_block *first;
} sc_arena;

/* Returns `count` items of `size` bytes, 32-byte aligned, or NULL without memory. */
static inline void *sc_take(sc_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 4) return NULL;
    bytes = (bytes + 63) & ~(size_t)31; /* room for an alignment of 32 */
    sc_block *block = arena->first;
    if (block == NULL || block->size - block->used < bytes) {
        size_t room = bytes > SC_BLOCK ? bytes : SC_BLOCK;
        block = (sc_block *)malloc(sizeof(sc_block) + room);
        if (block == NULL) return NULL;
        block->next = arena->first;
        block->size = room;
        block->used = 0;
        arena->first = block;
    }
    uintptr_t begin = (uintptr_t)(block + 1) + block->used;
    block->used += bytes;
    return (void *)((begin + 31) & ~(uintptr_t)31);
}

static inline void sc_release(sc_arena *arena) {
    while (arena->first != NULL) {
        sc_block *next = arena->first->next;
        free(arena->first);
        arena->first = next;
    }
}

/* Makes all memory available again; several blocks become a single one of the same total. */
static inline void sc_reset(sc_arena *arena) {
    sc_block *block = arena->first;
    if (block == NULL) return;
    if (block->next == NULL) {
        block->used = 0;
        return;
    }
    size_t total = 0;
    for (; block != NULL; block = block->next) total += block->size;
    sc_release(arena);
    block = (sc_block *)malloc(sizeof(sc_block) + total);
    if (block == NULL) return; /* sc_take tries again */
    block->next = NULL;
    block->size = total;
    block->used = 0;
    arena->first = block;
}

#endif
