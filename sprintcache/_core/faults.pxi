# Faults: what code without the GIL reports; fault_error() below makes an exception of it.
# Needs: externs.

cdef enum FaultCode:
    NO_FAULT
    NO_MEMORY
    OS_FAILED               # a: errno
    NOT_REGULAR             # a: mode
    FILE_CHANGED
    INDEX_DAMAGED           # the index file, not the archive
    SHORT_READ              # a: bytes queries, b: bytes read
    # the entry around the payload
    BAD_START_TAG           # a: found
    BAD_ENTRY_NAME
    BAD_ENTRY_SIZE          # a: the table's, b: the entry's
    BAD_ENTRY_COMPRESSED    # a: the table's, b: the entry's
    BAD_CHECKSUM            # a: found
    BAD_END_TAG             # a: found
    BAD_GZIP_HEADER
    BAD_DEFLATE
    BAD_INFLATED_SIZE       # a: declared, b: found (or -1: more)
    BAD_RATIO               # a: declared size, b: compressed size
    BAD_CRC                 # a: stored, b: computed
    BAD_ISIZE               # a: the entry's, b: the gzip member's
    BAD_MEMBER_END          # a: bytes expected after the deflate data (8), b: found
    # packets
    PACKET_CUT              # text: datatype, a: packet
    HEAD_CUT
    BAD_COUNT               # text: datatype, a: declared, b: least bytes each, c: bytes left
    UNKNOWN_DATATYPE        # text: the name
    NO_FLOW_ENTRY           # text: the first bytes
    NO_FEATURES             # text: datatype
    NO_TIMES                # text: datatype
    FRAME_SIZES             # a: frame, b: its size, c: first frame, d: its size
    BAD_MATRIX              # a: expected, b: found
    TOO_DEEP
    # alignments
    NO_ALIGNMENT            # text: datatype
    NO_ALIGNMENT_AT_ALL
    SEVERAL_ALIGNMENTS      # a: how many
    BAD_MAGIC               # text: found
    BAD_VERSION             # a: found
    ITEMS_CUT               # a: declared items, b: read so far
    TOO_MANY_ITEMS          # a: declared items, b: bytes left
    RUN_TOO_LONG            # a: declared items, b: items with this run
    TIME_TOO_LARGE
    BAD_PACKED
    ALPHABET_CUT
    ALPHABET_TWICE          # a: the id
    # labels
    STARTS_LATE             # a: first time
    TIME_GAP                # a: frame that is missing, b: time found
    SEVERAL_ITEMS           # a: frame
    NO_LABELING
    BAD_STATE_ID            # a: id, b: frame
    NO_ALLOPHONE            # a: id, b: frame, c: allophones known
    NO_LABEL                # a: id, b: frame
    OTHER_SYMBOL            # text: the alphabet's symbol, a: id
    NO_SYMBOL               # a: ids in use, b: those in the alphabet
    BIG_EMISSION            # a: id, b: frame


cdef struct Fault:
    int code
    bint in_payload         # offset counts in the payload, not in the file
    int64_t offset          # -1: nowhere in particular
    int64_t a
    int64_t b
    int64_t c
    int64_t d
    char text[64]


cdef inline int fault(Fault *f, int code, int64_t offset, bint in_payload=True, int64_t a=0,
                      int64_t b=0, int64_t c=0, int64_t d=0) noexcept nogil:
    """Records what is wrong and returns the code."""
    f.code = code
    f.text[0] = 0
    f.in_payload = in_payload
    f.offset = offset
    f.a = a
    f.b = b
    f.c = c
    f.d = d
    return code


cdef inline int fault_text(Fault *f, int code, int64_t offset, const uint8_t *text, uint64_t size,
                           int64_t a=0, int64_t b=0, int64_t c=0) noexcept nogil:
    """Records what is wrong with the beginning of a text from the file."""
    cdef uint64_t n = min(size, sizeof(f.text) - 1)
    fault(f, code, offset, True, a, b, c)
    memcpy(f.text, text, n)
    f.text[n] = 0
    return code


