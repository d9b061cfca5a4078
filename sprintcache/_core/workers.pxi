# Workers: the buffers that one thread fetches an entry into. Payloads point into them or the file.
# Needs: externs, faults.

cdef enum:
    PEEK = 512                  # enough for the head of any block
    AHEAD = 1 << 10             # enough for the head of the next entry, with most names
    ONE_READ = 1 << 14          # bytes that cost less than another system call
    MAX_IDLE_BUFFER = 1 << 24   # an idle worker keeps buffers up to this size


cdef struct Worker:
    uint8_t *raw                # an entry as stored, where it is not mapped
    uint64_t raw_room
    uint8_t *inflated
    uint64_t inflated_room
    uint64_t prefix             # bytes of the payload that PREFIX needs
    int32_t *labels             # of an entry of which a range is wanted
    uint64_t labels_room        # bytes
    void *inflater
    sc_used used
    # what a batch read after the end tag of an entry: most often the head of its next one
    const void *ahead_source    # NULL: nothing
    uint64_t ahead_begin
    uint64_t ahead_size
    uint8_t ahead[AHEAD]


cdef struct Payload:
    const uint8_t *at
    uint64_t size
    uint64_t visible            # bytes of it that were fetched


cdef int make_room(uint8_t **buffer, uint64_t *room, uint64_t need, Fault *f) noexcept nogil:
    cdef uint8_t *at
    if need <= room[0]:
        return NO_FAULT
    free(buffer[0])
    room[0] = 0
    at = <uint8_t *>malloc(need)
    buffer[0] = at
    if at == NULL:
        return fault(f, NO_MEMORY, -1, False)
    room[0] = need
    return NO_FAULT


cdef void release_worker(Worker *w) noexcept nogil:
    free(w.raw)
    free(w.inflated)
    free(w.labels)
    free(w.used.stamps)
    sc_inflate_free(w.inflater)
    free(w)
