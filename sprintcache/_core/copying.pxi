# Copying: neighboring entries in a buffer against the table, and rows of a table for their copies.
# Needs: cursor, tables, store.

cdef bint take_entry(Cursor *c, const uint8_t *name, Py_ssize_t name_size, uint32_t size,
                     uint32_t compressed) noexcept nogil:
    """Takes a whole entry if its tags and head are those of this row."""
    cdef const uint8_t *at
    cdef uint32_t value = 0
    return (take_u32(c, &value) and value == START_TAG
            and take_string(c, &at, &value) and value == name_size
            and memcmp(at, name, name_size) == 0
            and take_u32(c, &value) and value == size
            and take_u32(c, &value) and value == compressed
            and take_u32(c, &value) and value == 0
            and take_span(c, compressed if compressed else size, &at)
            and take_u32(c, &value) and value == END_TAG)


cdef np.ndarray _column(object values, Py_ssize_t count, str dtype):
    """A column of rows as a C-contiguous array."""
    cdef np.ndarray array = np.ascontiguousarray(values, dtype)
    if array.ndim != 1 or array.shape[0] != count:
        raise ValueError(f"{array.size} values for {count} names")
    return array


def holds_entries(data, list names, sizes, compressed_sizes) -> bool:
    """Whether bytes are exactly these entries: tags, names, sizes and checksum fields."""
    cdef Py_ssize_t count = len(names), i, name_size = 0
    cdef np.ndarray size_column = _column(sizes, count, "uint32")
    cdef np.ndarray compressed_column = _column(compressed_sizes, count, "uint32")
    cdef const uint32_t *size = <const uint32_t *>np.PyArray_DATA(size_column)
    cdef const uint32_t *compressed = <const uint32_t *>np.PyArray_DATA(compressed_column)
    cdef const uint8_t *text = NULL
    cdef const uint8_t[::1] view = data
    cdef Cursor c
    if view.shape[0] == 0:
        return count == 0
    c = cursor_over(&view[0], view.shape[0])
    for i in range(count):
        name = _utf8(names[i], &text, &name_size)
        if name_size < 0 or not take_entry(&c, text, name_size, size[i], compressed[i]):
            return False
    return left(&c) == 0


def table_rows(list names, sizes, compressed_sizes, end) -> tuple[bytes, np.ndarray, int]:
    """Rows of a table for entries that are one after the other from an offset on.

    Args:
        names: the entries.
        sizes, compressed_sizes: (N,) of each, as in the table.
        end: offset of the first one.

    Returns:
        the rows as stored (archive format, section 2.2); (N,) int64 positions of the entries'
        size fields; and the offset of the end of the last one.
    """
    cdef Py_ssize_t count = len(names), i, total = 0, name_size = 0
    cdef np.ndarray size_column = _column(sizes, count, "uint32")
    cdef np.ndarray compressed_column = _column(compressed_sizes, count, "uint32")
    cdef const uint32_t *size = <const uint32_t *>np.PyArray_DATA(size_column)
    cdef const uint32_t *compressed = <const uint32_t *>np.PyArray_DATA(compressed_column)
    cdef np.ndarray positions = np.empty(count, np.int64)
    cdef int64_t *position = <int64_t *>np.PyArray_DATA(positions)
    cdef const uint8_t *text = NULL
    cdef uint64_t at = end
    cdef uint32_t stored_name_size
    cdef bytes rows
    cdef char *to
    for i in range(count):
        name = _utf8(names[i], &text, &name_size)
        if name_size < 0:
            raise ValueError(f"a name that cannot be stored: {names[i]!r}")
        total += <Py_ssize_t>MIN_ROW + name_size
    rows = PyBytes_FromStringAndSize(NULL, total)
    to = <char *>rows
    for i in range(count):
        name = _utf8(names[i], &text, &name_size)
        stored_name_size = <uint32_t>name_size
        at += 8 + <uint64_t>name_size
        position[i] = <int64_t>at
        memcpy(to, &stored_name_size, 4)
        memcpy(to + 4, text, name_size)
        to += 4 + name_size
        memcpy(to, &at, 8)
        memcpy(to + 8, &size[i], 4)
        memcpy(to + 12, &compressed[i], 4)
        to += 16
        at += 16 + <uint64_t>(compressed[i] if compressed[i] else size[i])
    return rows, positions, at
