# Store: an open archive, from opening to closing, and its names.
# Needs: externs, faults, sources, tables, scan, index, workers, fetch.

cdef enum:
    NUM_IDLE_WORKERS = 16       # kept for the next reads
    MIN_BYTES_PER_THREAD = 1 << 20


cdef object _utf8(object name, const uint8_t **text, Py_ssize_t *size):
    """The bytes of a name as files have them; returns the object that owns them."""
    if isinstance(name, str):
        try:
            text[0] = <const uint8_t *>PyUnicode_AsUTF8AndSize(name, size)
            return name
        except UnicodeEncodeError:          # a name that is not UTF-8 in the file
            try:
                name = name.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:      # a surrogate without a byte: no entry has the name
                size[0] = -1
                return name
    elif not isinstance(name, bytes):
        raise TypeError(f"an entry's name is a str, not {type(name).__name__}")
    text[0] = <const uint8_t *><char *>name
    size[0] = len(<bytes>name)
    return name


cdef class Store:
    """Sources and their index: opening, closing, names. `Reader` adds the reading."""

    cdef Core core
    cdef int64_t users
    cdef int closed
    cdef Worker *idle_workers[NUM_IDLE_WORKERS]
    cdef readonly str path
    cdef readonly tuple source_paths
    cdef readonly tuple source_states
    cdef readonly tuple scan_reports
    cdef readonly object index_path     # str, or None: the index is private
    cdef readonly tuple index_problems  # (path, problem) of index files that were not used
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self.users = 1
        self.path = ""
        self.index_problems = ()

    def __dealloc__(self):
        if mark_once(&self.closed) and count_out(&self.users):
            self._release()

    # ---- life

    def _open(self, str path, list sources, str io, str scan_reason=None, index_paths=(),
              bint remote_index=False) -> None:
        """Opens and indexes the sources: (absolute path, is a directory, names or None) each.

        With `scan_reason`, tables are ignored and the files are scanned. The first of the index
        files that is sound and matches the sources is used, those of network file systems only
        with `remote_index`.
        """
        cdef list problems = []
        if io not in ("auto", "mmap", "pread"):
            raise ValueError(f"io must be 'auto', 'mmap' or 'pread', not {io!r}")
        if self.core.sources != NULL or self.closed:
            raise ValueError(f"{self.path} was opened already")
        self.path = path
        self.source_paths = tuple([source[0] for source in sources])
        for index_path in index_paths:
            problem = self._open_indexed(sources, io, index_path, remote_index)
            if problem is None:
                self.index_path = index_path
                break
            self._release()
            problems.append((index_path, problem))
        else:
            self._open_tables(sources, io, scan_reason)
        self.index_problems = tuple(problems)
        self.source_states = tuple([(self.core.sources[i].size, self.core.sources[i].mtime)
                                    for i in range(len(sources))])

    cdef int _allocate_sources(self, Py_ssize_t count) except -1:
        self.core.sources = <Source *>calloc(count + 1, sizeof(Source))
        if self.core.sources == NULL:
            raise MemoryError()
        return 0

    cdef str _open_indexed(self, list sources, str io, str index_path, bint remote_index):
        """Opens the sources with the arrays of an index file; returns why that is not possible."""
        cdef IndexFile *file = <IndexFile *>calloc(1, sizeof(IndexFile))
        cdef Source *s
        cdef Fault f
        cdef uint32_t i
        cdef str problem
        if file == NULL:
            raise MemoryError()
        self.core.index.file = file     # released with the index
        problem = open_index_file(file, index_path, remote_index)
        if problem is not None:
            return problem
        if file.header.num_sources != len(sources):
            return f"it is an index of {file.header.num_sources} archives, not {len(sources)}"
        self._allocate_sources(len(sources))
        for i in range(len(sources)):
            s = self.core.sources + i
            s.fd = -1
            self.core.count = i + 1
            name, is_directory, _names = sources[i]
            if is_directory:
                return f"{name} is a directory"
            self._open_source(s, name, False, &f)
            if f.code != NO_FAULT:
                return f"{name} cannot be opened"
            problem = match_source(file, i, s)
            if problem is None and not self._map(s, io, &f):
                problem = f"{name} cannot be mapped"
            if problem is not None:
                return problem
            leave_open(s)
        self.scan_reports = (None,) * len(sources)
        use_index_file(&self.core.index, file, self.core.sources)
        return None

    cdef int _open_tables(self, list sources, str io, str scan_reason) except -1:
        """Opens the sources and makes a private index of their tables."""
        cdef Fault f
        cdef uint32_t i
        cdef bytes key = os.urandom(8)
        cdef list reports = []
        self._allocate_sources(len(sources))
        for i in range(len(sources)):
            self.core.sources[i].fd = -1
            self.core.count = i + 1
            name, is_directory, names = sources[i]
            memset(&f, 0, sizeof(f))
            self._open_source(&self.core.sources[i], name, is_directory, &f)
            report = None
            if f.code == NO_FAULT and is_directory:
                self._list_directory(&self.core.sources[i], names, &f)
            elif f.code == NO_FAULT:
                report = self._read_table(&self.core.sources[i], name, io, scan_reason, &f)
            leave_open(&self.core.sources[i])
            reports.append(report)
            if f.code != NO_FAULT:
                raise fault_error(&f, name, None, -1, False, None)
        self.scan_reports = tuple(reports)
        memcpy(&self.core.index.key, <char *>key, 8)
        with nogil:
            i = build_index(&self.core.index, self.core.sources, self.core.count) == 0
        if not i:
            raise MemoryError(f"{self.path}: index")
        for i in range(self.core.count):
            release_table_pages(&self.core.sources[i])
        return 0

    cdef int _open_source(self, Source *s, str path, bint is_directory, Fault *f) except -1:
        cdef bytes encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise ValueError(f"embedded null byte in {path!r}")
        f.code = NO_FAULT
        s.kind = SOURCE_DIRECTORY if is_directory else SOURCE_FILE
        s.path = <char *>malloc(len(encoded) + 1)
        if s.path == NULL:
            raise MemoryError()
        memcpy(s.path, <char *>encoded, len(encoded) + 1)
        with nogil:
            open_source(s, f)
        return 0

    cdef object _read_table(self, Source *s, str path, str io, str reason, Fault *f):
        """Reads the table of an archive file; returns a ScanReport if it had to be scanned."""
        cdef uint8_t header[9]
        if s.size < HEADER:
            raise errors.TruncatedError("not an archive: the header is cut off", path=path, offset=0,
                                        expected="9 bytes", found=s.size)
        if not self._map(s, io, f):
            return None
        if source_read(s, header, 9, 0, f) != NO_FAULT:
            return None
        if memcmp(header, b"SP_ARC1\0", 8) != 0:
            raise errors.FormatError("not a Sprint archive: magic", path=path, offset=0,
                                     expected="b'SP_ARC1\\x00'", found=bytes(header[:8]))
        report = None
        if header[8] == 0:
            reason = "the writer did not finish: flag 0, no table"
        elif reason is None:
            reason = load_table(s, f)
        if f.code == NO_FAULT and reason is not None:
            skipped = []
            holes = scan_source(s, skipped, f)
            if f.code == NO_FAULT:
                report = ScanReport(path, reason, s.count, holes,
                                    tuple([SkippedRange(*r) for r in skipped]))
        return report

    cdef bint _map(self, Source *s, str io, Fault *f) noexcept:
        """Maps an opened file if `io` says so; False: a fault."""
        s.mapped = io == "mmap" or (io == "auto" and is_local(s.fd))
        if s.mapped and map_source(s, f) != NO_FAULT:
            if io == "mmap":
                return False
            s.mapped = False            # a file system that cannot map
            f.code = NO_FAULT
        return True

    cdef int _list_directory(self, Source *s, list names, Fault *f) except -1:
        """Makes rows of the names of files in a directory archive."""
        cdef RowBuffer rows = RowBuffer(NULL, 0, 0, 0)
        cdef TableRow row
        cdef bytes encoded
        memset(&row, 0, sizeof(row))
        try:
            for name in names:
                encoded = os.fsencode(name)
                row.name_size = len(encoded)
                row.name = <const uint8_t *><char *>encoded
                if add_row(&rows, &row, s, f) != NO_FAULT:
                    break
        finally:
            keep_rows(s, &rows)
        return 0

    def close(self) -> None:
        """Closes the archive. Reads in progress finish first. Idempotent."""
        if mark_once(&self.closed) and count_out(&self.users):
            self._release()

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self.closed != 0

    cdef void _release(self) noexcept:
        cdef uint32_t i
        cdef Worker *w
        release_index(&self.core.index)
        for i in range(self.core.count):
            release_source(&self.core.sources[i])
        free(self.core.sources)
        self.core.sources = NULL
        self.core.count = 0
        for i in range(NUM_IDLE_WORKERS):
            w = <Worker *>exchange(<void **>&self.idle_workers[i], NULL)
            if w != NULL:
                release_worker(w)

    cdef inline bint _try_enter(self) noexcept:
        """Counts a read in; False if the archive is closed."""
        if not self.closed and count_in(&self.users):
            if self.core.index.slots != NULL:
                return True
            self._leave()               # opening failed, or was never tried
        return False

    cdef inline int _enter(self) except -1:
        if self._try_enter():
            return 0
        raise errors.ClosedArchiveError("the archive is closed", path=self.path)

    cdef inline void _leave(self) noexcept:
        if count_out(&self.users):
            self._release()

    cdef Worker *_take_worker(self) except NULL:
        cdef Worker *w
        cdef int i
        for i in range(NUM_IDLE_WORKERS):
            w = <Worker *>exchange(<void **>&self.idle_workers[i], NULL)
            if w != NULL:
                return w
        w = <Worker *>calloc(1, sizeof(Worker))
        if w == NULL:
            raise MemoryError()
        return w

    cdef void _return_worker(self, Worker *w) noexcept:
        """Keeps a worker for the next read, without large buffers."""
        cdef int i
        w.ahead_source = NULL
        if w.raw_room > MAX_IDLE_BUFFER:
            free(w.raw)
            w.raw = NULL
            w.raw_room = 0
        if w.inflated_room > MAX_IDLE_BUFFER:
            free(w.inflated)
            w.inflated = NULL
            w.inflated_room = 0
        for i in range(NUM_IDLE_WORKERS):
            w = <Worker *>exchange(<void **>&self.idle_workers[i], w)
            if w == NULL:
                return
        release_worker(w)

    # ---- names

    cdef int64_t _find(self, object name) except -2:
        """Number of the entry, or NO_ENTRY."""
        cdef Py_ssize_t size = 0
        cdef const uint8_t *text = NULL
        name = _utf8(name, &text, &size)
        if size < 0:
            return NO_ENTRY
        return self._checked(find_entry(&self.core.index, text, size))

    cdef int64_t _checked(self, int64_t entry) except -2:
        """An entry of the index, or NO_ENTRY; raises the error of a damaged index."""
        if entry == DAMAGED_INDEX:
            raise self._index_error()
        return entry

    cdef int64_t _segment(self, int64_t segment) except -2:
        """The entry of a segment."""
        return self._checked(segment_entry(&self.core.index, segment))

    cdef object _index_error(self):
        return errors.CorruptError(
            "the index is damaged; remove it, or write it again with `sprintcache index`",
            path=self.index_path, offset=load_offset(&self.core.index.file.damaged))

    cdef object _row_error(self, int64_t entry):
        """The error for an entry whose row cannot be read any more."""
        if self.core.index.file != NULL:
            return self._index_error()
        return errors.ArchiveChangedError("the table was overwritten after it was read",
                                          path=self._path_of(entry))

    cdef int64_t _entry(self, object name) except -1:
        cdef int64_t entry = self._find(name)
        if entry < 0:
            raise self._missing(name)
        return entry

    cdef object _missing(self, object name):
        """The error for a name without an entry."""
        self.check_unchanged()          # perhaps the table was overwritten
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        hint = f"one of {self.core.index.count} names"
        if self.core.index.count:
            hint += f", such as {self._name_at(self.core.index.count - 1)!r}"
        return errors.EntryNotFoundError("no such entry", path=self.path, entry=name,
                                         expected=hint)

    cdef str _name_at(self, int64_t entry):
        cdef TableRow row = row_of(&self.core, entry)
        if row.name_size == 0:
            raise self._row_error(entry)
        return _name(row.name, row.name_size)

    cdef object _error(self, int64_t entry, Fault *f, LabelTable labels=None):
        cdef TableRow row = row_of(&self.core, entry)
        cdef int64_t payload_at = <int64_t>row.position + 12
        cdef bint compressed = row.compressed != 0
        cdef uint64_t file_size = 0, size = 0
        cdef Fault unused
        if f.code == INDEX_DAMAGED:
            return self._index_error()
        if source_of(&self.core, entry).kind == SOURCE_DIRECTORY:
            payload_at = 0
            loose_sizes(source_of(&self.core, entry), &row, &file_size, &size, &compressed, &unused)
        return fault_error(f, self._path_of(entry), _name(row.name, row.name_size), payload_at,
                           compressed, labels)

    cdef str _path_of(self, int64_t entry):
        return self.source_paths[source_of(&self.core, entry) - self.core.sources]

    def __len__(self) -> int:
        self._enter()
        try:
            return self.core.index.count
        finally:
            self._leave()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, (str, bytes)):
            return False
        self._enter()
        try:
            return self._find(name) >= 0
        finally:
            self._leave()

    def _names(self, start: int, stop: int, segments: bool) -> list[str]:
        """Names of entries (or segments) from start to stop."""
        cdef int64_t i, n
        self._enter()
        try:
            self._check_names()
            n = self.core.index.segment_count if segments else self.core.index.count
            return [self._name_at(self._segment(i) if segments else i)
                    for i in range(max(0, start), min(stop, n))]
        finally:
            self._leave()

    def _names_at(self, numbers, bint segments) -> list[str]:
        """Names of the entries (or segments) of these numbers, such as those of a batch.

        Raises:
            IndexError: if a number is out of range; numbers do not count from the end.
        """
        cdef np.ndarray array = np.ascontiguousarray(numbers, np.int64)
        cdef int64_t *number = <int64_t *>np.PyArray_DATA(array)
        cdef int64_t i, n
        cdef list names = []
        self._enter()
        try:
            self._check_names()
            n = self.core.index.segment_count if segments else self.core.index.count
            for i in range(array.shape[0]):
                if not 0 <= number[i] < n:
                    raise IndexError(f"segment {number[i]} of {n}")
                names.append(self._name_at(self._segment(number[i]) if segments else number[i]))
            return names
        finally:
            self._leave()

    cdef int _check_names(self) except -1:
        """Checks the archive if names are read from its mapped table."""
        if (self.core.count == 1 and self.core.sources.own_table == NULL
                and self.core.index.file == NULL):
            self._check_source(0)
        return 0

    def _num_segments(self) -> int:
        """Number of entries whose names do not end in ".attribs"."""
        self._enter()
        try:
            return self.core.index.segment_count
        finally:
            self._leave()

    def entry(self, name) -> EntryInfo:
        """The row of an entry in the table; the entry is not read.

        For an entry of a directory archive, a file: position 0, and the sizes of the file now.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
        """
        cdef int64_t entry
        cdef TableRow row
        cdef Source *s
        self._enter()
        try:
            entry = self._entry(name)
            row = row_of(&self.core, entry)
            s = source_of(&self.core, entry)
            if s.kind == SOURCE_DIRECTORY:
                return self._loose_entry(entry)
            return tuple.__new__(EntryInfo, (_name(row.name, row.name_size), row.position,
                                             row.size, row.compressed, self._path_of(entry)))
        finally:
            self._leave()

    def segment_sizes(self) -> np.ndarray:
        """Payload bytes of every segment, uncompressed, in the order of `segments`.

        Read from the tables; entries of a directory archive are files, whose heads are read.

        Returns:
            (len(segments),) int64.
        """
        cdef int64_t count, i, entry
        cdef np.ndarray array
        cdef int64_t *sizes
        cdef TableRow row
        self._enter()
        try:
            count = self.core.index.segment_count
            array = np.empty(count, np.int64)
            sizes = <int64_t *>np.PyArray_DATA(array)
            for i in range(count):
                entry = self._segment(i)
                row = row_of(&self.core, entry)
                if row.name_size == 0:
                    raise self._row_error(entry)
                sizes[i] = row.size
                if source_of(&self.core, entry).kind == SOURCE_DIRECTORY:
                    sizes[i] = self._loose_entry(entry).size
            return array
        finally:
            self._leave()

    cdef object _loose_entry(self, int64_t entry):
        cdef Fault f
        cdef uint64_t file_size = 0, size = 0
        cdef bint gzip = False
        cdef TableRow row = row_of(&self.core, entry)
        if loose_sizes(source_of(&self.core, entry), &row, &file_size, &size, &gzip,
                       &f) != NO_FAULT:
            raise self._error(entry, &f)
        return EntryInfo(_name(row.name, row.name_size), 0, size, file_size if gzip else 0,
                         self._path_of(entry))

    @property
    def io(self) -> str:
        """How files are read, "mmap" or "pread"; "mixed" in a bundle over several file systems."""
        cdef uint32_t i
        self._enter()
        try:
            modes = {"mmap" if self.core.sources[i].mapped else "pread"
                     for i in range(self.core.count)}
        finally:
            self._leave()
        return "mixed" if len(modes) > 1 else modes.pop() if modes else "mmap"

    def check_unchanged(self) -> None:
        """Compares size, time and inode of every file with those at opening.

        Raises:
            ArchiveChangedError: if a file was changed or replaced.
        """
        cdef uint32_t i
        self._enter()
        try:
            for i in range(self.core.count):
                self._check_source(i)
        finally:
            self._leave()

    cdef int _check_source(self, uint32_t i) except -1:
        cdef Fault f
        if self.core.sources[i].kind == SOURCE_FILE and not same_file(&self.core.sources[i]):
            fault(&f, FILE_CHANGED, -1, False)
            raise fault_error(&f, self.source_paths[i], None, -1, False, None)
        return 0
