# Gzip members of entries (archive format, section 3): header, deflate data, checksums.
# Needs: externs, faults, cursor, workers.

cdef enum Portion:              # of an entry that is fetched
    WHOLE
    HEAD                        # the first PEEK bytes of the payload; the end tag is checked
    HEAD_ALONE                  # the same without the end tag, before all is fetched
    PREFIX                      # at least the first w.prefix bytes; all that is not compressed


cdef enum:
    PREFIX_SHARE = 3            # zlib, which inflates a prefix, is that much slower than libdeflate


# Sprint writes this gzip header and no other (section 3)
cdef uint8_t[10] SPRINT_GZIP = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]


cdef bint skip_gzip_header(Cursor *c, bint strict) noexcept nogil:
    """Skips a gzip header (RFC 1952). In an archive (strict), one that differs from Sprint's in a
    single bit of a field without meaning for the data (time, level, system) counts as damage."""
    cdef const uint8_t *head = NULL
    cdef const uint8_t *skipped = NULL
    cdef uint8_t low = 0, high = 0, byte = 1
    cdef uint32_t size
    cdef int bits = 0, i
    if not take_span(c, 10, &head):
        return False
    if head[0] != 0x1F or head[1] != 0x8B or head[2] != 8 or head[3] & 0xE0:
        return False
    for i in range(10):
        bits += popcount(head[i] ^ SPRINT_GZIP[i])
    if strict and bits == 1 and head[3] & ~1 == 0:
        return False
    if head[3] & 4:
        if not (take_u8(c, &low) and take_u8(c, &high)):
            return False
        size = low + 256 * <uint32_t>high
        if not take_span(c, size, &skipped):
            return False
    for i in range(2):              # file name, comment
        if head[3] & (8 << i):
            byte = 1
            while byte:
                if not take_u8(c, &byte):
                    return False
    if head[3] & 2:
        size = sc_crc32(head, <size_t>(c.at - head)) & 0xFFFF
        if not (take_u8(c, &low) and take_u8(c, &high)):
            return False
        if not SC_INFLATE_PYTHON and size != low + 256 * <uint32_t>high:
            return False
    return True


cdef int inflate_member(Worker *w, const uint8_t *member, uint64_t stored, uint64_t size,
                        bint strict, Fault *f) noexcept nogil:
    """Inflates a gzip member of exactly `stored` bytes into w.inflated, and checks all of it.

    Stops at the declared size.
    """
    cdef Cursor c = cursor_over(member, stored)
    cdef size_t used = 0, made = 0
    cdef uint32_t crc = 0, isize = 0, computed = 0
    cdef int code
    if not skip_gzip_header(&c, strict):
        return fault(f, BAD_GZIP_HEADER, -1)
    code = make_room(&w.inflated, &w.inflated_room, size + 1, f)
    if code != NO_FAULT:
        return code
    if SC_INFLATE_PYTHON:
        with gil:
            code = python_inflate(c.at, left(&c), w.inflated, size, &used, &made, &computed)
    else:
        code = sc_inflate(&w.inflater, c.at, left(&c), w.inflated, size, &used, &made)
    if code == SC_INFLATE_MEMORY:
        return fault(f, NO_MEMORY, -1, False)
    if code == SC_INFLATE_LONG:
        return fault(f, BAD_INFLATED_SIZE, -1, True, <int64_t>size, -1)
    if code != SC_INFLATE_OK:
        return fault(f, BAD_DEFLATE, -1)
    if made != size:
        return fault(f, BAD_INFLATED_SIZE, -1, True, <int64_t>size, <int64_t>made)
    c.at += used
    if left(&c) != 8:
        return fault(f, BAD_MEMBER_END, -1, True, 8, <int64_t>left(&c))
    take_u32(&c, &crc)
    take_u32(&c, &isize)
    if not SC_INFLATE_PYTHON:
        computed = sc_crc32(w.inflated, size)
    if crc != computed:
        return fault(f, BAD_CRC, -1, True, crc, computed)
    if isize != <uint32_t>size:
        return fault(f, BAD_ISIZE, -1, True, <int64_t>size, isize)
    return NO_FAULT


cdef int python_inflate(const uint8_t *data, uint64_t stored, uint8_t *to, uint64_t size,
                        size_t *used, size_t *made, uint32_t *crc) noexcept:
    """Inflates by Python's zlib module, for builds on machines without the C libraries' headers."""
    try:
        import zlib
        inflater = zlib.decompressobj(-15)
        inflated = inflater.decompress((<char *>data)[:stored], size + 1)
        if len(inflated) > size:
            return SC_INFLATE_LONG
        if not inflater.eof:
            return SC_INFLATE_BAD
        memcpy(to, <char *>inflated, len(inflated))
        used[0] = stored - len(inflater.unused_data)
        made[0] = len(inflated)
        crc[0] = zlib.crc32(inflated)
        return SC_INFLATE_OK
    except MemoryError:
        return SC_INFLATE_MEMORY
    except Exception:
        return SC_INFLATE_BAD


cdef int unpack(Worker *w, Payload *p, uint64_t size, bint strict, Portion portion,
                Fault *f) noexcept nogil:
    """Replaces a stored gzip member by its data, or by their beginning."""
    cdef Cursor c
    cdef int64_t made = -1
    cdef int code
    if size > 1032 * p.size:
        return fault(f, BAD_RATIO, -1, True, <int64_t>size, <int64_t>p.size,
                     <int64_t>(1032 * p.size))
    if portion == PREFIX and SC_INFLATE_PREFIX and w.prefix < size // PREFIX_SHARE:
        c = cursor_over(p.at, p.size)
        if not skip_gzip_header(&c, strict):
            return fault(f, BAD_GZIP_HEADER, -1)
        code = make_room(&w.inflated, &w.inflated_room, w.prefix, f)
        if code != NO_FAULT:
            return code
        made = sc_inflate_prefix(c.at, left(&c), w.inflated, w.prefix)
        if made < 0 or <uint64_t>made != w.prefix:
            return fault(f, BAD_DEFLATE, -1)
        p.at = w.inflated
        p.size = size
        p.visible = w.prefix
        return NO_FAULT
    if (portion == HEAD or portion == HEAD_ALONE) and SC_INFLATE_PREFIX and size > PEEK:
        c = cursor_over(p.at, p.visible)
        if not skip_gzip_header(&c, strict):
            if p.visible == p.size:
                return fault(f, BAD_GZIP_HEADER, -1)
            p.size = size               # it may only be longer than what was fetched
            p.visible = 0
            return NO_FAULT
        code = make_room(&w.inflated, &w.inflated_room, PEEK, f)
        if code != NO_FAULT:
            return code
        made = sc_inflate_prefix(c.at, left(&c), w.inflated, PEEK)
        if made < 0:
            return fault(f, BAD_DEFLATE, -1)
        p.at = w.inflated
        p.size = size
        p.visible = <uint64_t>made
        return NO_FAULT
    if p.visible < p.size:
        p.size = max(size, <uint64_t>1)
        p.visible = 0               # too little was fetched to inflate it
        return NO_FAULT
    code = inflate_member(w, p.at, p.size, size, strict, f)
    p.at = w.inflated
    p.size = p.visible = size
    return code
