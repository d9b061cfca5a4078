# What the writer leaves to the compiled module.

def pack_packets(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Packets as they lie in a file (archive format, section 6.3): size, numbers, start and end.

    Args:
        rows: (N, D) vectors, or (N,) scalars, which have no size in front; of the stored dtype.
        times: (N, 2) float64.

    Returns:
        the bytes, (N * width,) uint8.

    Raises:
        ValueError: if an array has another shape or dtype, or is not C-contiguous.
    """
    if not (np.PyArray_ISCARRAY_RO(rows) and rows.ndim in (1, 2)):
        raise ValueError(f"rows must be C-contiguous, (N, D) or (N,), not {_describe(rows)}")
    cdef int64_t count = rows.shape[0]
    if not (np.PyArray_ISCARRAY_RO(times) and np.PyArray_TYPE(times) == np.NPY_FLOAT64
            and times.ndim == 2 and times.shape[0] == count and times.shape[1] == 2):
        raise ValueError(f"times must be C-contiguous float64, ({count}, 2),"
                         f" not {_describe(times)}")
    cdef uint32_t size = <uint32_t>rows.shape[1] if rows.ndim == 2 else 0
    cdef const uint32_t *front = &size if rows.ndim == 2 else NULL
    cdef size_t width = np.PyArray_ITEMSIZE(rows) * (<size_t>rows.shape[1] if rows.ndim == 2 else 1)
    cdef np.npy_intp total = count * <np.npy_intp>(width + SC_TIMES + (4 if rows.ndim == 2 else 0))
    cdef np.ndarray out = np.PyArray_EMPTY(1, &total, np.NPY_UINT8, 0)
    cdef uint8_t *to = <uint8_t *>np.PyArray_DATA(out)
    cdef const uint8_t *source = <const uint8_t *>np.PyArray_DATA(rows)
    cdef const uint8_t *stamps = <const uint8_t *>np.PyArray_DATA(times)
    with nogil:
        sc_pack(to, source, stamps, count, front, width)
    return out


def start_writing(int fd, int64_t offset, int64_t size) -> None:
    """Has the disk begin with this part of a file; that it cannot is no error."""
    with nogil:
        sc_start_writing(fd, offset, size)
