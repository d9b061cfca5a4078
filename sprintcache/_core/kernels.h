/* Copy loops over checked memory: frames out of packets, runs into labels, names into hashes.
 *
 * Nothing here checks bounds: the callers (the .pxi files) have done so with the cursor. Wider
 * instructions are chosen once, at run time; every variant writes the same bytes. */
#ifndef SPRINTCACHE_KERNELS_H
#define SPRINTCACHE_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Sprint archives are little endian and this reader copies them as they are"
#endif

#define SC_TIMES 16   /* every packet ends with f64 start, f64 end */
#define SC_AHEAD 8192 /* bytes fetched ahead: the hardware stops at page borders, we do not */

/* Copies `count` rows of `width` bytes; a row begins `head` bytes into its packet, and 16 bytes of times
 * follow it. With head == 4 each packet starts with its
 * u32 size, which must be `size`. Returns count, or the index of the first packet of other size. */
typedef int64_t (*sc_copy_frames_fn)(const uint8_t *from, uint8_t *to, int64_t count, uint32_t size,
                                size_t width, size_t head);

static inline void sc_prefetch(const uint8_t *at, size_t size) {
    for (size_t line = 0; line < size; line += 64) __builtin_prefetch(at + line);
}

#define SC_COPY_FRAMES_BODY(COPY_ROW)                                             \
    const size_t stride = head + width + SC_TIMES;                           \
    const uint8_t *end = from + (size_t)count * stride;                      \
    sc_prefetch(from, (size_t)(end - from) < SC_AHEAD ? (size_t)(end - from) : SC_AHEAD); \
    for (int64_t row = 0; row < count; row++) {                              \
        if (head) {                                                          \
            uint32_t dim;                                                    \
            memcpy(&dim, from, 4);                                           \
            if (dim != size) return row;                                     \
        }                                                                    \
        if ((size_t)(end - from) > SC_AHEAD) sc_prefetch(from + SC_AHEAD, stride); \
        COPY_ROW(to, from + head, width);                                    \
        from += stride;                                                      \
        to += width;                                                         \
    }                                                                        \
    return count;

static inline void sc_copy_short(uint8_t *to, const uint8_t *from, size_t width) {
    if (width >= 16) { /* 16..31: two stores that may overlap */
        memcpy(to, from, 16);
        memcpy(to + width - 16, from + width - 16, 16);
    } else if (width >= 8) {
        memcpy(to, from, 8);
        memcpy(to + width - 8, from + width - 8, 8);
    } else if (width >= 4) {
        memcpy(to, from, 4);
        memcpy(to + width - 4, from + width - 4, 4);
    } else {
        for (size_t i = 0; i < width; i++) to[i] = from[i];
    }
}

static inline void sc_copy_16(uint8_t *to, const uint8_t *from, size_t width) {
    if (width < 16) {
        sc_copy_short(to, from, width);
        return;
    }
    size_t i = 0;
    for (; i + 16 <= width; i += 16) memcpy(to + i, from + i, 16);
    if (i < width) memcpy(to + width - 16, from + width - 16, 16);
}

static int64_t sc_copy_frames_plain(const uint8_t *from, uint8_t *to, int64_t count, uint32_t size,
                               size_t width, size_t head) {
    SC_COPY_FRAMES_BODY(sc_copy_16)
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline void sc_copy_32(uint8_t *to, const uint8_t *from,
                                                              size_t width) {
    if (width < 32) {
        sc_copy_short(to, from, width);
        return;
    }
    size_t i = 0;
    for (; i + 32 <= width; i += 32)
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_loadu_si256((const __m256i *)(from + i)));
    if (i < width)
        _mm256_storeu_si256((__m256i *)(to + width - 32),
                            _mm256_loadu_si256((const __m256i *)(from + width - 32)));
}

__attribute__((target("avx2"))) static int64_t sc_copy_frames_avx2(const uint8_t *from, uint8_t *to,
                                                              int64_t count, uint32_t size,
                                                              size_t width, size_t head) {
    SC_COPY_FRAMES_BODY(sc_copy_32)
}

__attribute__((target("avx512f,avx512bw"))) static inline void sc_copy_64(uint8_t *to,
                                                                          const uint8_t *from,
                                                                          size_t width) {
    size_t i = 0;
    for (; i + 64 <= width; i += 64)
        _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    if (i < width) {
        __mmask64 rest = (~(__mmask64)0) >> (64 - (width - i));
        _mm512_mask_storeu_epi8(to + i, rest, _mm512_maskz_loadu_epi8(rest, from + i));
    }
}

__attribute__((target("avx512f,avx512bw"))) static int64_t sc_copy_frames_avx512(
    const uint8_t *from, uint8_t *to, int64_t count, uint32_t size, size_t width, size_t head) {
    SC_COPY_FRAMES_BODY(sc_copy_64)
}
#endif

