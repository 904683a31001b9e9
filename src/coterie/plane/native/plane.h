/* Kernels of the exchange between workers and servers. What each computes, and of what, is said in
 * ../kernels.py; ../numpy_kernels.py computes the same, bit for bit.
 *
 * A kernel is a pure function of its arguments. It calls nothing back, allocates nothing, and reads
 * and writes only the arrays that it is given. It checks the rows that it is asked for against the
 * size of the table; the sizes of arrays are the caller's to check.
 *
 * KERNEL makes three functions of one body: for any processor, for AVX2 and for AVX-512. All give
 * the same bits, because each element is computed by itself, in the same order of operations, and
 * the library is built without contraction of a product and a sum into one operation
 * (-ffp-contract=off).
 */
#ifndef COTERIE_PLANE_H
#define COTERIE_PLANE_H

#include <stdint.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#define EXPORTED __attribute__((visibility("default")))

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define AVX512                                                                                     \
    __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512vl,avx512dq")))
#define KERNEL(type, name, parameters, arguments)                                                  \
    EXPORTED type coterie_##name##_portable parameters                                             \
    {                                                                                              \
        return name arguments;                                                                     \
    }                                                                                              \
    EXPORTED AVX2 type coterie_##name##_avx2 parameters                                            \
    {                                                                                              \
        return name arguments;                                                                     \
    }                                                                                              \
    EXPORTED AVX512 type coterie_##name##_avx512 parameters                                        \
    {                                                                                              \
        return name arguments;                                                                     \
    }
#else
#define KERNEL(type, name, parameters, arguments)                                                  \
    EXPORTED type coterie_##name##_portable parameters                                             \
    {                                                                                              \
        return name arguments;                                                                     \
    }
#endif

/* Floats of a block whose running sums stay in a processor's first cache. */
enum { BLOCK = 4096 };

enum { DONE = 0, OUT_OF_BOUNDS = -1, NOT_CANONICAL = -2 };

/* Whether every row is one of a table's. */
BODY int within(const int32_t *rows, int64_t count, int64_t table)
{
    int bad = 0;
    for (int64_t i = 0; i < count; i++) {
        bad |= rows[i] < 0 || rows[i] >= table;
    }
    return !bad;
}

#endif
