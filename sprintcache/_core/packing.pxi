# Packets for the writer, and requests to the file system.
# Needs: externs.

cdef class Packets:
    """Packets of one size, to be laid out as in a file (archive format, section 6.3).

    Each is its size, its numbers, start and end. As a buffer they are the bytes as in a file.

    Args:
        rows: (N, D) vectors, or (N,) scalars, which have no size in front; of the stored dtype.
        times: (N, 2) float64.

    Raises:
        ValueError: if an array has another shape or dtype, or is not C-contiguous.
    """

    cdef np.ndarray rows, times, packed
    cdef int64_t count
    cdef uint32_t dim           # in front of every vector
    cdef size_t width           # bytes of the numbers of a packet
    cdef size_t nbytes

    def __init__(self, np.ndarray rows not None, np.ndarray times not None):
        if not (np.PyArray_ISCARRAY_RO(rows) and rows.ndim in (1, 2)):
            raise ValueError(f"rows must be C-contiguous, (N, D) or (N,), not {_describe(rows)}")
        self.count = rows.shape[0]
        if not (np.PyArray_ISCARRAY_RO(times) and np.PyArray_TYPE(times) == np.NPY_FLOAT64
                and times.ndim == 2 and times.shape[0] == self.count and times.shape[1] == 2):
            raise ValueError(f"times must be C-contiguous float64, ({self.count}, 2),"
                             f" not {_describe(times)}")
        self.rows = rows
        self.times = times
        self.width = np.PyArray_ITEMSIZE(rows)
        if rows.ndim == 2:
            self.dim = <uint32_t>rows.shape[1]
            self.width *= <size_t>rows.shape[1]
        self.nbytes = self.count * (self.width + SC_TIMES + (4 if rows.ndim == 2 else 0))

    def __len__(self) -> int:
        """Bytes of all packets."""
        return self.nbytes

    def part(self, start: int, stop: int) -> Packets:
        """The packets from `start` to `stop`, as in a slice."""
        return Packets(self.rows[start:stop], self.times[start:stop])

    def pack_into(self, uint8_t[::1] out) -> None:
        """Writes the packets to `out`, which has exactly their size.

        Raises:
            ValueError: if it has another size.
        """
        if <size_t>out.shape[0] != self.nbytes:
            raise ValueError(f"packets of {self.nbytes} bytes do not fit {out.shape[0]}")
        cdef const uint8_t *rows
        cdef const uint8_t *times
        cdef const uint32_t *front
        cdef uint8_t *to
        if self.nbytes:
            rows = <const uint8_t *>np.PyArray_DATA(self.rows)
            times = <const uint8_t *>np.PyArray_DATA(self.times)
            front = &self.dim if self.rows.ndim == 2 else NULL
            to = &out[0]
            with nogil:
                sc_pack(to, rows, times, self.count, front, self.width)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.packed is None:
            packed = np.empty(self.nbytes, np.uint8)
            self.pack_into(packed)
            self.packed = packed
        PyObject_GetBuffer(self.packed, buffer, flags)

    def __buffer__(self, int flags, /) -> memoryview:
        """The buffer, for type checkers (PEP 688)."""
        return memoryview(self)


def encode_runs(const uint32_t[::1] time not None, const uint32_t[::1] emission not None) -> bytes:
    """Run-length code of the items of an alignment (archive format, section 7.2).

    A run is a chain of items in consecutive frames, either of equal emissions or of emissions that
    each differ from the next. Sprint writes a time marker after every literal run.

    Raises:
        ValueError: if the arrays differ in size.
    """
    cdef Py_ssize_t count = time.shape[0]
    cdef uint8_t *codes
    cdef uint8_t *end
    if emission.shape[0] != count:
        raise ValueError(f"{count} times, {emission.shape[0]} emissions")
    if count == 0:
        return b""
    codes = <uint8_t *>malloc(10 * <size_t>count)  # marker, count and emission of every item
    if codes == NULL:
        raise MemoryError
    if count < SHORT_ITEMS:
        end = _put_runs(codes, &time[0], &emission[0], count)
    else:
        with nogil:
            end = _put_runs(codes, &time[0], &emission[0], count)
    try:
        return PyBytes_FromStringAndSize(<const char *>codes, end - codes)
    finally:
        free(codes)


cdef enum:
    SHORT_ITEMS = 1 << 14  # fewer take less time than getting the GIL back from a busy thread


cdef uint8_t *_put_runs(
    uint8_t *out, const uint32_t *times, const uint32_t *ids, Py_ssize_t count
) noexcept nogil:
    """Writes the runs of items; returns their end."""
    cdef Py_ssize_t i = 0, end, size
    cdef int64_t frame = 0
    cdef int link
    while i < count:
        if times[i] != frame:
            out[0] = 0
            memcpy(out + 1, times + i, 4)
            out += 5
        link = _link(times, ids, i, count)
        end = i
        if link:
            while _link(times, ids, end, count) == link:
                end += 1
        size = end - i + 1
        if i + 1 < count and ids[i] == ids[i + 1]:
            size = min(size, 128)
            out[0] = <uint8_t>(256 - size)
            memcpy(out + 1, ids + i, 4)
            out += 5
            frame = <int64_t>times[i] + size
        else:
            size = min(size, 127)
            out[0] = <uint8_t>size
            memcpy(out + 1, ids + i, 4 * <size_t>size)
            out += 1 + 4 * size
            frame = -1
        i += size
    return out


cdef inline int _link(
    const uint32_t *times, const uint32_t *ids, Py_ssize_t i, Py_ssize_t count
) noexcept nogil:
    """How an item continues in the next: 0 not at all, 1 in a literal run, 2 in a repeat run."""
    if i + 1 >= count or <uint64_t>times[i] + 1 != times[i + 1]:
        return 0
    return 2 if ids[i] == ids[i + 1] else 1


cdef int _compare_ids(const void *a, const void *b) noexcept nogil:
    cdef uint32_t x = (<const uint32_t *>a)[0], y = (<const uint32_t *>b)[0]
    return (x > y) - (x < y)


def distinct_ids(const uint32_t[::1] ids not None) -> list:
    """The different ids, in rising order; runs of the same id cost little."""
    cdef Py_ssize_t count = ids.shape[0], size = 0, i
    cdef uint32_t *firsts
    if count == 0:
        return []
    firsts = <uint32_t *>malloc(<size_t>count * sizeof(uint32_t))
    if firsts == NULL:
        raise MemoryError
    for i in range(count):
        if i == 0 or ids[i] != ids[i - 1]:
            firsts[size] = ids[i]
            size += 1
    qsort(firsts, size, sizeof(uint32_t), _compare_ids)
    try:
        return [firsts[i] for i in range(size) if i == 0 or firsts[i] != firsts[i - 1]]
    finally:
        free(firsts)


def start_writing(int fd, int64_t offset, int64_t size) -> None:
    """Starts writing this part of a file to the disk; failure is not an error."""
    with nogil:
        sc_start_writing(fd, offset, size)


def reserve(int fd, int64_t offset, int64_t size) -> bool:
    """Reserves room in the file system for this part of a file; its size does not change.

    Returns:
        whether it could.
    """
    cdef int failed
    with nogil:
        failed = sc_reserve(fd, offset, size)
    return failed == 0