cdef str _name(const uint8_t *name, uint64_t size):
    return PyUnicode_DecodeUTF8(<const char *>name, <Py_ssize_t>size, "surrogateescape")


cdef str _text(const char *text):
    return PyUnicode_DecodeUTF8(text, strlen(text), "backslashreplace")


# code -> (class, reason, expected, found), the last two may be None
_FAULTS = {
    SHORT_READ: (errors.ArchiveChangedError, "the file is shorter than when it was opened",
                 "{a} bytes", "{b}"),
    FILE_CHANGED: (errors.ArchiveChangedError,
                   "the file was changed, replaced or removed after it was opened; open it again",
                   None, None),
    BAD_START_TAG: (errors.CorruptError, "no entry starts here: start tag", "0xaa55aa55",
                    "0x{a:08x}"),
    BAD_ENTRY_NAME: (errors.CorruptError, "the entry's own name differs from the table's",
                     None, None),
    BAD_ENTRY_SIZE: (errors.CorruptError, "the entry's own size differs from the table's",
                     "{a}", "{b}"),
    BAD_ENTRY_COMPRESSED: (errors.CorruptError,
                           "the entry's own compressed size differs from the table's",
                           "{a}", "{b}"),
    BAD_CHECKSUM: (errors.CorruptError, "checksum field", "0", "0x{a:08x}"),
    BAD_END_TAG: (errors.CorruptError, "end tag of the entry", "0x55aa55aa", "0x{a:08x}"),
    BAD_GZIP_HEADER: (errors.CorruptError, "damaged gzip header", None, None),
    BAD_DEFLATE: (errors.CorruptError, "damaged compressed data (deflate)", None, None),
    BAD_INFLATED_SIZE: (errors.CorruptError, "inflated size", "{a}", "{b}"),
    BAD_RATIO: (errors.CorruptError,
                "{b} compressed bytes cannot hold the declared size (deflate: 1032 to 1 at most)",
                "at most {c}", "{a}"),
    BAD_CRC: (errors.CorruptError, "CRC-32 of the inflated data", "0x{a:08x}", "0x{b:08x}"),
    BAD_ISIZE: (errors.CorruptError, "size in the gzip trailer", "{a}", "{b}"),
    BAD_MEMBER_END: (errors.CorruptError, "bytes after the compressed data", "{a}", "{b}"),
    PACKET_CUT: (errors.TruncatedError, "packet {a} of {text} is cut", None, None),
    HEAD_CUT: (errors.TruncatedError, "the head of a block is cut", None, None),
    BAD_COUNT: (errors.CorruptError,
                "count of {text} needs at least {b} bytes each, but {c} bytes are left",
                "at most {most}", "{a}"),
    UNKNOWN_DATATYPE: (errors.UnsupportedError, "unknown datatype {text!r}", None, None),
    NO_FLOW_ENTRY: (errors.UnsupportedError,
                    "no features or alignments: it does not begin with the name of a datatype; use"
                    " read_bytes or read_text", "a length below 256 and a name", "{text!r}"),
    NO_FEATURES: (errors.UnsupportedError,
                  "{text} is not a feature datatype; use read_blocks, or read_alignment for"
                  " flow-alignment", "numbers or vectors", "{text}"),
    NO_TIMES: (errors.UnsupportedError, "{text} has no times", None, None),
    FRAME_SIZES: (errors.FormatError,
                  "frame {a} has {b} values, frame {c} has {d}: no matrix; use read_blocks",
                  None, None),
    BAD_MATRIX: (errors.CorruptError, "row or column count of a matrix", "{a}", "{b}"),
    TOO_DEEP: (errors.UnsupportedError, "aggregates nested deeper than 16 levels", None, None),
    NO_ALIGNMENT: (errors.UnsupportedError,
                   "not an alignment; use read_features or read_blocks", "flow-alignment", "{text}"),
    NO_ALIGNMENT_AT_ALL: (errors.TruncatedError, "the entry holds no alignment",
                          "one alignment", "none"),
    SEVERAL_ALIGNMENTS: (errors.UnsupportedError, "several alignments; use read_blocks", "1",
                         "{a}"),
    BAD_MAGIC: (errors.UnsupportedError, "magic of the alignment",
                "ALIGNRLE, AALPHRLE or ALIGNEMI", "{text!r}"),
    BAD_VERSION: (errors.UnsupportedError, "version of the weighted alignment", "0, 1 or 2",
                  "{a}"),
    ITEMS_CUT: (errors.TruncatedError, "the alignment is cut", "{a} items", "{b}"),
    TOO_MANY_ITEMS: (errors.CorruptError,
                     "{b} bytes cannot hold the declared number of alignment items",
                     "at most {c}", "{a}"),
    RUN_TOO_LONG: (errors.CorruptError, "a run goes beyond the declared number of items", "{a}",
                   "{b}"),
    TIME_TOO_LARGE: (errors.CorruptError, "time of an alignment item goes beyond 32 bits",
                     None, None),
    BAD_PACKED: (errors.CorruptError, "packed number goes beyond 32 bits", None, None),
    ALPHABET_CUT: (errors.TruncatedError, "the alphabet of the alignment is cut", None, None),
    ALPHABET_TWICE: (errors.CorruptError, "id {a} occurs twice in the alphabet", None, None),
    STARTS_LATE: (errors.LabelError, "the first item is not at time 0", "0", "{a}"),
    TIME_GAP: (errors.LabelError, "frame {a} has no item: times are not contiguous", "{a}",
               "{b}"),
    SEVERAL_ITEMS: (errors.LabelError,
                    "frame {a} has several items, or times go back; use read_alignment",
                    None, None),
    NO_LABELING: (errors.LabelError, "allophone states need a labeling", "an AllophoneLabeling",
                  "None"),
    BAD_STATE_ID: (errors.LabelError, "frame {b}: 0x{a:08x} is not an allophone state", None, None),
    NO_ALLOPHONE: (errors.LabelError,
                   "frame {b}: allophone {allophone} of state id {a} is not in the allophone file",
                   "below {c}", "{allophone}"),
    NO_LABEL: (errors.LabelError, "frame {b}: the state tying has no label for {symbol}",
               None, None),
    OTHER_SYMBOL: (errors.LabelError,
                   "the alphabet of the alignment contradicts the allophone file at id {a}"
                   " (on_alphabet_mismatch='map' maps by symbol)",
                   "{symbol}", "{text}"),
    NO_SYMBOL: (errors.LabelError, "ids in use are missing from the alphabet of the alignment",
                "{a} ids", "{b}"),
    BIG_EMISSION: (errors.LabelError, "frame {b}: emission id {a} does not fit int32",
                   None, None),
}


