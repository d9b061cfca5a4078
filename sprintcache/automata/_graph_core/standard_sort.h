/* The order of libstdc++'s std::sort, which shows where elements are equal. */
#ifndef SPRINTCACHE_GRAPH_STANDARD_SORT_H
#define SPRINTCACHE_GRAPH_STANDARD_SORT_H

#include <stddef.h>
#include <string.h>

#include "work.h"

/* libstdc++'s std::sort, whose order of equal elements shows: introsort with the median of three,
 * heap sort below a depth of 2 log2(n), insertion sort of the last 16. */

static void sift_down(sort_item *at, ptrdiff_t hole, ptrdiff_t length, sort_item value)
{
    ptrdiff_t top = hole, child = hole;
    while (child < (length - 1) / 2) {
        child = 2 * (child + 1);
        if (at[child].key < at[child - 1].key)
            child--;
        at[hole] = at[child];
        hole = child;
    }
    if (length % 2 == 0 && child == (length - 2) / 2) {
        child = 2 * (child + 1);
        at[hole] = at[child - 1];
        hole = child - 1;
    }
    ptrdiff_t parent = (hole - 1) / 2;
    while (hole > top && at[parent].key < value.key) {
        at[hole] = at[parent];
        hole = parent;
        parent = (hole - 1) / 2;
    }
    at[hole] = value;
}

static void heap_sort(sort_item *at, ptrdiff_t length)
{
    ptrdiff_t i;
    for (i = (length - 2) / 2; length > 1 && i >= 0; i--)
        sift_down(at, i, length, at[i]);
    for (i = length - 1; i > 0; i--) {
        sort_item value = at[i];
        at[i] = at[0];
        sift_down(at, 0, i, value);
    }
}

static void swap_items(sort_item *a, sort_item *b)
{
    sort_item item = *a;
    *a = *b;
    *b = item;
}

static void median_to_first(sort_item *result, sort_item *a, sort_item *b, sort_item *c)
{
    if (a->key < b->key) {
        if (b->key < c->key)
            swap_items(result, b);
        else if (a->key < c->key)
            swap_items(result, c);
        else
            swap_items(result, a);
    }
    else if (a->key < c->key)
        swap_items(result, a);
    else if (b->key < c->key)
        swap_items(result, c);
    else
        swap_items(result, b);
}

static void introsort(sort_item *first, sort_item *last, int depth)
{
    while (last - first > 16) {
        sort_item *low, *high;
        if (depth-- == 0) {
            heap_sort(first, last - first);
            return;
        }
        median_to_first(first, first + 1, first + (last - first) / 2, last - 1);
        low = first + 1;
        high = last;
        for (;;) {
            while (low->key < first->key)
                low++;
            high--;
            while (first->key < high->key)
                high--;
            if (!(low < high))
                break;
            swap_items(low, high);
            low++;
        }
        introsort(low, last, depth);
        last = low;
    }
}

static void unguarded_insert(sort_item *at)
{
    sort_item item = *at;
    while (item.key < at[-1].key) {
        at[0] = at[-1];
        at--;
    }
    *at = item;
}

static void insertion_sort(sort_item *first, sort_item *last)
{
    sort_item *i;
    for (i = first + 1; i < last; i++) {
        if (i->key < first->key) {
            sort_item item = *i;
            memmove(first + 1, first, (size_t)(i - first) * sizeof item);
            *first = item;
        }
        else
            unguarded_insert(i);
    }
}

static void standard_sort(sort_item *at, uint32_t count)
{
    int depth = 0;
    sort_item *i;
    if (!count)
        return;
    while ((count >> depth) > 1)
        depth++;
    introsort(at, at + count, 2 * depth);
    if (count <= 16) {
        insertion_sort(at, at + count);
        return;
    }
    insertion_sort(at, at + 16);
    for (i = at + 16; i < at + count; i++)
        unguarded_insert(i);
}

#endif
