# The fuzzed core: included at the end of the reader by fuzz/build.py, in builds for fuzzing only.
#
# An input is a byte of its kind, a parameter, and a body: a payload, an archive, a size and a gzip
# member, or an archive that is read while one call of the system fails. Every way to read it must agree
# with the decoder of reference.c, so mapped and unmapped files, single and batched reads, one and several
# threads, and all copy loops agree with each other.

from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort

cdef extern from "driver.h":
    ctypedef int (*fuzz_callback)(const uint8_t *data, size_t size) noexcept
    int FUZZ_HAS_DRIVER
    int fuzz_whole_archives
    int LLVMFuzzerRunDriver(int *argc, char ***argv, fuzz_callback callback)

cdef extern from "mutator.h" nogil:
    enum:
        FUZZ_PAYLOAD, FUZZ_ARCHIVE, FUZZ_MEMBER, FUZZ_FAILING, FUZZ_KINDS, FUZZ_HEAD

cdef extern from "reference.h" nogil:
    ctypedef struct ref_row:
        const uint8_t *name
        uint32_t name_size
        uint64_t position
        uint32_t size
        uint32_t compressed
    ctypedef struct ref_payload:
        int sound
        int numeric
        int uneven
        int timed
        int one_alignment
        int64_t packets
        int64_t frames
        int64_t dim
        const float *values
        const double *times
        int doubled
        int emissions
        int64_t items
        int64_t last
        const uint32_t *item_times
        const uint32_t *ids
        const float *weights
    ctypedef struct ref_labeling:
        uint32_t allophones
        uint32_t states
        const int32_t *table
        const char **symbols
    int64_t ref_rows(const uint8_t *data, size_t size, ref_row *rows, size_t room)
    const uint8_t *ref_entry(const uint8_t *data, size_t size, const ref_row *row,
                             uint64_t *payload_size)
    int ref_undecided()
    const uint8_t *ref_gunzip(const uint8_t *member, size_t size, uint64_t declared, int strict)
    void ref_decode(const uint8_t *payload, size_t size, ref_payload *result)
    int ref_labels(const ref_payload *decoded, const ref_labeling *labeling, int check_alphabet,
                   int32_t *out)

cdef extern from "failing_calls.h" nogil:  # the last header of all
    int64_t failing_calls
    int64_t failed_calls
    int failing_read
    enum:
        WAYS_TO_FAIL

cdef extern from *:
    """
    #define FUZZ_STATES 12
    static const char *fuzz_symbols[] = {"sil{#+#}@i@f", "a{b+c}@i", "e{a+#}"};
    static const uint8_t fuzz_joined[] = "sil{#+#}@i@fa{b+c}@ie{a+#}";
    static const uint32_t fuzz_offsets[] = {0, 12, 20, 26};
    static int32_t fuzz_table[FUZZ_STATES * 3];
    """
    const char **fuzz_symbols
    const uint8_t *fuzz_joined
    const uint32_t *fuzz_offsets
    int32_t *fuzz_table
    enum:
        FUZZ_STATES

cdef enum:
    FUZZ_ROWS = 1024
    FUZZ_ENTRIES = 8            # of an archive that are read
    FUZZ_THREADS = 3

cdef Worker *fuzz_workers[FUZZ_THREADS]
cdef sc_labels fuzz_labels
cdef ref_labeling fuzz_labeling
cdef int fuzz_file = -1
cdef bytes fuzz_path = None
cdef object fuzz_function = None


cdef void disagree(const char *what, int64_t ours=0, int64_t expected=0) noexcept nogil:
    """Ends the process: libFuzzer saves the input."""
    fprintf(stderr, b"disagreement on %s: %lld, expected %lld\n", what, <long long>ours,
            <long long>expected)
    abort()


cdef inline bint accepted(const char *what, int code, bint expected) noexcept nogil:
    """Whether ours read it; ends the process unless the reference did the same.

    A call that failed justifies any refusal.
    """
    if (code == NO_FAULT) != expected and (code == NO_FAULT or failed_calls == 0):
        disagree(what, code, expected)
    return code == NO_FAULT


