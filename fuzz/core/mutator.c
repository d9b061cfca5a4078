#include "mutator.h"

#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

#define ROOM (1 << 16)
#define MAX_ENTRIES 24
#define MAX_DEPTH 19 /* beyond the reader's limit */

static uint64_t random_state;

static uint32_t any(void) { /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)(random_state * 0x2545F4914F6CDD1Dull >> 32);
}

static uint32_t below(uint32_t limit) { return (uint32_t)((uint64_t)any() * limit >> 32); }

static uint32_t small(void) { return below(4) ? below(4) : below(40); }

static uint32_t odd_number(void) {
    static const uint32_t odd[] = {0,          1,          2,          5,          16,
                                   127,        128,        255,        256,        511,
                                   512,        513,        0xFFFF,     0x10000,    0x7FFFFFFF,
                                   0x80000000, 0x80000002, 0xFFFFFFFE, 0xFFFFFFFF, 0x0FFFFFFF};
    return odd[below(sizeof odd / sizeof *odd)];
}

/* ---- bytes */

typedef struct {
    uint8_t at[ROOM];
    size_t size;
} bytes;

static void put(bytes *b, const void *from, size_t size) {
    if (size > ROOM - b->size) size = ROOM - b->size;
    memcpy(b->at + b->size, from, size);
    b->size += size;
}

static void put_number(bytes *b, uint64_t value, int size) { put(b, &value, (size_t)size); }

static void put_string(bytes *b, const char *text) {
    put_number(b, strlen(text), 4);
    put(b, text, strlen(text));
}

static void put_packed(bytes *b, uint32_t value) {
    for (; value >= 0x80; value >>= 7) put_number(b, (value & 0x7F) | 0x80, 1);
    put_number(b, value, 1);
}

static void put_random(bytes *b, size_t size) {
    while (size-- > 0) put_number(b, below(3) ? below(3) : any(), 1);
}

static void put_times(bytes *b) {
    double when[2] = {below(100) * 0.01, below(100) * 0.01};
    put(b, when, 16);
}

/* A count as it is, or rarely another one. */
static void put_count(bytes *b, uint32_t count) {
    put_number(b, below(40) ? count : odd_number(), 4);
}

/* ---- payloads */

static const struct {
    const char *name;
    int width; /* of an element */
} datatypes[] = {
    {"f32", 4}, {"f64", 8}, {"vector-u8", 1}, {"vector-s8", 1}, {"vector-u16", 2},
    {"vector-s16", 2}, {"vector-u32", 4}, {"vector-f32", 4}, {"vector-f64", 8}, {"vector-bool", 1},
    {"vector-complex-f32", 8}, {"vector-complex-f64", 16}, {"timestamp", 0},
    {"linear-filter-parameter", 0}, {"string", 1}, {"matrix-f32", 4}, {"matrix-f64", 8},
    {"vector-vector-f32", 4}, {"aggregate-vector-f32", 4}, {"autoregressive-coefficients", 4},
    {"windowing-fir-filter-parameter", 16}, {"flow-alignment", 0}, {"aggregate", 0},
};
enum { DATATYPES = sizeof datatypes / sizeof *datatypes, VECTOR_F32 = 7, ALIGNMENT = 21,
       AGGREGATE = 22 };

static const char *const symbols[] = {"sil{#+#}@i@f.0", "a{b+c}@i.2", "a{b+c}@i.11", "e{a+#}.1", ""};
static const uint32_t ids[] = {0, 1 | 2 << 26, 1 | 11 << 26, 2 | 1 << 26, 3, 2};

static uint32_t some_id(void) { return below(12) ? ids[below(8) ? below(4) : below(6)] : any(); }

static void put_alignment(bytes *b) {
    int magic = (int)below(3), weighted = below(3) == 0, version = below(12) ? (int)below(3) : 3;
    uint32_t count = below(6) ? small() : below(400), left = count, time = 0;
    put(b, magic == 0 ? "ALIGNRLE" : magic == 1 ? "AALPHRLE" : "ALIGNEMI", 8);
    if (weighted) {
        put_number(b, 0x80000000u | (unsigned)version, 4);
        put_packed(b, count);
    } else {
        put_count(b, count);
    }
    while (left > 0 && b->size < ROOM - 1024) {
        uint32_t run = 1 + below(left < 128 ? left : 128);
        if (weighted) {
            run = below(4) ? 1 : below(4);
            int marked = below(8) == 0;
            put_packed(b, 2 * run + (uint32_t)marked);
            if (marked) put_packed(b, below(4) ? time : odd_number());
            for (uint32_t i = 0; i < run; i++) {
                put_packed(b, some_id());
                put_random(b, version == 2 ? 4 : version == 1 ? 2 : 0);
            }
            time++;
        } else if (below(3)) {
            put_number(b, 256 - run, 1);
            put_number(b, some_id(), 4);
            time += run;
        } else {
            if (run > 127) run = 127;
            put_number(b, run, 1);
            for (uint32_t i = 0; i < run; i++) put_number(b, some_id(), 4);
            time += run;
            if (below(2)) {
                put_number(b, 0, 1);
                put_number(b, below(10) ? time : odd_number(), 4);
            }
        }
        left -= run < left ? run : left;
    }
    if (magic != 1) return;
    uint32_t rows = below(3) ? 4 : below(6);
    put_packed(b, below(30) ? rows : odd_number());
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t which = below(10) ? i % 4 : below(5);
        put_packed(b, below(20) ? ids[i % 4] : some_id());
        put_string(b, symbols[which]);
    }
}

