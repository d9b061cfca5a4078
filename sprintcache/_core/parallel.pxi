# Parallel loops: the items of a job, shared with threads of the pool (thread_pool.h).
# Needs: externs, faults, workers.

cdef enum:
    MAX_THREADS = 64


ctypedef int (*Task)(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil


cdef struct ParallelJob:
    Task task
    void *arguments
    int64_t items
    int64_t next                # the next item; taken by an atomic add
    Fault *faults               # one for each item


cdef struct ThreadArg:
    ParallelJob *job
    Worker *worker


cdef void run_items(void *args, int seat) noexcept nogil:
    cdef ThreadArg *arg = <ThreadArg *>args + seat
    cdef ParallelJob *job = arg.job
    cdef int64_t item
    while True:
        item = fetch_add(&job.next, 1)
        if item >= job.items:
            return
        job.task(job.arguments, item, arg.worker, &job.faults[item])


cdef void parallel_for(ParallelJob *job, ThreadArg *args, int num_threads) noexcept nogil:
    """Runs the task for all items in up to num_threads threads, this one included."""
    sc_pool_run(run_items, args, num_threads)