cdef inline void same(const char *what, int64_t ours, int64_t expected) noexcept nogil:
    if ours != expected:
        disagree(what, ours, expected)


cdef inline void same_bytes(const char *what, const void *ours, const void *expected,
                            uint64_t size) noexcept nogil:
    if size and memcmp(ours, expected, size) != 0:
        disagree(what)


cdef void prepare_fuzzing() except *:
    global fuzz_file, fuzz_path
    cdef int i
    for i in range(FUZZ_THREADS):
        fuzz_workers[i] = <Worker *>calloc(1, sizeof(Worker))
    for i in range(FUZZ_STATES * 3):
        fuzz_table[i] = -1
    fuzz_table[0] = 0                       # sil, state 0
    fuzz_table[2 * 3 + 1] = 7               # a, state 2
    fuzz_table[11 * 3 + 1] = 2**31 - 1      # a, state 11
    fuzz_table[1 * 3 + 2] = 3               # e, state 1
    fuzz_labels.table = fuzz_table
    fuzz_labels.allophones = 3
    fuzz_labels.states = FUZZ_STATES
    fuzz_labels.symbols = fuzz_joined
    fuzz_labels.symbol_at = fuzz_offsets
    fuzz_labeling.table = fuzz_table
    fuzz_labeling.allophones = 3
    fuzz_labeling.states = FUZZ_STATES
    fuzz_labeling.symbols = fuzz_symbols
    fuzz_file = os.memfd_create("fuzzed.cache")
    fuzz_path = f"/proc/{os.getpid()}/fd/{fuzz_file}".encode()


# ---- payloads


cdef void fuzz_features(const uint8_t *at, uint64_t size, uint8_t parameter,
                        const ref_payload *ref) noexcept nogil:
    cdef Fault f, g
    cdef Shape shape, peeked
    cdef float *out
    cdef int kernel, measured, code, peek_code
    cdef uint64_t visible = min(size, 128 + 3 * <uint64_t>parameter)
    measured = measure_features(at, size, size, &shape, &f)
    if visible < size:
        peek_code = measure_features(at, size, visible, &peeked, &g)
        if peek_code == NO_FAULT and peeked.frames >= 0:
            same(b"a peek at features", measured, NO_FAULT)
            same(b"frames of a peek", peeked.frames, shape.frames)
            same(b"dimension of a peek", peeked.dim, shape.dim)
        elif peek_code != NO_FAULT:
            same(b"the fault of a peek", peek_code, measured)
    accepted(b"all features", check_features(at, size, &g), ref.numeric)
    if measured != NO_FAULT:
        accepted(b"features", measured, ref.numeric)
        return
    out = <float *>malloc(max(shape.frames * shape.dim * 4, <int64_t>1))
    if out == NULL:
        return
    for kernel in range(3):
        sc_use_kernel(b"plain" if kernel == 0 else b"avx2" if kernel == 1 else b"avx512")
        code = copy_features(at, size, shape, out, &f)
        if accepted(b"features", code, ref.numeric):
            same(b"frames", shape.frames, ref.frames)
            same(b"dimension", shape.dim, ref.dim)
            same_bytes(b"values", out, ref.values, <uint64_t>(4 * shape.frames * shape.dim))
    free(out)


cdef void fuzz_times(const uint8_t *at, uint64_t size, const ref_payload *ref) noexcept nogil:
    cdef Fault f
    cdef int64_t count = 0, again = 0
    cdef double *times
    if not accepted(b"packets", count_packets(at, size, NULL, 0, &count, &f), ref.sound):
        return
    same(b"number of packets", count, ref.packets)
    times = <double *>malloc(16 * count + 1)
    if times == NULL:
        return
    if accepted(b"times", count_packets(at, size, times, count, &again, &f), ref.timed):
        same(b"number of times", again, count)
        same_bytes(b"the times", times, ref.times, <uint64_t>(16 * count))
    free(times)


