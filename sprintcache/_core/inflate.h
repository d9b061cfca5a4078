/* Inflates by libdeflate if it was available at build time, else zlib, else Python's zlib.
 *
 * SPRINTCACHE_LIBDEFLATE and SPRINTCACHE_ZLIB are set by setup.py; with neither, the caller uses
 * Python's zlib module (SC_INFLATE_PYTHON). */
#ifndef SPRINTCACHE_INFLATE_H
#define SPRINTCACHE_INFLATE_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum sc_inflate_result { SC_INFLATE_OK, SC_INFLATE_BAD, SC_INFLATE_LONG, SC_INFLATE_MEMORY };

#if defined(SPRINTCACHE_LIBDEFLATE)
#include <libdeflate.h>
#endif
#if defined(SPRINTCACHE_ZLIB)
#include <zlib.h>
#endif

#if defined(SPRINTCACHE_LIBDEFLATE)
#define SC_INFLATE_BACKEND "libdeflate"
#elif defined(SPRINTCACHE_ZLIB)
#define SC_INFLATE_BACKEND "zlib"
#else
#define SC_INFLATE_BACKEND "python"
#endif

#if defined(SPRINTCACHE_LIBDEFLATE) || defined(SPRINTCACHE_ZLIB)
#define SC_INFLATE_PYTHON 0
#else
#define SC_INFLATE_PYTHON 1
#endif

#if defined(SPRINTCACHE_ZLIB)
#define SC_INFLATE_PREFIX 1
#else
#define SC_INFLATE_PREFIX 0
#endif

/* Inflates raw deflate data; *used and *made say how much was read and written. `state` is kept
 * between calls and belongs to one thread at a time. */
static int sc_inflate(void **state, const uint8_t *from, size_t size, uint8_t *to, size_t room,
                      size_t *used, size_t *made) {
#if defined(SPRINTCACHE_LIBDEFLATE)
    if (*state == NULL && (*state = libdeflate_alloc_decompressor()) == NULL)
        return SC_INFLATE_MEMORY;
    switch (libdeflate_deflate_decompress_ex((struct libdeflate_decompressor *)*state, from, size,
                                             to, room, used, made)) {
    case LIBDEFLATE_SUCCESS: return SC_INFLATE_OK;
    case LIBDEFLATE_INSUFFICIENT_SPACE: return SC_INFLATE_LONG;
    default: return SC_INFLATE_BAD;
    }
#elif defined(SPRINTCACHE_ZLIB)
    z_stream stream;
    uint8_t nothing[1];
    (void)state;
    memset(&stream, 0, sizeof stream);
    if (inflateInit2(&stream, -15) != Z_OK) return SC_INFLATE_MEMORY;
    stream.next_in = (Bytef *)from;
    stream.avail_in = size > UINT_MAX ? UINT_MAX : (uInt)size;
    size = stream.avail_in;
    stream.next_out = room ? (Bytef *)to : nothing;
    stream.avail_out = (uInt)room;
    int result = inflate(&stream, Z_FINISH);
    *used = size - stream.avail_in;
    *made = room - stream.avail_out;
    int full = stream.avail_out == 0;
    inflateEnd(&stream);
    if (result == Z_STREAM_END) return SC_INFLATE_OK;
    if (result == Z_MEM_ERROR) return SC_INFLATE_MEMORY;
    return (result == Z_BUF_ERROR || result == Z_OK) && full ? SC_INFLATE_LONG : SC_INFLATE_BAD;
#else
    (void)state, (void)from, (void)size, (void)to, (void)room, (void)used, (void)made;
    return SC_INFLATE_BAD;
#endif
}

static void sc_inflate_free(void *state) {
#if defined(SPRINTCACHE_LIBDEFLATE)
    if (state != NULL) libdeflate_free_decompressor((struct libdeflate_decompressor *)state);
#else
    (void)state;
#endif
}

/* Inflates no more than the first `room` bytes; returns how many came, or -1. */
static int64_t sc_inflate_prefix(const uint8_t *from, size_t size, uint8_t *to, size_t room) {
#if defined(SPRINTCACHE_ZLIB)
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (inflateInit2(&stream, -15) != Z_OK) return -1;
    stream.next_in = (Bytef *)from;
    stream.avail_in = size > UINT_MAX ? UINT_MAX : (uInt)size;
    stream.next_out = to;
    stream.avail_out = (uInt)room;
    int result = inflate(&stream, Z_SYNC_FLUSH);
    int64_t made = (int64_t)(room - stream.avail_out);
    inflateEnd(&stream);
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? made : -1;
#else
    (void)from, (void)size, (void)to, (void)room;
    return -1;
#endif
}

static uint32_t sc_crc32(const uint8_t *data, size_t size) {
#if defined(SPRINTCACHE_LIBDEFLATE)
    return libdeflate_crc32(0, data, size);
#elif defined(SPRINTCACHE_ZLIB)
    return (uint32_t)crc32(0, data, (uInt)size);
#else
    (void)data, (void)size;
    return 0;
#endif
}

#endif
