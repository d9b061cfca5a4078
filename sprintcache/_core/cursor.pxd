"""Bounds-checked little-endian reads: every byte of a file is read by these functions.

A take returns False and moves nothing if fewer bytes are left than it needs. Sizes are unsigned
and are compared with what is left before anything moves, so that no sum can wrap.
"""

from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<stdint.h>" nogil:
    const uint64_t UINT32_MAX, UINT64_MAX


cdef struct Cursor:
    const uint8_t *start
    const uint8_t *at
    const uint8_t *end


cdef inline Cursor cursor_over(const uint8_t *start, uint64_t size) noexcept nogil:
    cdef Cursor c
    c.start = start
    c.at = start
    c.end = start + size if size else start     # an empty one may be NULL
    return c


cdef inline uint64_t left(const Cursor *c) noexcept nogil:
    return <uint64_t>(c.end - c.at)


cdef inline int64_t offset(const Cursor *c) noexcept nogil:
    return <int64_t>(c.at - c.start)


cdef inline bint take(Cursor *c, void *value, uint64_t size) noexcept nogil:
    if left(c) < size:
        return False
    memcpy(value, c.at, size)
    c.at += size
    return True


cdef inline bint take_u8(Cursor *c, uint8_t *value) noexcept nogil:
    return take(c, value, 1)


cdef inline bint take_s8(Cursor *c, int8_t *value) noexcept nogil:
    return take(c, value, 1)


cdef inline bint take_u32(Cursor *c, uint32_t *value) noexcept nogil:
    return take(c, value, 4)


cdef inline bint take_u64(Cursor *c, uint64_t *value) noexcept nogil:
    return take(c, value, 8)


cdef inline bint take_f32(Cursor *c, float *value) noexcept nogil:
    return take(c, value, 4)


cdef inline bint take_f64(Cursor *c, double *value) noexcept nogil:
    return take(c, value, 8)


cdef inline bint take_span(Cursor *c, uint64_t size, const uint8_t **at) noexcept nogil:
    """`size` bytes in place."""
    if left(c) < size:
        return False
    at[0] = c.at
    c.at += size
    return True


cdef inline bint take_string(Cursor *c, const uint8_t **at, uint32_t *size) noexcept nogil:
    """A u32 byte count and that many bytes, in place."""
    cdef const uint8_t *before = c.at
    if take_u32(c, size) and take_span(c, size[0], at):
        return True
    c.at = before
    return False


cdef inline int take_packed(Cursor *c, uint32_t *value) noexcept nogil:
    """A LEB128 number below 2**32: 1 taken, 0 bytes are missing, -1 too large."""
    cdef uint64_t total = 0
    cdef uint8_t byte = 0
    cdef int shift = 0
    while shift < 35:
        if not take_u8(c, &byte):
            return 0
        total |= <uint64_t>(byte & 0x7F) << shift
        if not byte & 0x80:
            if total > UINT32_MAX:
                return -1
            value[0] = <uint32_t>total
            return 1
        shift += 7
    return -1