cdef void fuzz_labels_of(const uint8_t *at, uint64_t size, int64_t items, Worker *w,
                         const ref_payload *ref, int32_t *out, int32_t *expected) noexcept nogil:
    cdef Fault f
    cdef int check, kernel, code
    cdef bint readable = False
    cdef Payload p = Payload(at, size, size)
    for check in range(2):
        readable = ref_labels(ref, &fuzz_labeling, check, expected)
        for kernel in range(2):
            sc_use_kernel(b"plain" if kernel == 0 else b"avx2")
            code = decode_labels(at, size, &fuzz_labels, &w.used if check else NULL, out, items, &f)
            if accepted(b"labels", code, readable):
                same_bytes(b"the labels", out, expected, <uint64_t>(4 * items))
    if readable and items:
        check = <int>(size % <uint64_t>items)
        code = copy_label_range(&p, w, &fuzz_labels, &w.used, check, items - check, out, &f)
        if accepted(b"a range of labels", code, True):
            same_bytes(b"labels of a range", out, expected + check,
                       <uint64_t>(4 * (items - check)))
    code = decode_labels(at, size, NULL, NULL, out, items, &f)
    accepted(b"labels without a labeling", code, readable and ref.emissions)


cdef void fuzz_alignment(const uint8_t *at, uint64_t size, uint8_t parameter, Worker *w,
                         const ref_payload *ref) noexcept nogil:
    cdef Fault f, g
    cdef Cursor c = cursor_over(at, size)
    cdef AlignmentHead head
    cdef int64_t offset = 0, items = -1, peeked = -1
    cdef int code, peek_code
    cdef double start = 0, end = 0
    cdef uint32_t *times
    cdef uint64_t visible = min(size, 64 + 3 * <uint64_t>parameter)
    code = measure_alignment(at, size, size, &items, &f)
    if visible < size:
        peek_code = measure_alignment(at, size, visible, &peeked, &g)
        if peek_code != NO_FAULT or peeked >= 0:
            same(b"a peek at an alignment", peek_code, code)
            same(b"items of a peek", peeked, items)
    if code != NO_FAULT:
        accepted(b"an alignment", code, ref.one_alignment)
        return
    if items > <int64_t>(26 * size):
        disagree(b"the bound of items", items, <int64_t>(26 * size))
    times = <uint32_t *>malloc(20 * items + 1)
    if times == NULL:
        return
    code = only_alignment(&c, &offset, &f)
    if code == NO_FAULT:
        code = take_alignment(&c, &head, times, times + items, <float *>(times + 2 * items),
                              <uint32_t>items, &f)
    if code == NO_FAULT:
        code = after_alignment(&c, &start, &end, &f)
    if accepted(b"an alignment", code, ref.one_alignment):
        same(b"items", items, ref.items)
        same(b"frames of an alignment", head.num_frames, ref.last)
        same_bytes(b"item times", times, ref.item_times, <uint64_t>(4 * items))
        same_bytes(b"ids", times + items, ref.ids, <uint64_t>(4 * items))
        same_bytes(b"weights", times + 2 * items, ref.weights, <uint64_t>(4 * items))
        same_bytes(b"start", &start, ref.times, 8)
        same_bytes(b"end", &end, ref.times + 1, 8)
    fuzz_labels_of(at, size, items, w, ref, <int32_t *>(times + 3 * items),
                   <int32_t *>(times + 4 * items))
    free(times)


cdef void fuzz_payload(const uint8_t *at, uint64_t size, uint8_t parameter, Worker *w) noexcept:
    cdef ref_payload ref
    cdef Payload p
    cdef Fault f
    f.code = NO_FAULT
    with nogil:
        ref_decode(at, size, &ref)
        fuzz_features(at, size, parameter, &ref)
        fuzz_times(at, size, &ref)
        fuzz_alignment(at, size, parameter, w, &ref)
    if parameter % 16 == 3:
        p = Payload(at, size, size)
        try:
            read_all_blocks(&p, &f)
            if f.code != ALPHABET_TWICE or not ref.doubled:
                accepted(b"blocks", f.code, ref.sound)
            f.code = NO_FAULT
            read_one_alignment(&p, &f)
            if f.code != ALPHABET_TWICE or not ref.doubled:
                accepted(b"one alignment", f.code, ref.one_alignment)
        except Exception as error:
            disagree(type(error).__name__.encode())


