"""Boundaries of states, phones and words in many alignments at once, without the GIL."""

cimport numpy as np
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

np.import_array()

cdef enum:
    STATES, PHONES, WORDS
    STATE_BITS = 4              # of an id: allophone << 4 | state
    # flags of an allophone
    INITIAL = 1
    FINAL = 2
    SILENCE = 4

TIERS = {"states": STATES, "phones": PHONES, "words": WORDS}
SHIFT = STATE_BITS
FLAGS = {"initial": INITIAL, "final": FINAL, "silence": SILENCE}


cdef int64_t scan_runs(const int32_t *ids, int64_t frames, bint states, int32_t *start,
                       int32_t *first) noexcept nogil:
    """Starts and first ids of the states, or of the phones; returns how many there are.

    Runs are short, so a branch at each frame would be mispredicted often: every frame is written,
    and the next one overwrites it unless it begins an interval.
    """
    cdef int64_t frame, count = 0
    cdef int32_t last = -1, id
    if states:
        for frame in range(frames):
            id = ids[frame]
            start[count] = <int32_t>frame
            first[count] = id
            count += id != last
            last = id
        return count
    for frame in range(frames):
        id = ids[frame]
        start[count] = <int32_t>frame
        first[count] = id
        count += (id >> STATE_BITS != last >> STATE_BITS) | (id < last)
        last = id
    return count


cdef int64_t join_words(const uint8_t *flags, int64_t frames, int64_t phones, int32_t *start,
                        int32_t *end, int32_t *first) noexcept nogil:
    """Words in place of phones; returns how many, or -1 - frame where the flags contradict."""
    cdef int64_t phone, count = 0
    cdef bint inside = False
    cdef uint8_t flag
    for phone in range(phones):
        flag = flags[first[phone] >> STATE_BITS]
        if flag & SILENCE:
            if inside:
                return -1 - start[phone]
            continue
        if not inside:
            start[count] = start[phone]
            first[count] = first[phone]
            inside = True
        elif flag & INITIAL:
            return -1 - start[phone]
        if flag & FINAL:
            end[count] = start[phone + 1] if phone + 1 < phones else <int32_t>frames
            count += 1
            inside = False
    return -1 - frames if inside else count


def find_intervals(np.ndarray ids, np.ndarray lengths, np.ndarray flags, int tier):
    """Intervals of a tier in a batch of alignments.

    Args:
        ids: (B, Tmax) int32, allophone << SHIFT | state of each frame.
        lengths: (B,) int64 frames.
        flags: (allophones,) uint8, FLAGS of each allophone.
        tier: one of TIERS.

    Returns:
        counts (B,) int64, or -1 - frame for a segment whose flags contradict each other there;
        start, end (N,) int32 frames and first (N,) int32 ids of the intervals of all segments.

    Raises:
        ValueError: if an array has another shape or dtype, or an id is out of range.
    """
    if ids.ndim != 2 or ids.dtype != np.int32 or not ids.flags.aligned:
        raise ValueError("ids must be (B, Tmax) int32")
    if ids.strides[1] != 4 and ids.shape[1] > 1:
        raise ValueError("ids must be contiguous in time")
    lengths = np.ascontiguousarray(lengths, np.int64)
    flags = np.ascontiguousarray(flags, np.uint8)
    cdef int64_t count = ids.shape[0], longest = ids.shape[1], item, num_intervals, done = 0
    if lengths.ndim != 1 or lengths.shape[0] != count or flags.ndim != 1:
        raise ValueError("lengths must be (B,), flags (allophones,)")
    if count and (lengths.min() < 0 or lengths.max() > longest):
        raise ValueError("a length is beyond the end of ids")
    cdef int64_t total = int(lengths.sum())
    cdef np.ndarray counts = np.empty(count, np.int64)
    cdef np.ndarray start = np.empty(total, np.int32)
    cdef np.ndarray end = np.empty(total, np.int32)
    cdef np.ndarray first = np.empty(total, np.int32)
    cdef const char *rows = <const char *>np.PyArray_DATA(ids)
    cdef int64_t stride = ids.strides[0], frames, i
    cdef int64_t *length = <int64_t *>np.PyArray_DATA(lengths)
    cdef int64_t *number = <int64_t *>np.PyArray_DATA(counts)
    cdef int32_t *starts = <int32_t *>np.PyArray_DATA(start)
    cdef int32_t *ends = <int32_t *>np.PyArray_DATA(end)
    cdef int32_t *firsts = <int32_t *>np.PyArray_DATA(first)
    cdef uint8_t *flag = <uint8_t *>np.PyArray_DATA(flags)
    cdef int32_t allophones = <int32_t>flags.shape[0]
    cdef const int32_t *row
    cdef bint unknown = False
    with nogil:
        for item in range(count):
            row = <const int32_t *>(rows + item * stride)
            frames = length[item]
            num_intervals = scan_runs(row, frames, tier == STATES, starts + done, firsts + done)
            for i in range(done, done + num_intervals):
                unknown |= firsts[i] >> STATE_BITS >= allophones or firsts[i] < 0
            if unknown:
                break
            if tier == WORDS:
                num_intervals = join_words(flag, frames, num_intervals, starts + done, ends + done, firsts + done)
            else:
                for i in range(done, done + num_intervals):
                    ends[i] = starts[i + 1] if i + 1 < done + num_intervals else <int32_t>frames
            number[item] = num_intervals
            done += max(num_intervals, <int64_t>0)
    if unknown:
        raise ValueError(f"an id is beyond the {allophones} allophones")
    return counts, start[:done].copy(), end[:done].copy(), first[:done].copy()
