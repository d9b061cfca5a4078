/* libFuzzer's mutator of inputs, LLVMFuzzerCustomMutator. Mutations that keep the structure: payloads by the grammar of packets, entries with sizes and table
 * that agree, gzip members with right checksums. Plain byte mutations are libFuzzer's. */
#ifndef SPRINTCACHE_FUZZ_MUTATOR_H
#define SPRINTCACHE_FUZZ_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

enum fuzz_kind { FUZZ_PAYLOAD, FUZZ_ARCHIVE, FUZZ_MEMBER, FUZZ_FAILING, FUZZ_KINDS };

#define FUZZ_HEAD 2 /* bytes before the body of an input: its kind, a parameter */


#endif
