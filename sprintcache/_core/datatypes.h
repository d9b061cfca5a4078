/* The datatypes of Flow caches: archive format, section 6.3 (RASR's Flow, Speech and Signal). */
#ifndef SPRINTCACHE_DATATYPES_H
#define SPRINTCACHE_DATATYPES_H

#include "kernels.h"

enum sc_layout {
    SC_SCALAR,       /* element, times */
    SC_VECTOR,       /* u32 size, elements, times */
    SC_TIMESTAMP,    /* times */
    SC_STRING,       /* u32 size, bytes, times */
    SC_MATRIX,       /* u32 rows, u32 columns, u32 rows, rows x (u32 columns, elements), times */
    SC_ALIGNMENT,    /* section 7, times */
    SC_COEFFICIENTS, /* f32 gain, u32 size, f32 elements, times */
    SC_FIR,          /* u32 size, size x (f64 gain, f64 omega), no times */
    SC_VECTORS,      /* u32 size, complete vector-f32 packets, times */
    SC_VECTORS_AFTER,/* times, u32 size, complete vector-f32 packets */
    SC_AGGREGATE     /* bool, times, then packets of one datatype or of several */
};

typedef struct {
    const char *name;
    uint32_t name_size;
    int layout;
    int element;
    uint32_t element_size;
    uint32_t least; /* bytes of the smallest packet */
} sc_datatype;

#define SC_TYPE(NAME, LAYOUT, ELEMENT, SIZE, LEAST) \
    { NAME, sizeof(NAME) - 1, LAYOUT, ELEMENT, SIZE, LEAST }

static const sc_datatype sc_datatypes[] = {
    SC_TYPE("vector-f32", SC_VECTOR, SC_F32, 4, 20),
    SC_TYPE("flow-alignment", SC_ALIGNMENT, SC_U32, 4, 28),
    SC_TYPE("f32", SC_SCALAR, SC_F32, 4, 20),
    SC_TYPE("f64", SC_SCALAR, SC_F64, 8, 24),
    SC_TYPE("vector-f64", SC_VECTOR, SC_F64, 8, 20),
    SC_TYPE("vector-s16", SC_VECTOR, SC_S16, 2, 20),
    SC_TYPE("vector-s8", SC_VECTOR, SC_S8, 1, 20),
    SC_TYPE("vector-u8", SC_VECTOR, SC_U8, 1, 20),
    SC_TYPE("vector-u16", SC_VECTOR, SC_U16, 2, 20),
    SC_TYPE("vector-u32", SC_VECTOR, SC_U32, 4, 20),
    SC_TYPE("vector-bool", SC_VECTOR, SC_BOOL, 1, 20),
    SC_TYPE("vector-complex-f32", SC_VECTOR, SC_C64, 8, 20),
    SC_TYPE("vector-complex-f64", SC_VECTOR, SC_C128, 16, 20),
    SC_TYPE("timestamp", SC_TIMESTAMP, SC_F32, 4, 16),
    SC_TYPE("linear-filter-parameter", SC_TIMESTAMP, SC_F32, 4, 16),
    SC_TYPE("string", SC_STRING, SC_U8, 1, 20),
    SC_TYPE("matrix-f32", SC_MATRIX, SC_F32, 4, 28),
    SC_TYPE("matrix-f64", SC_MATRIX, SC_F64, 8, 28),
    SC_TYPE("vector-vector-f32", SC_VECTORS, SC_F32, 4, 20),
    SC_TYPE("aggregate-vector-f32", SC_VECTORS_AFTER, SC_F32, 4, 20),
    SC_TYPE("aggregate", SC_AGGREGATE, SC_U8, 1, 21),
    SC_TYPE("autoregressive-coefficients", SC_COEFFICIENTS, SC_F32, 4, 24),
    SC_TYPE("windowing-fir-filter-parameter", SC_FIR, SC_F64, 8, 4),
};

static inline const sc_datatype *sc_find_datatype(const uint8_t *name, size_t size) {
    for (size_t i = 0; i < sizeof sc_datatypes / sizeof *sc_datatypes; i++)
        if (sc_datatypes[i].name_size == size && memcmp(sc_datatypes[i].name, name, size) == 0)
            return &sc_datatypes[i];
    return NULL;
}

#endif