static void put_packet(bytes *b, uint32_t type, uint32_t dim, int depth);

static void put_block(bytes *b, uint32_t type, uint32_t count, int depth) {
    uint32_t dim = small();
    put_string(b, datatypes[type].name);
    put_count(b, count);
    for (uint32_t i = 0; i < count && b->size < ROOM - 4096; i++)
        put_packet(b, type, below(40) ? dim : small(), depth);
}

static void put_packet(bytes *b, uint32_t type, uint32_t dim, int depth) {
    uint32_t count;
    if (type <= 1) {
        put_random(b, (size_t)datatypes[type].width);
    } else if (type <= 11 || type == 14 || type == 20) {
        put_count(b, dim);
        put_random(b, (size_t)dim * (size_t)datatypes[type].width);
        if (type == 20) return;
    } else if (type == 15 || type == 16) {
        count = below(5);
        put_count(b, count);
        put_number(b, dim, 4);
        put_count(b, count);
        while (count-- > 0) {
            put_count(b, dim);
            put_random(b, (size_t)dim * (size_t)datatypes[type].width);
        }
    } else if (type == 19) {
        put_random(b, 4);
        put_count(b, dim);
        put_random(b, 4 * (size_t)dim);
    } else if (type == 17 || type == 18) {
        if (type == 18) put_times(b);
        count = below(4);
        put_count(b, count);
        while (count-- > 0) put_packet(b, VECTOR_F32, dim, depth + 1);
        if (type == 18) return;
    } else if (type == ALIGNMENT) {
        put_alignment(b);
    } else if (type == AGGREGATE) {
        int same = below(2) == 0;
        uint32_t deep = depth > 0 && depth < MAX_DEPTH && below(8) ? AGGREGATE : below(DATATYPES);
        put_number(b, same ? 1 + below(255) : 0, 1);
        put_times(b);
        count = depth >= MAX_DEPTH || b->size > ROOM / 2 ? 0 : depth ? 1 : below(4);
        if (same) {
            put_block(b, deep, count, depth + 1);
            return;
        }
        put_count(b, count);
        while (count-- > 0) {
            put_string(b, datatypes[deep].name);
            put_packet(b, deep, dim, depth + 1);
            deep = below(DATATYPES);
        }
        return;
    }
    put_times(b);
}

static void put_payload(bytes *b) {
    static const char *const texts[] = {
        "<flow-attributes><flow-attribute name=\"a\" value=\"b\"/></flow-attributes>", "text",
        "a text, which is not the name of a datatype"};
    uint32_t blocks = below(20) ? 1 + below(3) : 0, type = below(DATATYPES);
    if (below(25) == 0) {
        const char *text = texts[below(3)];
        put(b, text, strlen(text));
        return;
    }
    if (below(3) == 0) type = ALIGNMENT;
    while (blocks-- > 0) {
        uint32_t count = type == ALIGNMENT ? below(8) == 0 ? below(3) : 1 : small();
        put_block(b, type, count, 0);
        if (below(3) == 0) type = below(DATATYPES);
    }
}

static void mutate_bytes(bytes *b) {
    uint32_t number = odd_number();
    if (b->size == 0 || below(3)) {
        if (b->size == 0) b->at[b->size++] = 0;
        b->size = LLVMFuzzerMutate(b->at, b->size, ROOM);
    } else if (b->size >= 4 && below(2)) {
        memcpy(b->at + below((uint32_t)b->size - 3), &number, 4);
    } else {
        b->at[below((uint32_t)b->size)] ^= (uint8_t)(1 << below(8));
    }
}

static void mutate_payload(bytes *b) {
    uint32_t how = below(10);
    if (how < 2) b->size = 0;
    if (how < 4 && b->size < ROOM / 4)
        put_payload(b);
    else
        mutate_bytes(b);
}

/* ---- gzip members */

