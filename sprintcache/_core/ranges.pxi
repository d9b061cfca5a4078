# Ranges of the frames of an entry, without reading the others where the format allows it.
# Needs: externs, faults, cursor, sources, tables, inflate, fetch, packets, labels.
#
# In a mapped file only the heads of blocks and the packets of the range are touched. By pread, and
# of compressed entries, this holds where one block fills the entry, as Sprint writes by default: the
# packets alone are read, or the data inflated up to the end of the range (without checksums, which
# need all of it). Of other entries all is read. Packets outside the range are not checked.

cdef enum:
    AHEAD_BLOCKS = 6            # heads that are fetched from memory ahead of the one that is read


cdef struct OneBlock:           # of an entry that consists of one block of numbers
    const sc_datatype *type     # NULL: it consists of something else
    uint64_t head               # bytes before its packets
    int64_t frames
    int64_t dim


cdef OneBlock find_block(const Payload *p) noexcept nogil:
    """The block that fills a payload of which the beginning is visible."""
    cdef OneBlock result = OneBlock(NULL, 0, 0, 0)
    cdef Cursor c = cursor_over(p.at, p.visible)
    cdef BlockHead block
    cdef uint32_t dim = 0
    cdef uint64_t stride
    cdef Fault f
    if p.visible < 128:             # no head is longer
        return result
    c.end = p.at + p.size           # extents are compared with the whole
    if take_block(&c, &block, &f) != NO_FAULT or block.count == 0 or not is_numeric(block.type):
        return result
    result.head = <uint64_t>(c.at - p.at)
    if not peek_dim(&c, block.type, &dim):
        return result
    stride = frame_bytes(block.type, dim)
    if left(&c) % stride == 0 and left(&c) // stride == block.count:
        result.type = block.type
        result.frames = block.count
        result.dim = dim
    return result


cdef int read_part(Source *s, uint64_t at, uint64_t size, Worker *w, Fault *f) noexcept nogil:
    """Reads some bytes of a file into w.raw."""
    cdef int fd, code = make_room(&w.raw, &w.raw_room, size, f)
    if code != NO_FAULT:
        return code
    fd = take_file(s, False, f)
    if fd < 0:
        return f.code
    code = pread_all(fd, w.raw, size, at, f)
    sc_drop(&s.descriptor, fd)
    return code


cdef int copy_range(Core *core, int64_t entry, Worker *w, const OneBlock *block, int64_t first,
                    int64_t count, int64_t dim, float *out, Fault *f) noexcept nogil:
    """Copies `count` frames from frame `first` on; a measured entry has as many."""
    cdef Source *s = source_of(core, entry)
    cdef TableRow row = row_of(core, entry)
    cdef Payload p
    cdef uint64_t stride, skipped
    cdef const uint8_t *packets
    cdef int code
    if count == 0:
        return NO_FAULT
    if (block.type != NULL and s.kind == SOURCE_FILE and block.dim == dim
            and first + count <= block.frames):
        stride = frame_bytes(block.type, <uint32_t>dim)
        skipped = block.head + <uint64_t>first * stride
        if row.compressed:
            w.prefix = skipped + <uint64_t>count * stride
            code = fetch(core, entry, w, PREFIX, False, &p, f)
            packets = p.at + skipped
        elif s.map != NULL:
            code = NO_FAULT
            packets = s.map + row.position + 12 + skipped
        else:
            code = read_part(s, row.position + 12 + skipped, <uint64_t>count * stride, w, f)
            packets = w.raw
        if code != NO_FAULT:
            return code
        if copy_packets(packets, block.type, count, <uint32_t>dim, out):
            return NO_FAULT
    code = fetch(core, entry, w, WHOLE, False, &p, f)
    if code != NO_FAULT:
        return code
    return copy_payload_range(p.at, p.size, first, count, <uint32_t>dim, out, f)


cdef int copy_payload_range(const uint8_t *payload, uint64_t size, int64_t first, int64_t count,
                            uint32_t dim, float *out, Fault *f) noexcept nogil:
    """The same of a whole payload: goes from head to head up to the range."""
    cdef Cursor c = cursor_over(payload, size)
    cdef BlockHead block
    cdef const uint8_t *packets = NULL
    cdef uint64_t stride
    cdef int64_t copied
    cdef int code
    while count > 0 and left(&c) > 0:
        code = take_block(&c, &block, f)
        if code != NO_FAULT:
            return code
        if block.count == 0:
            continue
        if not is_numeric(block.type):
            return explain_features(payload, size, f)
        stride = frame_bytes(block.type, dim)
        if not take_packets(&c, block.count, stride, &packets):
            return explain_features(payload, size, f)
        prefetch(c.at + AHEAD_BLOCKS * <uint64_t>block.count * stride)     # a head, if all are equal
        copied = min(max(<int64_t>block.count - first, 0), count)
        if copied and not copy_packets(packets + <uint64_t>first * stride, block.type, copied, dim,
                                       out):
            return explain_features(payload, size, f)
        first = max(first - <int64_t>block.count, 0)
        out += <uint64_t>copied * dim
        count -= copied
    return NO_FAULT if count == 0 else fault(f, FILE_CHANGED, -1, False)


cdef int copy_label_range(const Payload *p, Worker *w, const sc_labels *labels, sc_used *used,
                          int64_t first, int64_t count, int32_t *out, Fault *f) noexcept nogil:
    """Labels of a range of frames; run-length codes are decoded, and checked, from the start."""
    cdef int64_t items = 0
    cdef int code = measure_alignment(p.at, p.size, p.size, &items, f)
    if code == NO_FAULT and first + count > items:
        return fault(f, FILE_CHANGED, -1, False)
    if code == NO_FAULT:
        code = make_room(<uint8_t **>&w.labels, &w.labels_room,
                         (<uint64_t>items + 1) * sizeof(int32_t), f)
    if code == NO_FAULT:
        code = decode_labels(p.at, p.size, labels, used, w.labels, items, f)
    if code == NO_FAULT:
        memcpy(out, w.labels + first, <size_t>count * sizeof(int32_t))
    return code