# ---- archives


cdef bint fuzz_open(Source *s, const uint8_t *data, uint64_t size, bint mapped) except -1:
    """Opens an archive as Store does; False where a call failed."""
    cdef Fault f
    cdef str reason = None
    memset(s, 0, sizeof(Source))
    memset(&f, 0, sizeof(f))
    s.fd = -1
    s.size = size
    s.mapped = mapped
    if mapped:
        s.map = data
    else:
        s.fd = os.dup(fuzz_file)
        s.path = fuzz_path
        with nogil:
            if open_again(s, &f) != NO_FAULT:
                return False
    try:
        if data[8] != 0:
            reason = load_table(s, &f)
        if f.code == NO_FAULT and (data[8] == 0 or reason is not None):
            scan_source(s, [], &f)
    except MemoryError:
        f.code = NO_MEMORY
    if f.code != NO_FAULT:
        accepted(b"an archive", f.code, True)
    return f.code == NO_FAULT


cdef int open_again(Source *s, Fault *f) noexcept nogil:
    """As open_source, of a file that is opened."""
    cdef struct_stat status
    if fstat(s.fd, &status) != 0:
        return fault(f, OS_FAILED, -1, False, errno)
    s.device = status.st_dev
    s.inode = status.st_ino
    s.mtime = mtime_of(&status)
    return NO_FAULT


cdef void fuzz_close(Source *s) noexcept nogil:
    if s.fd >= 0:
        close(s.fd)
    sc_forget(&s.descriptor)
    free(s.own_table)


cdef void fuzz_rows(const Source *s, const ref_row *rows, int64_t count, Index *index) noexcept nogil:
    """The entries of the index are those of the reference, in the same order."""
    cdef int64_t i
    cdef TableRow row
    same(b"number of entries", index.count, count)
    for i in range(count):
        row = indexed_row(index, i)
        same(b"size of a name", row.name_size, rows[i].name_size)
        same_bytes(b"name", row.name, rows[i].name, row.name_size)
        same(b"position", <int64_t>row.position, <int64_t>rows[i].position)
        same(b"size", row.size, rows[i].size)
        same(b"compressed size", row.compressed, rows[i].compressed)
        same(b"the entry of a name", find_entry(index, row.name, row.name_size), i)


cdef void fuzz_range(Core *core, int64_t entry, Worker *w, uint8_t parameter,
                     const ref_payload *ref) noexcept nogil:
    """Some frames of features."""
    cdef Payload p
    cdef Shape shape
    cdef OneBlock block
    cdef Fault f
    cdef int code
    cdef int64_t first = parameter % ref.frames
    cdef int64_t count = 1 + 7 * <int64_t>parameter % (ref.frames - first)
    cdef float *out = <float *>malloc(max(4 * count * ref.dim, <int64_t>1))
    if out == NULL:
        return
    if accepted(b"a head", fetch_features(core, entry, w, HEAD, True, &p, &shape, &f), True):
        block = find_block(&p)
        code = copy_range(core, entry, w, &block, first, count, ref.dim, out, &f)
        if accepted(b"a range", code, True):
            same_bytes(b"frames of a range", out, ref.values + first * ref.dim,
                       <uint64_t>(4 * count * ref.dim))
    free(out)


