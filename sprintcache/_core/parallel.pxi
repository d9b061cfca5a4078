# Parallel loops: the items of a job, shared between threads that end with the call.
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


cdef void *run_items(void *argument) noexcept nogil:
    cdef ThreadArg *arg = <ThreadArg *>argument
    cdef ParallelJob *job = arg.job
    cdef int64_t item
    while True:
        item = fetch_add(&job.next, 1)
        if item >= job.items:
            return NULL
        job.task(job.arguments, item, arg.worker, &job.faults[item])


cdef void parallel_for(ParallelJob *job, ThreadArg *args, int num_threads) noexcept nogil:
    """Runs the task for all items in up to num_threads threads, this one included.

    Threads end with the call, so a fork loses none.
    """
    cdef pthread_t threads[MAX_THREADS]
    cdef int i, started = 0
    for i in range(1, num_threads):
        if pthread_create(&threads[started], NULL, run_items, &args[i]) != 0:
            break
        started += 1
    run_items(&args[0])
    for i in range(started):
        pthread_join(threads[i], NULL)
