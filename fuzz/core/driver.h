/* The call of libFuzzer; a build for replays has none. */
#ifndef SPRINTCACHE_FUZZ_DRIVER_H
#define SPRINTCACHE_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int (*fuzz_callback)(const uint8_t *data, size_t size);

#ifdef SPRINTCACHE_LIBFUZZER
int LLVMFuzzerRunDriver(int *argc, char ***argv, fuzz_callback callback);
extern int fuzz_whole_archives; /* inputs are archives, without kind and parameter */
#define FUZZ_HAS_DRIVER 1
#else
static int fuzz_whole_archives;
static inline int LLVMFuzzerRunDriver(int *argc, char ***argv, fuzz_callback callback) {
    (void)argc, (void)argv, (void)callback;
    return -1;
}
#define FUZZ_HAS_DRIVER 0
#endif

#endif