static sc_copy_frames_fn sc_copy_frames = sc_copy_frames_plain;
static const char *sc_kernel_name = "plain";

/* Called once when the module is imported. */
static void sc_choose_kernels(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        sc_copy_frames = sc_copy_frames_avx512;
        sc_kernel_name = "avx512";
    } else if (__builtin_cpu_supports("avx2")) {
        sc_copy_frames = sc_copy_frames_avx2;
        sc_kernel_name = "avx2";
    }
#endif
}

/* For tests: take one variant by name; 0 if this processor does not have it. */
static int sc_use_kernel(const char *name) {
    if (strcmp(name, "plain") == 0) {
        sc_copy_frames = sc_copy_frames_plain;
        sc_kernel_name = "plain";
        return 1;
    }
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2")) {
        sc_copy_frames = sc_copy_frames_avx2;
        sc_kernel_name = "avx2";
        return 1;
    }
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw")) {
        sc_copy_frames = sc_copy_frames_avx512;
        sc_kernel_name = "avx512";
        return 1;
    }
#endif
    return 0;
}

/* Element types of section 6.3 that become float32. */
enum sc_element {
    SC_U8, SC_S8, SC_U16, SC_S16, SC_U32, SC_F32, SC_F64, SC_BOOL, SC_C64, SC_C128
};

#define SC_CONVERT(TYPE)                                       \
    for (size_t i = 0; i < count; i++) {                       \
        TYPE value;                                            \
        memcpy(&value, from + i * sizeof(TYPE), sizeof(TYPE)); \
        to[i] = (float)value;                                  \
    }                                                          \
    break

static inline void sc_to_float(int element, const uint8_t *from, float *to, size_t count) {
    switch (element) {
    case SC_U8: SC_CONVERT(uint8_t);
    case SC_S8: SC_CONVERT(int8_t);
    case SC_U16: SC_CONVERT(uint16_t);
    case SC_S16: SC_CONVERT(int16_t);
    case SC_U32: SC_CONVERT(uint32_t);
    case SC_F32: memcpy(to, from, 4 * count); break;
    case SC_F64: SC_CONVERT(double);
    case SC_BOOL:
        for (size_t i = 0; i < count; i++) to[i] = from[i] ? 1.0f : 0.0f;
        break;
    default: break;
    }
}

/* Labels of allophone states: archive format, section 7.3. */
#define SC_ALLOPHONE_MASK 0x03FFFFFFu
#define SC_STATE_SHIFT 26

typedef struct {
    const int32_t *table; /* [state, allophone] -> label, -1: none */
    uint32_t allophones;
    uint32_t states;
    const uint8_t *symbols;    /* all allophone symbols, one after another */
    const uint32_t *symbol_at; /* allophones + 1 offsets */
} sc_labels;

/* The ids that an alignment uses, to compare with its alphabet. */
typedef struct {
    uint32_t *stamps; /* [state, allophone] */
    uint64_t room;
    uint32_t stamp; /* of this alignment's ids; + 1 once the alphabet has them */
    uint32_t count;
} sc_used;

/* The label of an id, or -1; records the id unless `used` is NULL. */
static inline int32_t sc_label(const sc_labels *labels, sc_used *used, uint32_t id) {
    uint32_t allophone = id & SC_ALLOPHONE_MASK, state = id >> SC_STATE_SHIFT;
    if (allophone >= labels->allophones || state >= labels->states) return -1;
    size_t index = (size_t)state * labels->allophones + allophone;
    int32_t label = labels->table[index];
    if (used != NULL && label >= 0 && used->stamps[index] != used->stamp) {
        used->stamps[index] = used->stamp;
        used->count++;
    }
    return label;
}

#define SC_SLACK 16 /* labels that may be written beyond a short run */

/* Run-length items (section 7.2) to labels, as long as they are sound and far from the end of what
 * is given: stops before the first run that is damaged, has no label, does not follow in time, or
 * comes within SC_SLACK of `items`. The strict loop in labels.pxi continues there. Returns
 * where it stopped; *done_ labels are written. */