cdef void fuzz_entry(Core *core, int64_t entry, const uint8_t *data, const ref_row *row,
                     uint8_t parameter, bint check) noexcept:
    """One entry, in all portions."""
    cdef Worker *w = fuzz_workers[0]
    cdef Payload p
    cdef Fault f
    cdef ref_payload ref
    cdef uint64_t size = 0
    cdef Shape shape
    cdef const uint8_t *expected
    cdef uint8_t *copy
    cdef int code
    with nogil:
        expected = ref_entry(data, core.sources.size, row, &size)
        if expected == NULL and ref_undecided():
            fetch(core, entry, w, WHOLE, check, &p, &f)
            return
        if accepted(b"an entry", fetch(core, entry, w, WHOLE, check, &p, &f), expected != NULL):
            same(b"size of a payload", <int64_t>p.size, <int64_t>size)
            same(b"visible bytes", <int64_t>p.visible, <int64_t>size)
            same_bytes(b"payload", p.at, expected, size)
        code = fetch(core, entry, w, HEAD, check, &p, &f)
        if expected != NULL and accepted(b"the head of an entry", code, True):
            if size or p.size != 1:     # 1: too little was fetched to say more
                same(b"size of a head", <int64_t>p.size, <int64_t>size)
            same_bytes(b"head", p.at, expected, p.visible)
        code = fetch(core, entry, w, HEAD_ALONE, check, &p, &f)
        if expected != NULL and accepted(b"the head alone", code, True):
            same_bytes(b"head alone", p.at, expected, p.visible)
        code = count_frames(core, entry, w, check, &shape, &f)
        if expected == NULL:
            return
        ref_decode(expected, size, &ref)
        # of vectors, the first packet speaks for its block
        if ref.sound and not ref.uneven and accepted(b"number of frames", code, True):
            same(b"number of frames", shape.frames, ref.last if ref.one_alignment else ref.packets)
        if ref.numeric and ref.frames:
            fuzz_range(core, entry, w, parameter, &ref)
        copy = <uint8_t *>malloc(size)      # exactly as large, so that sanitizers see each byte too far
    if copy != NULL:
        memcpy(copy, expected, size)
        fuzz_payload(copy, size, parameter, w)
        free(copy)


cdef void fuzz_batch(Core *core, const uint8_t *data, const ref_row *rows, int64_t count,
                     int num_threads) noexcept nogil:
    """The entries as batches of features and of labels."""
    cdef BatchJob b
    cdef ParallelJob job
    cdef ThreadArg args[FUZZ_THREADS]
    cdef Fault faults[FUZZ_ENTRIES]
    cdef int64_t entries[FUZZ_ENTRIES]
    cdef int64_t lengths[FUZZ_ENTRIES]
    cdef int64_t dims[FUZZ_ENTRIES]
    cdef ref_payload ref
    cdef uint64_t size
    cdef const uint8_t *payload
    cdef int32_t *expected
    cdef int64_t i, k
    cdef int kind
    memset(&b, 0, sizeof(b))
    memset(dims, 0, sizeof(dims))
    b.core = core
    b.entries = entries
    b.count = count
    b.lengths = lengths
    b.dims = dims
    b.table = &fuzz_labels
    b.check_alphabet = True
    b.pad = -5
    for i in range(FUZZ_THREADS):
        args[i].job = &job
        args[i].worker = fuzz_workers[i]
    for kind in range(2):
        for i in range(count):
            entries[i] = i
            lengths[i] = 0
        b.count = count
        run_batch(&job, args, measure_task if kind == 0 else items_task, &b, faults, num_threads)
        # keep those that can be of one batch: all of the dimension of the first
        k = 0
        b.dim = -1
        b.longest = 0
        for i in range(count):
            payload = ref_entry(data, core.sources.size, rows + i, &size)
            if payload != NULL:
                ref_decode(payload, size, &ref)
                if kind == 0 and ref.numeric and accepted(b"a measured entry", faults[i].code, True):
                    same(b"measured frames", lengths[i], ref.frames)
                elif kind == 1 and ref.one_alignment and accepted(b"measured items", faults[i].code,
                                                                  True):
                    same(b"measured items", lengths[i], ref.items)
            if faults[i].code != NO_FAULT or (payload == NULL and ref_undecided()):
                continue
            if kind == 0 and dims[i] >= 0 and b.dim < 0:
                b.dim = dims[i]
            if kind == 0 and dims[i] >= 0 and dims[i] != b.dim:
                continue
            entries[k] = i
            lengths[k] = lengths[i]
            b.longest = max(b.longest, lengths[i])
            k += 1
        b.count = k
        b.dim = max(b.dim, <int64_t>0)
        b.stride = b.longest * (b.dim if kind == 0 else 1)
        b.features = <float *>malloc(max(4 * b.stride * k, <int64_t>1))
        b.labels = <int32_t *>b.features
        expected = <int32_t *>malloc(4 * b.longest + 4)
        if b.features != NULL and expected != NULL:
            run_batch(&job, args, features_task if kind == 0 else labels_task, &b, faults,
                      num_threads)
            for i in range(k):
                payload = ref_entry(data, core.sources.size, rows + entries[i], &size)
                if payload != NULL:
                    ref_decode(payload, size, &ref)
                if kind == 0:
                    if accepted(b"an entry of a batch", faults[i].code,
                                payload != NULL and ref.numeric):
                        same_bytes(b"a row of features", b.features + i * b.stride, ref.values,
                                   <uint64_t>(4 * ref.frames * ref.dim))
                elif accepted(b"labels of a batch", faults[i].code, payload != NULL
                              and ref_labels(&ref, &fuzz_labeling, True, expected)):
                    same_bytes(b"a row of labels", b.labels + i * b.stride, expected,
                               <uint64_t>(4 * ref.items))
                    for size in range(<uint64_t>ref.items, <uint64_t>b.longest):
                        same(b"padding", b.labels[i * b.stride + <int64_t>size], b.pad)
        free(b.features)
        free(expected)


