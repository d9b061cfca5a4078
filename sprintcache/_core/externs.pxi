# What comes from our C headers and from the system.

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "kernels.h" nogil:
    const size_t SC_TIMES
    const int SC_F32, SC_BOOL, SC_C64, SC_C128
    int64_t sc_copy_frames(const uint8_t *source, uint8_t *to, int64_t count, uint32_t size,
                      size_t width, size_t head)
    const char *sc_kernel_name
    void sc_choose_kernels()
    int sc_use_kernel(const char *name)
    void sc_to_float(int element, const uint8_t *source, float *to, size_t count)
    const uint32_t ALLOPHONE_MASK "SC_ALLOPHONE_MASK"
    const int STATE_SHIFT "SC_STATE_SHIFT"
    ctypedef struct sc_labels:
        const int32_t *table
        uint32_t allophones
        uint32_t states
        const uint8_t *symbols
        const uint32_t *symbol_at
    ctypedef struct sc_used:
        uint32_t *stamps
        uint64_t room
        uint32_t stamp
        uint32_t count
    int32_t sc_label(const sc_labels *labels, sc_used *used, uint32_t id)
    const uint8_t *sc_label_runs(const uint8_t *at, const uint8_t *end, const sc_labels *labels,
                                 sc_used *used, int32_t *out, uint64_t *done, uint64_t items)
    void sc_pack(uint8_t *to, const uint8_t *rows, const uint8_t *times, int64_t count,
                 const uint32_t *size, size_t width)
    uint64_t sc_hash(const uint8_t *name, size_t size, uint64_t key)
    uint64_t sc_checksum(const uint8_t *data, size_t size, uint64_t key)

cdef extern from "inflate.h" nogil:
    const int SC_INFLATE_OK, SC_INFLATE_BAD, SC_INFLATE_LONG, SC_INFLATE_MEMORY
    const int SC_INFLATE_PYTHON, SC_INFLATE_PREFIX
    const char *SC_INFLATE_BACKEND
    int sc_inflate(void **state, const uint8_t *source, size_t size, uint8_t *to, size_t room,
                   size_t *used, size_t *made)
    void sc_inflate_free(void *state)
    int64_t sc_inflate_prefix(const uint8_t *source, size_t size, uint8_t *to, size_t room)
    uint32_t sc_crc32(const uint8_t *data, size_t size)

cdef extern from "datatypes.h" nogil:
    const int SC_SCALAR, SC_VECTOR, SC_TIMESTAMP, SC_STRING, SC_MATRIX, SC_ALIGNMENT
    const int SC_COEFFICIENTS, SC_FIR, SC_VECTORS, SC_VECTORS_AFTER, SC_AGGREGATE
    ctypedef struct sc_datatype:
        const char *name
        uint32_t name_size
        int layout
        int element
        uint32_t element_size
        uint32_t least
    const sc_datatype sc_datatypes[]
    const sc_datatype *sc_find_datatype(const uint8_t *name, size_t size)

cdef extern from "descriptors.h" nogil:
    ctypedef struct sc_descriptor:
        pass
    int sc_prepare_descriptors()
    int sc_open(int folder, const char *path, int flags)
    int sc_take(sc_descriptor *d)
    int sc_keep(sc_descriptor *d, int fd)
    void sc_drop(sc_descriptor *d, int fd)
    void sc_forget(sc_descriptor *d)

cdef extern from "thread_pool.h" nogil:
    void sc_pool_run(void (*work)(void *argument, int seat) noexcept nogil, void *argument,
                     int num_threads)

cdef extern from "system.h" nogil:
    void sc_start_writing(int fd, int64_t offset, int64_t size)
    int sc_reserve(int fd, int64_t offset, int64_t size)
    ctypedef int dev_t
    ctypedef int mode_t
    ctypedef int ino_t
    ctypedef int off_t
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    struct struct_stat "stat":
        dev_t st_dev
        ino_t st_ino
        mode_t st_mode
        off_t st_size
        timespec st_mtim
    bint is_regular "S_ISREG"(mode_t mode)
    const int AT_FDCWD, O_DIRECTORY, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE
    const int MAP_ANONYMOUS, MADV_WILLNEED, MADV_DONTNEED, MADV_HUGEPAGE, POSIX_FADV_WILLNEED
    void *MAP_FAILED
    int stat(const char *path, struct_stat *status)
    int fstat(int fd, struct_stat *status)
    int close(int fd)
    ssize_t pread(int fd, void *to, size_t size, off_t at)
    ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
    void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
    int munmap(void *at, size_t size)
    int madvise(void *at, size_t size, int advice)
    int posix_fadvise(int fd, off_t at, off_t size, int advice)
    void *memmem(const void *where, size_t size, const void *what, size_t what_size)
    int popcount "__builtin_popcount"(unsigned int bits)
    void prefetch "__builtin_prefetch"(const void *at)
    int64_t fetch_add "sc_fetch_add"(int64_t *counter, int64_t change)
    bint count_in "sc_count_in"(int64_t *users)
    bint count_out "sc_count_out"(int64_t *users)
    void *exchange "sc_exchange"(void **address, void *value)
    int mark_once "sc_mark_once"(int *mark)
    void unmark "sc_unmark"(int *mark)
    uint32_t load_bits "sc_load_bits"(const uint32_t *bits)
    void set_bits "sc_set_bits"(uint32_t *bits, uint32_t mask)
    void store_offset "sc_store_offset"(int64_t *offset, int64_t value)
    int64_t load_offset "sc_load_offset"(const int64_t *offset)
    bint is_local "sc_is_local"(int fd)