static inline __attribute__((always_inline)) const uint8_t *sc_label_runs_body(const uint8_t *at, const uint8_t *end,
                                            const sc_labels *labels_, sc_used *used, int32_t *out,
                                            uint64_t *done_, uint64_t items) {
    const sc_labels labels = *labels_; /* a copy that no store can change: stays in registers */
    uint64_t done = *done_;
    while (end - at >= 5 && items - done >= SC_SLACK) {
        int run = (int8_t)*at;
        uint32_t word;
        memcpy(&word, at + 1, 4);
        if (run == 0) { /* a time marker: Sprint writes one after each literal run */
            if (word != done) break;
            at += 5;
            continue;
        }
        uint64_t count = (uint64_t)(run < 0 ? -run : run);
        if (count > items - done) break;
        if (run <= 1) {
            int32_t label = sc_label(&labels, used, word);
            if (label < 0) break;
            for (int i = 0; i < SC_SLACK; i++) out[done + i] = label;
            for (uint64_t i = SC_SLACK; i < count; i++) out[done + i] = label;
            at += 5;
        } else {
            if ((uint64_t)(end - at) < 1 + 4 * count) break;
            /* mostly a single frame and the first of the next run: two without a loop */
            out[done] = sc_label(&labels, used, word);
            memcpy(&word, at + 5, 4);
            out[done + 1] = sc_label(&labels, used, word);
            int32_t worst = out[done] | out[done + 1];
            for (uint64_t i = 2; i < count; i++) {
                memcpy(&word, at + 1 + 4 * i, 4);
                worst |= out[done + i] = sc_label(&labels, used, word);
            }
            if (worst < 0) break;
            at += 1 + 4 * count;
            if (done + count < items && end - at >= 5 && *at == 0) { /* Sprint's time marker */
                memcpy(&word, at + 1, 4);
                if (word != done + count) { done += count; break; }
                at += 5;
            }
        }
        done += count;
    }
    *done_ = done;
    return at;
}

#define SC_LABEL_RUNS(NAME)                                                                   \
    static const uint8_t *NAME(const uint8_t *at, const uint8_t *end, const sc_labels *labels, \
                               sc_used *used, int32_t *out, uint64_t *done, uint64_t items) {  \
        if (used == NULL) return sc_label_runs_body(at, end, labels, NULL, out, done, items);      \
        return sc_label_runs_body(at, end, labels, used, out, done, items);                        \
    }

SC_LABEL_RUNS(sc_label_runs_plain)
#if defined(__x86_64__)
__attribute__((target("avx2"))) SC_LABEL_RUNS(sc_label_runs_avx2)
#endif

static inline const uint8_t *sc_label_runs(const uint8_t *at, const uint8_t *end,
                                           const sc_labels *labels, sc_used *used, int32_t *out,
                                           uint64_t *done, uint64_t items) {
#if defined(__x86_64__)
    if (sc_copy_frames != sc_copy_frames_plain)
        return sc_label_runs_avx2(at, end, labels, used, out, done, items);
#endif
    return sc_label_runs_plain(at, end, labels, used, out, done, items);
}

/* Keyed hash of a name; the key is drawn per archive, so colliding names cannot be chosen. */
static inline uint64_t sc_mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t sc_hash(const uint8_t *name, size_t size, uint64_t key) {
    uint64_t hash = key ^ (size * 0x9e3779b97f4a7c15ull), word = 0;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, name + i, 8);
        hash = sc_mix(hash ^ word, 0xa0761d6478bd642full);
    }
    word = 0;
    memcpy(&word, name + i, size - i);
    hash = sc_mix(hash ^ word, 0xe7037ed1a0b428dbull ^ key);
    return hash;
}

/* Checksum of a multiple of 64 bytes: against damage, not against forgery. */
static uint64_t sc_checksum(const uint8_t *data, size_t size, uint64_t key) {
    uint64_t lanes[4], words[8];
    for (int k = 0; k < 4; k++) lanes[k] = key + (uint64_t)(k + 1) * 0x9e3779b97f4a7c15ull;
    for (size_t i = 0; i < size; i += 64) {
        memcpy(words, data + i, 64);
        for (int k = 0; k < 4; k++)
            lanes[k] = sc_mix(words[2 * k] ^ 0xa0761d6478bd642full, words[2 * k + 1] ^ lanes[k]);
    }
    uint64_t hash = key ^ size;
    for (int k = 0; k < 4; k++) hash = sc_mix(hash ^ lanes[k], 0xe7037ed1a0b428dbull);
    return hash;
}

/* The inverse of copying frames, for the writer: packets of one size from rows and times. */
static void sc_pack(uint8_t *to, const uint8_t *rows, const uint8_t *times, int64_t count,
                    const uint32_t *size, size_t width) {
    for (int64_t i = 0; i < count; i++) {
        if (size) {
            memcpy(to, size, 4);
            to += 4;
        }
        size_t at = 0;
        for (; at + 32 <= width; at += 32) memcpy(to + at, rows + at, 32);
        for (; at < width; at++) to[at] = rows[at];
        memcpy(to + width, times, SC_TIMES);
        to += width + SC_TIMES;
        rows += width;
        times += SC_TIMES;
    }
}

#endif
