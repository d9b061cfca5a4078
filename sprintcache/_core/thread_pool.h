/* A pool of threads that share the work of a call with the thread that calls.
 *
 * A thread that is created for a call often starts milliseconds late, on the processor of its
 * creator; one that is woken starts at once. So the threads stay, asleep, for the next call.
 *
 * States of a thread: *asleep*, *in a task*, *ended*. Tasks lie on the stack of their callers and
 * are guarded by the lock of the pool. A caller opens a task with a number of seats, works on it
 * itself, withdraws the seats that no thread has taken, and waits for the threads that have taken
 * one; so it never waits for a thread that has not begun. Several callers may have tasks at once.
 * The threads block all signals, know nothing of Python and never fork.
 *
 * fork: sleeping threads are ended and joined before it, and created again when they are needed.
 * If one is in a task of another thread, they stay. The child begins with an empty pool. At exit
 * they are ended as well. */
#ifndef SPRINTCACHE_THREAD_POOL_H
#define SPRINTCACHE_THREAD_POOL_H

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define SC_POOL_THREADS 63

typedef void (*sc_pool_work)(void *argument, int seat); /* seat 0 is that of the caller */

typedef struct sc_pool_task {
    sc_pool_work work;
    void *argument;
    int next_seat, num_seats; /* next_seat < num_seats: the task is in the list */
    int num_running;
    struct sc_pool_task *next;
} sc_pool_task;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened, left; /* a task was opened, a thread left one */
    pthread_t threads[SC_POOL_THREADS];
    int num_threads, num_in_tasks;
    int is_ending; /* threads end; callers work alone */
    sc_pool_task *tasks;
} sc_pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
             .opened = PTHREAD_COND_INITIALIZER,
             .left = PTHREAD_COND_INITIALIZER};

static void *sc_pool_thread(void *unused) {
    (void)unused;
    pthread_mutex_lock(&sc_pool.lock);
    while (!sc_pool.is_ending) {
        sc_pool_task *task = sc_pool.tasks;
        if (task == NULL) {
            pthread_cond_wait(&sc_pool.opened, &sc_pool.lock);
            continue;
        }
        int seat = task->next_seat++;
        if (task->next_seat == task->num_seats) sc_pool.tasks = task->next;
        task->num_running++;
        sc_pool.num_in_tasks++;
        pthread_mutex_unlock(&sc_pool.lock);
        task->work(task->argument, seat);
        pthread_mutex_lock(&sc_pool.lock);
        sc_pool.num_in_tasks--;
        if (--task->num_running == 0) pthread_cond_broadcast(&sc_pool.left);
    }
    pthread_mutex_unlock(&sc_pool.lock);
    return NULL;
}

/* Ends the threads if none is in a task; with the lock, which is held again at the end. */
static void sc_pool_end(void) {
    if (sc_pool.num_in_tasks > 0 || sc_pool.is_ending) return;
    sc_pool.is_ending = 1;
    pthread_cond_broadcast(&sc_pool.opened);
    pthread_mutex_unlock(&sc_pool.lock);
    for (int i = 0; i < sc_pool.num_threads; i++) pthread_join(sc_pool.threads[i], NULL);
    pthread_mutex_lock(&sc_pool.lock);
    sc_pool.num_threads = 0;
    sc_pool.is_ending = 0;
}

static void sc_pool_before_fork(void) {
    pthread_mutex_lock(&sc_pool.lock);
    sc_pool_end();
}

static void sc_pool_after_fork(void) { pthread_mutex_unlock(&sc_pool.lock); }

static void sc_pool_in_child(void) {
    pthread_mutex_init(&sc_pool.lock, NULL);
    pthread_cond_init(&sc_pool.opened, NULL);
    pthread_cond_init(&sc_pool.left, NULL);
    sc_pool.num_threads = sc_pool.num_in_tasks = sc_pool.is_ending = 0;
    sc_pool.tasks = NULL;
}

static void sc_pool_at_exit(void) {
    pthread_mutex_lock(&sc_pool.lock);
    sc_pool_end();
    pthread_mutex_unlock(&sc_pool.lock);
}

static void sc_pool_register(void) {
    if (pthread_atfork(sc_pool_before_fork, sc_pool_after_fork, sc_pool_in_child) != 0 ||
        atexit(sc_pool_at_exit) != 0)
        sc_pool.is_ending = 1; /* without memory for these, callers work alone */
}

/* Creates threads, with the lock, until as many are free as are wanted or no more can be had. */
static void sc_pool_grow(int num_wanted) {
    sigset_t all, before;
    int num_missing = num_wanted - (sc_pool.num_threads - sc_pool.num_in_tasks);
    if (num_missing <= 0) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; num_missing > 0 && sc_pool.num_threads < SC_POOL_THREADS; num_missing--) {
        pthread_t *thread = &sc_pool.threads[sc_pool.num_threads];
        if (pthread_create(thread, NULL, sc_pool_thread, NULL) != 0) break;
        sc_pool.num_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Calls work(argument, seat) with seat 0 here, and with further seats in at most num_threads - 1
 * threads of the pool; returns when all calls have returned. The work must not depend on how many
 * there are. */
static void sc_pool_run(sc_pool_work work, void *argument, int num_threads) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (num_threads > SC_POOL_THREADS + 1) num_threads = SC_POOL_THREADS + 1;
    sc_pool_task task = {work, argument, 1, num_threads, 0, NULL};
    if (num_threads < 2) {
        work(argument, 0);
        return;
    }
    pthread_once(&once, sc_pool_register);
    pthread_mutex_lock(&sc_pool.lock);
    int is_open = !sc_pool.is_ending;
    if (is_open) {
        sc_pool_grow(num_threads - 1);
        task.next = sc_pool.tasks;
        sc_pool.tasks = &task;
        for (int i = 1; i < num_threads; i++) pthread_cond_signal(&sc_pool.opened);
    }
    pthread_mutex_unlock(&sc_pool.lock);
    work(argument, 0);
    if (!is_open) return;
    pthread_mutex_lock(&sc_pool.lock);
    for (sc_pool_task **link = &sc_pool.tasks; *link != NULL; link = &(*link)->next)
        if (*link == &task) {
            *link = task.next;
            break;
        }
    while (task.num_running) pthread_cond_wait(&sc_pool.left, &sc_pool.lock);
    pthread_mutex_unlock(&sc_pool.lock);
}

#endif