cdef void run_batch(ParallelJob *job, ThreadArg *args, Task task, BatchJob *b, Fault *faults,
                    int num_threads) noexcept nogil:
    memset(faults, 0, FUZZ_ENTRIES * sizeof(Fault))
    job.task = task
    job.arguments = b
    job.items = b.count
    job.next = 0
    job.faults = faults
    parallel_for(job, args, num_threads)


cdef void fuzz_archive(const uint8_t *data, uint64_t size, uint8_t parameter) noexcept:
    cdef Source s
    cdef Core core
    cdef ref_row rows[FUZZ_ROWS]
    cdef int64_t count = ref_rows(data, size, rows, FUZZ_ROWS), entry
    cdef uint8_t *copy
    cdef bint mapped = parameter % 8 != 0, indexed
    if count < 0 or count == FUZZ_ROWS:
        return
    copy = <uint8_t *>malloc(size)
    if copy == NULL:
        return
    memcpy(copy, data, size)
    memset(&core, 0, sizeof(core))
    try:
        if not mapped:
            os.ftruncate(fuzz_file, 0)
            os.pwrite(fuzz_file, <bytes>data[:size], 0)
        if fuzz_open(&s, copy, size, mapped):
            with nogil:
                leave_open(&s)
            core.sources = &s
            core.count = 1
            core.index.key = 12345
            with nogil:
                indexed = build_index(&core.index, &s, 1) == 0
            if indexed or failed_calls == 0:
                fuzz_rows(&s, rows, count, &core.index)
                count = min(count, <int64_t>FUZZ_ENTRIES)
                for entry in range(count):
                    fuzz_entry(&core, entry, data, rows + entry, parameter, parameter & 64)
                if failing_calls < 0 and parameter & 32:
                    fuzz_batch(&core, data, rows, count, FUZZ_THREADS if parameter % 32 == 1 else 1)
            release_index(&core.index)
        fuzz_close(&s)
    except BaseException as error:
        disagree(repr(error).encode())
    free(copy)


# ---- gzip members


