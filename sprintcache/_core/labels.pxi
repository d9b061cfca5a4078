# The labels of allophone states as one table.

cdef class LabelTable:
    """Labels of all allophone states as one array, and the allophones' symbols; never changes.

    Args:
        allophones: the allophone symbols in index order, all different.
        table: (states, allophones) int32, the label of a state of an allophone, -1 for none.

    Raises:
        ValueError: if the table does not fit the allophones.
    """

    cdef readonly object allophones
    cdef readonly object table
    cdef bytes _symbols
    cdef object _places
    cdef sc_labels labels

    def __init__(self, allophones, table):
        cdef list symbols = [a.encode("utf-8", "surrogateescape") for a in allophones]
        table = np.ascontiguousarray(table, np.int32)
        if table.ndim != 2 or table.shape[1] != len(symbols) or table.shape[0] > 16:
            raise ValueError(f"table of shape {table.shape} for {len(symbols)} allophones;"
                             " expected (states up to 16, allophones)")
        self.allophones = allophones
        self.table = table
        self._symbols = b"".join(symbols)
        places = np.zeros(len(symbols) + 1, np.uint64)
        np.cumsum([len(s) for s in symbols], out=places[1:])
        if places[-1] > 0xFFFFFFFF:
            raise ValueError("more than 4 GiB of allophone symbols")
        self._places = places.astype(np.uint32)
        self.labels.table = <const int32_t *>np.PyArray_DATA(table)
        self.labels.allophones = <uint32_t>table.shape[1]
        self.labels.states = <uint32_t>table.shape[0]
        self.labels.symbols = <const uint8_t *><char *>self._symbols
        self.labels.symbol_at = <const uint32_t *>np.PyArray_DATA(self._places)

    def __reduce__(self):
        return LabelTable, (self.allophones, self.table)

    def symbol(self, id: int) -> str:
        """``a{b+c}@i.1`` for an allophone-state id, or the bare numbers where it is unknown."""
        allophone, state = id & ALLOPHONE_MASK, id >> STATE_SHIFT
        if not 0 <= state < 16:
            return f"0x{id:08x} (no state)"
        if allophone < len(self.allophones):
            return f"{self.allophones[allophone]}.{state}"
        return f"allophone {allophone} state {state}"
