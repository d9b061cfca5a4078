#include "reference.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_DEPTH 16 /* of aggregates in each other: a limit of the reader, not of the format */
#define MAX_SYMBOLS 4096

static const char START[] = "\x55\xaa\x55\xaa", END[] = "\xaa\x55\xaa\x55";

typedef struct {
    const uint8_t *data;
    size_t size;
    size_t at;
    int cut; /* set by a read beyond the end; all later ones return 0 */
} cursor;

static const uint8_t *span(cursor *c, uint64_t size) {
    static const uint8_t zeros[32];
    if (c->cut || size > c->size - c->at) {
        c->cut = 1;
        return zeros;
    }
    c->at += size;
    return c->data + c->at - size;
}

static uint64_t number(cursor *c, int bytes) {
    const uint8_t *at = span(c, (uint64_t)bytes);
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static double real(cursor *c, int bytes) {
    uint64_t bits = number(c, bytes);
    uint32_t half = (uint32_t)bits;
    float single;
    double value;
    memcpy(&single, &half, 4);
    memcpy(&value, &bits, 8);
    return bytes == 4 ? (double)single : value;
}

static uint64_t packed(cursor *c) {
    uint64_t value = 0;
    for (int group = 0; group < 5; group++) {
        uint64_t byte = number(c, 1);
        value |= (byte & 0x7F) << 7 * group;
        if (byte < 0x80) {
            if (value > 0xFFFFFFFF) c->cut = 1;
            return value;
        }
    }
    c->cut = 1;
    return 0;
}

static int expect(cursor *c, const char *bytes, size_t size) {
    const uint8_t *at = span(c, size);
    return !c->cut && memcmp(at, bytes, size) == 0;
}

static void *grown(void *array, size_t *room, size_t need, size_t item) {
    if (need <= *room) return array;
    *room = need + need / 2 + 64;
    array = realloc(array, *room * item);
    if (array == NULL) abort();
    return array;
}

/* ---- the archive */

static int whole_entry(const uint8_t *data, size_t size, uint64_t at, ref_row *row, uint64_t *end) {
    cursor c = {data, size, at, 0};
    if (!expect(&c, START, 4)) return 0;
    row->name_size = (uint32_t)number(&c, 4);
    row->name = span(&c, row->name_size);
    row->position = c.at;
    row->size = (uint32_t)number(&c, 4);
    row->compressed = (uint32_t)number(&c, 4);
    if (number(&c, 4) != 0) return 0;
    span(&c, row->compressed ? row->compressed : row->size);
    if (!expect(&c, END, 4)) return 0;
    *end = c.at;
    return 1;
}

static int64_t add_first(ref_row *rows, int64_t count, size_t room, const ref_row *row) {
    for (int64_t i = 0; i < count; i++)
        if (rows[i].name_size == row->name_size &&
            memcmp(rows[i].name, row->name, row->name_size) == 0)
            return count;
    if ((size_t)count < room) rows[count++] = *row;
    return count;
}

static int64_t table_rows(const uint8_t *data, size_t size, ref_row *rows, size_t room) {
    int64_t found = 0;
    if (size < 25) return -1;
    cursor trailer = {data, size, size - 16, 0};
    uint64_t holes_at = number(&trailer, 8), table_at = number(&trailer, 8);
    if (table_at < 9 || table_at > size - 16) return -1;
    cursor c = {data, size - 16, table_at, 0};
    uint64_t count = number(&c, 4);
    while (count-- && !c.cut) {
        ref_row row;
        row.name_size = (uint32_t)number(&c, 4);
        row.name = span(&c, row.name_size);
        row.position = number(&c, 8);
        row.size = (uint32_t)number(&c, 4);
        row.compressed = (uint32_t)number(&c, 4);
        uint64_t stored = row.compressed ? row.compressed : row.size;
        if (c.cut || row.name_size == 0 || row.position > size) return -1;
        if (row.position < 17 + (uint64_t)row.name_size) return -1;
        if (row.position + 16 + stored > table_at) return -1;
        found = add_first(rows, found, room, &row);
    }
    if (c.at == c.size && !c.cut) return holes_at == 0 ? found : -1;
    span(&c, 12 * number(&c, 4));
    return !c.cut && c.at == c.size ? found : -1;
}

static const uint8_t *next_start(const uint8_t *data, size_t size, uint64_t at) {
    for (; at + 4 <= size; at++)
        if (memcmp(data + at, START, 4) == 0) return data + at;
    return NULL;
}

int64_t ref_rows(const uint8_t *data, size_t size, ref_row *rows, size_t room) {
    int64_t found = -1;
    if (size < 9 || memcmp(data, "SP_ARC1", 8) != 0) return -1;
    if (data[8] != 0) found = table_rows(data, size, rows, room);
    if (found >= 0) return found;
    found = 0;
    const uint8_t *hit = next_start(data, size, 9);
    while (hit != NULL) {
        ref_row row;
        uint64_t at = (uint64_t)(hit - data), end = 0;
        if (whole_entry(data, size, at, &row, &end)) {
            if (row.name_size) found = add_first(rows, found, room, &row);
            at = end - 3; /* the next start tag may close an end tag that lost bytes */
        } else {
            at++;
        }
        hit = next_start(data, size, at);
    }
    return found;
}

static int undecided;

int ref_undecided(void) { return undecided; }

const uint8_t *ref_entry(const uint8_t *data, size_t size, const ref_row *row,
                         uint64_t *payload_size) {
    ref_row found;
    uint64_t end = 0;
    undecided = 0;
    if (!whole_entry(data, size, row->position - 8 - row->name_size, &found, &end)) return NULL;
    if (found.name_size != row->name_size || found.size != row->size ||
        found.compressed != row->compressed || memcmp(found.name, row->name, row->name_size) != 0)
        return NULL;
    *payload_size = row->size;
    if (row->compressed == 0) return data + row->position + 12;
    return ref_gunzip(data + row->position + 12, row->compressed, row->size, 1);
}

/* ---- gzip members */

static int gzip_header(cursor *c, int strict) {
    static const uint8_t sprint[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3};
    const uint8_t *head = span(c, 10);
    int bits = 0;
    if (c->cut || head[0] != 0x1F || head[1] != 0x8B || head[2] != 8) return 0;
    int flags = head[3];
    if (flags & 0xE0) return 0;
    for (int i = 0; i < 10; i++) bits += __builtin_popcount(head[i] ^ sprint[i]);
    if (strict && bits == 1 && (flags & ~1) == 0) return 0; /* damage, by our own rule */
    if (flags & 4) span(c, number(c, 2));
    for (int text = 8; text <= 16; text *= 2)
        if (flags & text)
            while (number(c, 1) != 0) {
            }
    if (c->cut) return 0;
    if (flags & 2) {
        uint32_t crc = (uint32_t)crc32(0, c->data, (uInt)c->at) & 0xFFFF;
        if (number(c, 2) != crc) return 0;
    }
    return !c->cut;
}

const uint8_t *ref_gunzip(const uint8_t *member, size_t size, uint64_t declared, int strict) {
    static uint8_t *out;
    static size_t room;
    static z_stream stream;
    static int ready;
    cursor c = {member, size, 0, 0};
    undecided = 0;
    if (!gzip_header(&c, strict) || size - c.at < 8) return NULL;
    if (declared > 1032 * (uint64_t)size) return NULL; /* more than deflate can hold */
    out = grown(out, &room, declared + 1, 1);
    if (!ready && inflateInit2(&stream, -15) != Z_OK) abort();
    ready = 1;
    if (inflateReset(&stream) != Z_OK) abort();
    stream.next_in = (Bytef *)(member + c.at);
    stream.avail_in = (uInt)(size - c.at - 8);
    stream.next_out = out;
    stream.avail_out = (uInt)(declared + 1);
    int result = inflate(&stream, Z_FINISH);
    undecided = result == Z_DATA_ERROR;
    if (result != Z_STREAM_END) return NULL;
    if (stream.avail_in != 0 || stream.avail_out != 1) return NULL;
    c.at = size - 8;
    if (number(&c, 4) != crc32(0, out, (uInt)declared) || number(&c, 4) != declared) return NULL;
    return out;
}

/* ---- blocks and packets */

enum layout { SCALAR, VECTOR, TIMES, STRING, MATRIX, ALIGNMENT, FILTER, WINDOW, VECTORS, VECTORS_LATE,
              AGGREGATE };

typedef struct {
    const char *name;
    enum layout layout;
    char element; /* as in Python's struct; F and D are complex */
    int width;
} datatype;

static const datatype datatypes[] = {
    {"f32", SCALAR, 'f', 4},
    {"f64", SCALAR, 'd', 8},
    {"vector-u8", VECTOR, 'B', 1},
    {"vector-s8", VECTOR, 'b', 1},
    {"vector-u16", VECTOR, 'H', 2},
    {"vector-s16", VECTOR, 'h', 2},
    {"vector-u32", VECTOR, 'I', 4},
    {"vector-f32", VECTOR, 'f', 4},
    {"vector-f64", VECTOR, 'd', 8},
    {"vector-bool", VECTOR, '?', 1},
    {"vector-complex-f32", VECTOR, 'F', 8},
    {"vector-complex-f64", VECTOR, 'D', 16},
    {"timestamp", TIMES, 0, 0},
    {"linear-filter-parameter", TIMES, 0, 0},
    {"string", STRING, 0, 1},
    {"matrix-f32", MATRIX, 'f', 4},
    {"matrix-f64", MATRIX, 'd', 8},
    {"flow-alignment", ALIGNMENT, 0, 0},
    {"autoregressive-coefficients", FILTER, 0, 4},
    {"windowing-fir-filter-parameter", WINDOW, 0, 16},
    {"vector-vector-f32", VECTORS, 0, 0},
    {"aggregate-vector-f32", VECTORS_LATE, 0, 0},
    {"aggregate", AGGREGATE, 0, 0},
};

static float *values;
static double *times;
static uint32_t *item_times, *ids;
static float *weights;
static size_t values_room, times_room, item_room[3];
static struct {
    uint32_t id;
    const uint8_t *symbol;
    uint32_t size;
} symbols[MAX_SYMBOLS];
static size_t num_symbols;

static const datatype *take_datatype(cursor *c) {
    uint32_t size = (uint32_t)number(c, 4);
    const uint8_t *name = span(c, size);
    if (c->cut) return NULL;
    for (size_t i = 0; i < sizeof datatypes / sizeof *datatypes; i++)
        if (strlen(datatypes[i].name) == size && memcmp(datatypes[i].name, name, size) == 0)
            return &datatypes[i];
    c->cut = 1;
    return NULL;
}

static void add_item(ref_payload *r, cursor *c, uint64_t time, uint64_t id, float weight) {
    if (time > 0xFFFFFFFF) c->cut = 1;
    if (c->cut) return;
    size_t need = (size_t)r->items + 1;
    item_times = grown(item_times, &item_room[0], need, 4);
    ids = grown(ids, &item_room[1], need, 4);
    weights = grown(weights, &item_room[2], need, 4);
    item_times[r->items] = (uint32_t)time;
    ids[r->items] = (uint32_t)id;
    weights[r->items++] = weight;
    if ((int64_t)time >= r->last) r->last = (int64_t)time + 1;
}

static void take_alignment(cursor *c, ref_payload *r) {
    const uint8_t *magic = span(c, 8);
    int rle = memcmp(magic, "ALIGNRLE", 8) == 0;
    uint64_t time = 0;
    r->items = r->last = 0;
    r->emissions = memcmp(magic, "ALIGNEMI", 8) == 0;
    r->alphabet = memcmp(magic, "AALPHRLE", 8) == 0;
    uint64_t declared = number(c, 4);
    if (!rle && !r->emissions && !r->alphabet) c->cut = 1;
    if (declared < 0x80000000) {
        while (!c->cut && (uint64_t)r->items < declared) {
            int code = (int8_t)number(c, 1);
            uint64_t id = number(c, 4);
            if (code == 0) {
                time = id;
                continue;
            }
            for (int i = 0; !c->cut && i < abs(code); i++) {
                if (i > 0 && code > 0) id = number(c, 4);
                add_item(r, c, time++, id, 1);
            }
        }
    } else {
        uint64_t version = declared - 0x80000000;
        declared = packed(c);
        if (version > 2) c->cut = 1;
        while (!c->cut && (uint64_t)r->items < declared) {
            uint64_t head = packed(c);
            if (head & 1) time = packed(c);
            for (uint64_t i = 0; !c->cut && i < head / 2; i++) {
                uint64_t id = packed(c);
                float weight = 0;
                if (version == 1) weight = (float)((double)number(c, 2) / 65535);
                if (version == 2) weight = (float)real(c, 4);
                add_item(r, c, time, id, weight);
            }
            time++;
        }
    }
    if ((uint64_t)r->items != declared) c->cut = 1;
    num_symbols = 0;
    if (!r->alphabet) return;
    for (uint64_t left = packed(c); !c->cut && left > 0; left--) {
        uint32_t id = (uint32_t)packed(c), size = (uint32_t)number(c, 4);
        const uint8_t *symbol = span(c, size);
        if (c->cut) return;
        for (size_t i = 0; i < num_symbols; i++) r->doubled |= symbols[i].id == id;
        if (num_symbols == MAX_SYMBOLS) abort();
        symbols[num_symbols].id = id;
        symbols[num_symbols].symbol = symbol;
        symbols[num_symbols++].size = size;
    }
}

static float element(cursor *c, const datatype *type) {
    switch (type->element) {
    case 'f': return (float)real(c, 4);
    case 'd': return (float)real(c, 8);
    case 'b': return (float)(int8_t)number(c, 1);
    case 'h': return (float)(int16_t)number(c, 2);
    case '?': return number(c, 1) != 0;
    default: return (float)number(c, type->width);
    }
}

/* A packet; the numbers of the outermost ones are kept, in `values` from r->frames * dim. */
static void take_packet(cursor *c, const datatype *type, int depth, ref_payload *r, double *when) {
    uint64_t size = 1, columns, again;
    int late = type->layout == VECTORS_LATE || type->layout == AGGREGATE, same = 0;
    double inner[2];
    if (type->layout == AGGREGATE && depth >= MAX_DEPTH) c->cut = 1;
    if (type->layout == AGGREGATE) same = number(c, 1) != 0;
    if (late) {
        when[0] = real(c, 8);
        when[1] = real(c, 8);
    }
    switch (type->layout) {
    case SCALAR:
    case VECTOR:
        if (type->layout == VECTOR) size = number(c, 4);
        if (c->cut || size * (uint64_t)type->width > c->size - c->at) {
            c->cut = 1;
            return;
        }
        if (depth == 0 && r->numeric) {
            if (r->dim < 0) r->dim = (int64_t)size;
            if (type->element == 'F' || type->element == 'D' || r->dim != (int64_t)size) {
                r->numeric = 0;
                r->uneven = r->dim != (int64_t)size;
            } else {
                values = grown(values, &values_room, (size_t)(r->frames + 1) * size + 1, 4);
                for (uint64_t i = 0; i < size; i++) {
                    size_t at = c->at;
                    values[(uint64_t)r->frames * size + i] = element(c, type);
                    if (type->element == 'f') /* no rounding, which would quiet a NaN */
                        memcpy(values + (uint64_t)r->frames * size + i, c->data + at, 4);
                }
                break;
            }
        }
        span(c, size * (uint64_t)type->width);
        break;
    case TIMES: break;
    case STRING: span(c, number(c, 4)); break;
    case FILTER:
        span(c, 4);
        span(c, 4 * number(c, 4));
        break;
    case WINDOW:
        span(c, 16 * number(c, 4));
        return;
    case MATRIX:
        size = number(c, 4);
        columns = number(c, 4);
        again = number(c, 4);
        if (size != again) c->cut = 1;
        for (uint64_t row = 0; !c->cut && row < size; row++) {
            if (number(c, 4) != columns) c->cut = 1;
            span(c, columns * (uint64_t)type->width);
        }
        break;
    case ALIGNMENT: take_alignment(c, r); break;
    case VECTORS:
    case VECTORS_LATE:
        for (size = number(c, 4); !c->cut && size > 0; size--) {
            span(c, 4 * number(c, 4));
            span(c, 16);
        }
        break;
    case AGGREGATE: {
        const datatype *shared = same ? take_datatype(c) : NULL;
        for (size = number(c, 4); !c->cut && size > 0; size--) {
            const datatype *member = same ? shared : take_datatype(c);
            if (member != NULL) take_packet(c, member, depth + 1, r, inner);
        }
        break;
    }
    }
    if (!late) {
        when[0] = real(c, 8);
        when[1] = real(c, 8);
    }
}

void ref_decode(const uint8_t *payload, size_t size, ref_payload *r) {
    cursor c = {payload, size, 0, 0};
    int64_t alignments = 0;
    memset(r, 0, sizeof *r);
    r->numeric = r->timed = 1;
    r->dim = -1;
    while (!c.cut && c.at < c.size) {
        const datatype *type = take_datatype(&c);
        uint64_t count = number(&c, 4);
        if (c.cut) break;
        if (type->layout > VECTOR || type->element == 'F' || type->element == 'D') r->numeric = 0;
        if (type->layout == WINDOW) r->timed = 0;
        for (uint64_t i = 0; !c.cut && i < count; i++) {
            times = grown(times, &times_room, 2 * ((size_t)r->packets + 1), 8);
            take_packet(&c, type, 0, r, times + 2 * r->packets);
            r->packets++;
            r->frames++;
            alignments += type->layout == ALIGNMENT;
        }
    }
    r->sound = !c.cut;
    r->numeric &= r->sound;
    r->timed &= r->sound;
    r->one_alignment = r->sound && r->packets == 1 && alignments == 1;
    if (r->dim < 0) r->dim = 0;
    r->values = values;
    r->times = times;
    r->item_times = item_times;
    r->ids = ids;
    r->weights = weights;
}

/* ---- labels */

static int is_symbol(const ref_labeling *labeling, size_t i) {
    char expected[64];
    uint32_t allophone = symbols[i].id & 0x03FFFFFF, state = symbols[i].id >> 26;
    if (state > 15 || allophone >= labeling->allophones) return 0;
    strcpy(expected, labeling->symbols[allophone]);
    strcat(expected, ".");
    if (state >= 10) strcat(expected, "1");
    size_t length = strlen(expected);
    expected[length] = (char)('0' + state % 10);
    return symbols[i].size == length + 1 && memcmp(symbols[i].symbol, expected, length + 1) == 0;
}

int ref_labels(const ref_payload *r, const ref_labeling *labeling, int check_alphabet,
               int32_t *out) {
    if (!r->one_alignment) return 0;
    for (int64_t i = 0; i < r->items; i++) {
        if (r->item_times[i] != (uint64_t)i) return 0;
        if (r->emissions) {
            if (r->ids[i] > 0x7FFFFFFF) return 0;
            out[i] = (int32_t)r->ids[i];
            continue;
        }
        uint32_t allophone = r->ids[i] & 0x03FFFFFF, state = r->ids[i] >> 26;
        if (allophone >= labeling->allophones || state >= labeling->states) return 0;
        out[i] = labeling->table[state * labeling->allophones + allophone];
        if (out[i] < 0) return 0;
    }
    if (!r->alphabet || !check_alphabet) return 1;
    for (size_t i = 0; i < num_symbols; i++)
        if (!is_symbol(labeling, i)) return 0;
    for (int64_t i = 0; i < r->items; i++) {
        int found = 0;
        for (size_t k = 0; k < num_symbols; k++) found += symbols[k].id == r->ids[i];
        if (found != 1) return 0;
    }
    return 1;
}
