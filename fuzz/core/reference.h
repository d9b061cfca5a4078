/* A second decoder of archives, the judge of the fuzzed one: plain, without fast paths, and without a
 * line in common with the reader. Results stay valid until the next call. */
#ifndef SPRINTCACHE_FUZZ_REFERENCE_H
#define SPRINTCACHE_FUZZ_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *name;
    uint32_t name_size;
    uint64_t position; /* of the entry's size field */
    uint32_t size;
    uint32_t compressed;
} ref_row;

typedef struct {
    int sound;   /* every block decodes */
    int numeric; /* and all are of numbers, in frames of one size */
    int uneven;  /* numbers in frames of several sizes */
    int timed;   /* and all datatypes have times */
    int one_alignment;
    int64_t packets;
    int64_t frames; /* of features */
    int64_t dim;
    const float *values;
    const double *times; /* two per packet */
    int doubled; /* an alphabet has an id twice */
    /* of the last alignment */
    int emissions;
    int alphabet;
    int64_t items;
    int64_t last; /* largest time + 1 */
    const uint32_t *item_times;
    const uint32_t *ids;
    const float *weights;
} ref_payload;

typedef struct {
    uint32_t allophones;
    uint32_t states;
    const int32_t *table;
    const char *const *symbols;
} ref_labeling;

/* The first entry of each name, by the table if it is sound, else by a scan; -1: no archive. */
int64_t ref_rows(const uint8_t *data, size_t size, ref_row *rows, size_t room);

/* Whether the last member was refused by zlib for its deflate data. Some of these libdeflate reads, such
 * as code lengths that repeat beyond their number; the checksum has the last word. */
int ref_undecided(void);

/* The data of an entry; NULL: refused. */
const uint8_t *ref_entry(const uint8_t *data, size_t size, const ref_row *row, uint64_t *payload_size);

/* The data of a gzip member that must have `declared` bytes; NULL: refused. */
const uint8_t *ref_gunzip(const uint8_t *member, size_t size, uint64_t declared, int strict);

void ref_decode(const uint8_t *payload, size_t size, ref_payload *result);

/* Writes one label per frame of the decoded alignment; 0: refused. */
int ref_labels(const ref_payload *decoded, const ref_labeling *labeling, int check_alphabet,
               int32_t *out);

#endif
