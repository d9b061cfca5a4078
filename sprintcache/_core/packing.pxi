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
