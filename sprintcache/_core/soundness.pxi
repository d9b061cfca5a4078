# Soundness: decodes runs of entries completely, for `verify`, and where all entries are.
# Needs: externs, faults, sources, tables, index, private_index, fetch, packets, store.

cdef bint takes_text(Cursor *c, const char *text) noexcept nogil:
    """Takes this text, if it is next."""
    cdef uint64_t size = strlen(text)
    if left(c) < size or memcmp(c.at, text, size) != 0:
        return False
    c.at += size
    return True


cdef bint takes_plain_value(Cursor *c) noexcept nogil:
    """Takes the value of an XML attribute without references, and the quote after it."""
    cdef uint8_t byte = 0
    while take_u8(c, &byte):
        if byte == 0x22:                        # the quote
            return True
        if byte < 0x20 or byte == 0x26 or byte == 0x3C:     # control characters, & and <
            return False
    return False


cdef bint are_plain_attributes(const Payload *p) noexcept nogil:
    """Whether attributes are as Sprint writes them (archive format, section 6.2), and no value
    needs XML's references; `sprintcache._attributes.parse` reads the others."""
    cdef Cursor c = cursor_over(p.at, p.size)
    if not takes_text(&c, b"<flow-attributes>"):
        return False
    while takes_text(&c, b'<flow-attribute name="'):
        if not (takes_plain_value(&c) and takes_text(&c, b' value="') and takes_plain_value(&c)
                and takes_text(&c, b"/>")):
            return False
    return takes_text(&c, b"</flow-attributes>") and left(&c) == 0


cdef bint is_sound_entry(Core *core, int64_t entry, Worker *w, int64_t *size) noexcept nogil:
    """Whether an entry of a file is features, not empty, or plain attributes, and all of it is as
    it must be."""
    cdef Fault unused
    cdef Payload p
    cdef TableRow row = row_of(core, entry)
    if source_of(core, entry).kind == SOURCE_DIRECTORY:
        return False
    size[0] = row.size
    if fetch(core, entry, w, WHOLE, False, &p, &unused) != NO_FAULT:
        return False
    if is_attributes(&row):
        return are_plain_attributes(&p)
    return p.size > 0 and check_features(p.at, p.size, &unused) == NO_FAULT


cdef void extent_of(Core *core, int64_t entry, int64_t *begin, int64_t *end) noexcept nogil:
    """Offsets of an entry in its file; -1 in a directory, and if the row was overwritten."""
    cdef Source *s = source_of(core, entry)
    cdef TableRow row = row_of(core, entry)
    begin[0] = end[0] = -1
    if s.kind == SOURCE_FILE and row_fits(&row, s.size):
        begin[0] = <int64_t>entry_begin(&row)
        end[0] = begin[0] + <int64_t>entry_extent(&row)
