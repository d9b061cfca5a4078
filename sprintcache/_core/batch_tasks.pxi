# Tasks of a batch, each for one entry, without the GIL.
# Needs: externs, faults, fetch, packets, alignments, labels, ranges.

cdef int fetch_features(Core *core, int64_t entry, Worker *w, Portion portion, bint check, Payload *p,
                        Shape *shape, Fault *f) noexcept nogil:
    """A payload and its shape; a peek that does not show enough is followed by a full fetch."""
    cdef int code = fetch(core, entry, w, portion, check, p, f)
    shape[0] = Shape(0, 0)
    if code == NO_FAULT:
        code = measure_features(p.at, p.size, p.visible, shape, f)
    if code != NO_FAULT or shape.frames >= 0:
        return code
    code = fetch(core, entry, w, WHOLE, check, p, f)
    return code if code != NO_FAULT else measure_features(p.at, p.size, p.size, shape, f)


cdef int fetch_items(Core *core, int64_t entry, Worker *w, Portion portion, bint check, Payload *p,
                     int64_t *items, Fault *f) noexcept nogil:
    """The same for the one alignment of an entry and its number of items."""
    cdef int code = fetch(core, entry, w, portion, check, p, f)
    if code == NO_FAULT:
        code = measure_alignment(p.at, p.size, p.visible, items, f)
    if code != NO_FAULT or items[0] >= 0:
        return code
    code = fetch(core, entry, w, WHOLE, check, p, f)
    return code if code != NO_FAULT else measure_alignment(p.at, p.size, p.size, items, f)


cdef int count_frames(Core *core, int64_t entry, Worker *w, bint check, Shape *shape,
                      Fault *f) noexcept nogil:
    """Frames of features, alignments (last time + 1), or packets of anything else.

    Values of a frame as well: of anything else than features, 0.
    """
    cdef Payload p
    cdef AlignmentHead head
    cdef Cursor c
    cdef int64_t at = 0
    cdef double time = 0
    cdef int code = fetch_features(core, entry, w, HEAD, check, &p, shape, f)
    if code != NO_FEATURES and code != FRAME_SIZES:
        return code
    f.code = NO_FAULT
    shape.dim = 0
    code = fetch(core, entry, w, WHOLE, check, &p, f)
    if code == NO_FAULT:
        c = cursor_over(p.at, p.size)
        code = only_alignment(&c, &at, f)
        if code == NO_FAULT:
            code = take_alignment(&c, &head, NULL, NULL, NULL, 0, f)
            shape.frames = head.num_frames
            if code == NO_FAULT:
                code = after_alignment(&c, &time, &time, f)
        if code == NO_ALIGNMENT or code == SEVERAL_ALIGNMENTS or code == NO_ALIGNMENT_AT_ALL:
            f.code = NO_FAULT
            code = count_packets(p.at, p.size, NULL, 0, &shape.frames, f)
    return code


# ---- batches: one struct for all tasks

cdef enum:
    PREFETCHED_LABELS = 4            # alignments fetched ahead of the one that is decoded


cdef struct BatchJob:
    Core *core
    const int64_t *entries
    int64_t count
    int64_t *lengths
    int64_t *dims
    int64_t dim                 # of all entries with frames
    # row i of the output begins at i * stride values
    float *features
    int32_t *labels
    int64_t stride
    int64_t longest
    # of each entry: the first frame of a range, and its end; NULL: all frames
    int64_t *firsts
    int64_t *stops
    OneBlock *blocks            # of each entry, where there are ranges
    # row i begins at offsets[i] frames and ends before offsets[i + 1]; NULL: see `stride`
    const int64_t *offsets
    const sc_labels *table
    bint check_alphabet
    int32_t pad


cdef int measure_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    cdef BatchJob *b = <BatchJob *>job
    cdef Payload p
    cdef Shape shape
    cdef int code = fetch_features(b.core, b.entries[item], w, HEAD_ALONE, False, &p, &shape, f)
    b.lengths[item] = shape.frames
    b.dims[item] = shape.dim if code == NO_FAULT and shape.frames else -1
    if b.blocks != NULL and code == NO_FAULT:
        b.blocks[item] = find_block(&p)
    return code


cdef int64_t row_room(const BatchJob *b, int64_t item) noexcept nogil:
    """Frames that the output has for an entry."""
    return b.longest if b.offsets == NULL else b.offsets[item + 1] - b.offsets[item]


cdef int features_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    cdef BatchJob *b = <BatchJob *>job
    cdef Payload p
    cdef Shape shape
    cdef int64_t dim = b.dim, frames = b.lengths[item]
    cdef float *row = b.features
    cdef int code
    row += item * b.stride if b.offsets == NULL else b.offsets[item] * dim
    memset(row + frames * dim, 0,
           <size_t>((row_room(b, item) - frames) * dim) * sizeof(float))
    if b.firsts != NULL:
        return copy_range(b.core, b.entries[item], w, &b.blocks[item], b.firsts[item],
                           frames, dim, row, f)
    code = fetch_features(b.core, b.entries[item], w, WHOLE, False, &p, &shape, f)
    if code != NO_FAULT:
        return code
    if shape.frames != frames or (shape.frames and shape.dim != dim):
        return fault(f, FILE_CHANGED, -1, False)
    return copy_features(p.at, p.size, shape, row, f)


cdef int items_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    cdef BatchJob *b = <BatchJob *>job
    cdef Payload p
    return fetch_items(b.core, b.entries[item], w, HEAD_ALONE, False, &p, &b.lengths[item], f)


cdef int labels_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    cdef BatchJob *b = <BatchJob *>job
    cdef Payload p
    cdef int32_t *row = b.labels
    cdef sc_used *used = &w.used if b.check_alphabet else NULL
    cdef int64_t i
    cdef int code
    row += item * b.stride if b.offsets == NULL else b.offsets[item]
    if item + PREFETCHED_LABELS < b.count:
        prefetch_entry(b.core, b.entries[item + PREFETCHED_LABELS], 4096)
    code = fetch(b.core, b.entries[item], w, WHOLE, False, &p, f)
    if code == NO_FAULT and b.firsts != NULL:
        code = copy_label_range(&p, w, b.table, used, b.firsts[item], b.lengths[item], row, f)
    elif code == NO_FAULT:
        code = decode_labels(p.at, p.size, b.table, used, row, b.lengths[item], f)
    for i in range(b.lengths[item], row_room(b, item)):
        row[i] = b.pad
    return code


cdef int frames_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    cdef BatchJob *b = <BatchJob *>job
    cdef Shape shape
    cdef int code = count_frames(b.core, b.entries[item], w, False, &shape, f)
    b.lengths[item] = shape.frames
    if b.dims != NULL:
        b.dims[item] = shape.dim
    return code