cdef void fuzz_member(const uint8_t *member, uint64_t size, uint64_t declared,
                      uint8_t parameter) noexcept nogil:
    cdef Worker *w = fuzz_workers[0]
    cdef Payload p = Payload(member, size, size)
    cdef Fault f
    cdef bint strict = parameter & 1
    cdef const uint8_t *expected = ref_gunzip(member, size, declared, strict)
    if expected == NULL and ref_undecided():
        unpack(w, &p, declared, strict, WHOLE, &f)
        return
    if accepted(b"a gzip member", unpack(w, &p, declared, strict, WHOLE, &f), expected != NULL):
        same(b"inflated size", <int64_t>p.size, <int64_t>declared)
        same_bytes(b"inflated data", p.at, expected, declared)
    p = Payload(member, size, size)
    if expected != NULL and accepted(b"its head", unpack(w, &p, declared, strict, HEAD, &f), True):
        same_bytes(b"inflated head", p.at, expected, p.visible)
    p = Payload(member, size, min(size, 2 * <uint64_t>parameter))
    if expected != NULL and accepted(b"its beginning", unpack(w, &p, declared, strict, HEAD, &f),
                                     True):
        same_bytes(b"inflated beginning", p.at, expected, p.visible)


# ---- inputs


cdef int fuzz_core_input(const uint8_t *data, size_t size) noexcept:
    global failing_calls, failed_calls, failing_read
    cdef uint8_t *copy
    cdef uint32_t declared
    cdef int kind, i
    cdef uint8_t parameter
    if size < FUZZ_HEAD:
        return 0
    kind = data[0] % FUZZ_KINDS
    parameter = data[1]
    data += FUZZ_HEAD
    size -= FUZZ_HEAD
    failed_calls = 0
    for i in range(FUZZ_THREADS):
        fuzz_workers[i].ahead_source = NULL     # another source may have the address
    if parameter & 128:             # buffers of the exact size again
        for i in range(FUZZ_THREADS):
            free(fuzz_workers[i].raw)
            free(fuzz_workers[i].inflated)
            fuzz_workers[i].raw = fuzz_workers[i].inflated = NULL
            fuzz_workers[i].raw_room = fuzz_workers[i].inflated_room = 0
    if kind == FUZZ_ARCHIVE:
        fuzz_archive(data, size, parameter)
    elif kind == FUZZ_FAILING:
        failing_calls = parameter // 4
        failing_read = parameter % WAYS_TO_FAIL
        fuzz_archive(data, size, parameter & 0xF0 | ((parameter // 4) % 4 != 0))
        failing_calls = -1
    elif kind == FUZZ_PAYLOAD:
        copy = <uint8_t *>malloc(max(size, <size_t>1))
        memcpy(copy, data, size)
        fuzz_payload(copy, size, parameter, fuzz_workers[0])
        free(copy)
    elif size >= 4:
        memcpy(&declared, data, 4)
        copy = <uint8_t *>malloc(size - 4)
        memcpy(copy, data + 4, size - 4)
        with nogil:
            fuzz_member(copy, size - 4, declared, parameter)
        free(copy)
    return 0


cdef int fuzz_python_input(const uint8_t *data, size_t size) noexcept:
    try:
        fuzz_function(<bytes>data[:size])
    except BaseException as error:
        import traceback
        traceback.print_exc()
        disagree(type(error).__name__.encode())
    return 0


def fuzz_one(data: bytes) -> None:
    """Runs one input of the core; ends the process on a disagreement."""
    if fuzz_file < 0:
        prepare_fuzzing()
    fuzz_core_input(data, len(data))


def fuzz(arguments: list[str], function=None) -> int:
    """Runs libFuzzer on the core, or on archives that `function` reads; does not return in general."""
    global fuzz_whole_archives, fuzz_function
    cdef list encoded = [a.encode() for a in arguments]
    cdef int count = len(encoded), i
    cdef char **argv = <char **>calloc(count + 1, sizeof(char *))
    if not FUZZ_HAS_DRIVER:
        raise RuntimeError("this build is for replays: it was not linked with libFuzzer")
    for i in range(count):
        argv[i] = encoded[i]
    if fuzz_file < 0:
        prepare_fuzzing()
    fuzz_function = function
    fuzz_whole_archives = function is not None
    return LLVMFuzzerRunDriver(&count, &argv,
                               fuzz_core_input if function is None else fuzz_python_input)