static size_t inflated(const uint8_t *member, size_t size, uint8_t *out) {
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (inflateInit2(&stream, 31) != Z_OK) return 0;
    stream.next_in = (Bytef *)member;
    stream.avail_in = (uInt)size;
    stream.next_out = out;
    stream.avail_out = ROOM;
    inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return ROOM - stream.avail_out;
}

static void put_member(bytes *b, const bytes *data) {
    static const int strategies[] = {Z_DEFAULT_STRATEGY, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE};
    size_t begin = b->size;
    int flags = below(6) ? 0 : (int)below(32);
    uint8_t head[10] = {0x1F, 0x8B, 8, (uint8_t)flags, 0, 0, 0, 0, 0, 3};
    if (flags || below(20) == 0) head[4 + below(6)] = (uint8_t)any();
    put(b, head, 10);
    if (flags & 4) {
        uint32_t extra = below(9);
        put_number(b, extra, 2);
        put_random(b, extra);
    }
    if (flags & 8) put(b, "name", 5);
    if (flags & 16) put(b, "comment", 8);
    if (flags & 2) put_number(b, crc32(0, b->at + begin, (uInt)(b->size - begin)), 2);
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    int level = below(3) ? 0 : 1 + (int)below(9);
    if (deflateInit2(&stream, level, 8, -9, 1, strategies[below(4)]) != Z_OK) return;
    stream.next_in = (Bytef *)data->at;
    stream.avail_in = (uInt)data->size;
    stream.next_out = b->at + b->size;
    stream.avail_out = (uInt)(ROOM - b->size);
    deflate(&stream, Z_FINISH);
    b->size = ROOM - stream.avail_out;
    deflateEnd(&stream);
    put_number(b, crc32(0, data->at, (uInt)data->size), 4);
    put_number(b, data->size, 4);
}

static void mutate_member(bytes *b) {
    static bytes data;
    if (b->size < 4) put_number(b, 0, 4);
    if (below(4) == 0) {
        mutate_bytes(b);
        return;
    }
    data.size = inflated(b->at + 4, b->size - 4, data.at);
    mutate_payload(&data);
    if (data.size > ROOM / 2) data.size = ROOM / 2;
    b->size = 0;
    put_number(b, below(20) ? data.size : odd_number(), 4);
    put_member(b, &data);
    while (below(4) == 0) mutate_bytes(b);
}

/* ---- archives */

typedef struct {
    uint8_t name[64];
    uint32_t name_size;
    uint32_t size;
    uint32_t compressed;
    size_t payload; /* where its stored bytes are in the old file */
    int fresh;      /* they were mutated: in `stored` */
    int hole;
} entry;

static bytes old, built, stored[4], plain;

static uint32_t read_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static int entries_of(const bytes *file, entry *entries) {
    int count = 0;
    size_t at = 9;
    while (at + 24 <= file->size && count < MAX_ENTRIES) {
        entry *e = entries + count;
        uint32_t name_size = read_u32(file->at + at + 4);
        if (read_u32(file->at + at) != 0xAA55AA55u || name_size > sizeof e->name) break;
        if (at + 24 + name_size > file->size) break;
        memset(e, 0, sizeof *e);
        e->name_size = name_size;
        e->hole = name_size == 0;
        memcpy(e->name, file->at + at + 8, name_size);
        e->size = read_u32(file->at + at + 8 + name_size);
        e->compressed = read_u32(file->at + at + 12 + name_size);
        e->payload = at + 20 + name_size;
        uint64_t size = e->compressed ? e->compressed : e->size;
        if (size + 4 > file->size - e->payload) break;
        at = e->payload + size + 4;
        count++;
    }
    return count;
}

static void rename_entry(entry *e) {
    static const char *const names[] = {"a", "b", "a.attribs", "seg/1", ".attribs", "\xff\xc3\xa9",
                                        "a/longer/name/than/a/word"};
    const char *name = names[below(7)];
    e->name_size = (uint32_t)strlen(name) + (below(2) ? 0 : 2);
    memset(e->name, '0' + (int)below(10), sizeof e->name);
    memcpy(e->name, name, strlen(name));
    e->hole = 0;
}

static void refill_entry(entry *e, int slot, int is_new) {
    plain.size = 0;
    if (!is_new && e->compressed)
        plain.size = inflated(old.at + e->payload, e->compressed, plain.at);
    else if (!is_new)
        put(&plain, old.at + e->payload, e->size);
    if (is_new) {
        put_payload(&plain);
    } else {
        mutate_payload(&plain);
    }
    if (plain.size > ROOM / 4) plain.size = ROOM / 4;
    e->fresh = 1 + slot;
    stored[slot].size = 0;
    e->size = (uint32_t)plain.size;
    e->compressed = 0;
    if (below(3) == 0) {
        put_member(&stored[slot], &plain);
        e->compressed = (uint32_t)stored[slot].size;
    } else {
        put(&stored[slot], plain.at, plain.size);
    }
}