cdef object fault_error(Fault *f, str path, str entry, int64_t payload_at, bint compressed,
                        object labels):
    """The exception for a fault.

    `payload_at` is the offset of the entry's stored bytes, -1 if unknown; `labels` a LabelTable.
    """
    cdef object error_offset = None
    if f.code == NO_MEMORY:
        return MemoryError(f"{path}: entry {entry!r}: out of memory")
    if f.code == OS_FAILED:
        return OSError(f.a, strerror(<int>f.a).decode("utf-8", "replace"), path)
    if f.code == NOT_REGULAR:
        return not_regular(path, f.a)
    cls, reason, expected, found = _FAULTS[f.code]
    facts = {"a": f.a, "b": f.b, "c": f.c, "d": f.d, "text": _text(f.text),
             "most": f.c // f.b if f.b else 0, "allophone": f.a & ALLOPHONE_MASK,
             "symbol": labels.symbol(f.a) if labels is not None else None}
    if f.offset >= 0 and not f.in_payload:
        error_offset = f.offset
    elif payload_at >= 0 and not compressed:
        error_offset = payload_at + max(f.offset, 0)
    elif payload_at >= 0:
        error_offset = payload_at
        if f.offset >= 0:
            reason += " (byte {inflated} of the inflated data)"
            facts["inflated"] = f.offset
    return cls(reason.format(**facts), path=path, entry=entry, offset=error_offset,
               expected=None if expected is None else expected.format(**facts),
               found=None if found is None else found.format(**facts))