static void put_archive(const entry *entries, int count) {
    static bytes rows;
    uint32_t num_rows = 0, num_holes = 0;
    int table = below(4) != 0;
    bytes *b = &built;
    static bytes holes;
    b->size = rows.size = holes.size = 0;
    put(b, "SP_ARC1\0", 8);
    put_number(b, table, 1);
    for (int i = 0; i < count; i++) {
        const entry *e = entries + i;
        uint64_t at = b->size + 8 + e->name_size, size = e->compressed ? e->compressed : e->size;
        if (b->size + size > ROOM / 2) break;
        put_number(b, 0xAA55AA55u, 4);
        put_number(b, e->name_size, 4);
        put(b, e->name, e->name_size);
        put_number(b, e->size, 4);
        put_number(b, e->compressed, 4);
        put_number(b, 0, 4);
        put(b, e->fresh ? stored[e->fresh - 1].at : old.at + e->payload, size);
        put_number(b, 0x55AA55AAu, 4);
        if (e->hole || e->name_size == 0) {
            put_number(&holes, at, 8);
            put_number(&holes, size, 4);
            num_holes++;
            continue;
        }
        put_number(&rows, e->name_size, 4);
        put(&rows, e->name, e->name_size);
        put_number(&rows, at, 8);
        put_number(&rows, below(60) ? e->size : odd_number(), 4);
        put_number(&rows, below(60) ? e->compressed : odd_number(), 4);
        num_rows++;
    }
    if (!table) return;
    uint64_t table_at = b->size, holes_at;
    put_number(b, below(60) ? num_rows : odd_number(), 4);
    put(b, rows.at, rows.size);
    holes_at = b->size;
    if (below(8)) {
        put_number(b, num_holes, 4);
        put(b, holes.at, holes.size);
    } else {
        holes_at = 0; /* as RETURNN's writer leaves it */
    }
    put_number(b, holes_at, 8);
    put_number(b, table_at, 8);
}

static void mutate_archive(bytes *b) {
    entry entries[MAX_ENTRIES + 4];
    old.size = b->size;
    memcpy(old.at, b->at, b->size);
    int count = entries_of(&old, entries), slot = 0;
    if (below(5) == 0) {
        mutate_bytes(b);
        return;
    }
    for (uint32_t changes = 1 + below(3); changes > 0; changes--) {
        uint32_t how = below(12), which = count ? below((uint32_t)count) : 0;
        if (count == 0 || (how == 0 && count < MAX_ENTRIES)) {
            memset(entries + count, 0, sizeof *entries);
            rename_entry(entries + count);
            refill_entry(entries + count++, slot++, 1);
        } else if (how == 1) {
            entries[which] = entries[--count];
        } else if (how == 2 && count < MAX_ENTRIES) {
            entries[count++] = entries[which];
        } else if (how == 3) {
            rename_entry(entries + which);
        } else if (how == 4) {
            entries[which].name_size = 0;
        } else if (!entries[which].fresh) {
            refill_entry(entries + which, slot++, 0);
        }
    }
    put_archive(entries, count);
    b->size = built.size;
    memcpy(b->at, built.at, built.size);
    while (below(5) == 0) mutate_bytes(b);
}

int fuzz_whole_archives = 0;

/* Mutates in place a payload, an archive, or four bytes of a declared size and a gzip member. */
static size_t mutate_body(enum fuzz_kind kind, uint8_t *data, size_t size, size_t room) {
    static bytes b;
    if (size > ROOM / 2) size = ROOM / 2;
    b.size = size;
    memcpy(b.at, data, size);
    if (kind == FUZZ_PAYLOAD)
        mutate_payload(&b);
    else if (kind == FUZZ_MEMBER)
        mutate_member(&b);
    else
        mutate_archive(&b);
    if (b.size > room) return LLVMFuzzerMutate(data, size, room);
    memcpy(data, b.at, b.size);
    return b.size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
    random_state = 0x9E3779B97F4A7C15ull * (seed + 1ull);
    if (fuzz_whole_archives) return mutate_body(FUZZ_ARCHIVE, data, size, room);
    if (size < FUZZ_HEAD || room < FUZZ_HEAD + 16) return LLVMFuzzerMutate(data, size, room);
    if (below(16) == 0) data[0] = (uint8_t)below(FUZZ_KINDS);
    if (below(3) == 0) data[1] = (uint8_t)any();
    return FUZZ_HEAD + mutate_body(data[0] % FUZZ_KINDS, data + FUZZ_HEAD, size - FUZZ_HEAD,
                                   room - FUZZ_HEAD);
}
