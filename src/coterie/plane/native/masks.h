/* Masks of packed numbers, and vectors whose numbers a mask chooses.
 *
 * A mask has a bit for each number, from the lowest bit of its first byte; bits behind the last
 * number are 0. The vector code does eight or sixteen numbers at once, and leaves the rest to the
 * plain code. It may store a whole vector where fewer numbers were kept: no more are kept than were
 * read, so the vector ends within the room for all of them.
 */
#ifndef COTERIE_MASKS_H
#define COTERIE_MASKS_H

#include "plane.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* How many bits of a mask are set; NOT_CANONICAL if one is behind the last number. */
BODY int64_t ones(const uint8_t *mask, int64_t size)
{
    int64_t bytes = (size + 7) / 8, count = 0, i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t bits;
        memcpy(&bits, mask + i, sizeof bits);
        count += __builtin_popcountll(bits);
    }
    for (; i < bytes; i++) {
        count += __builtin_popcount(mask[i]);
    }
    return size % 8 && mask[bytes - 1] >> size % 8 ? NOT_CANONICAL : count;
}

#if defined(__x86_64__)

#define LANES UINT64_C(0x0706050403020100)

/* All ones in the bytes whose bits are set. */
#define BYTES_OF(bits) (_pdep_u64(bits, UINT64_C(0x0101010101010101)) * 255)

/* The numbers whose bits are set, first. */
#define SQUEEZED(numbers, bits)                                                                    \
    _mm256_permutevar8x32_epi32(numbers, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(                   \
                                             (int64_t)_pext_u64(LANES, BYTES_OF(bits)))))

/* The first numbers at the places whose bits are set, 0 elsewhere. */
#define SPREAD(numbers, bits)                                                                      \
    _mm256_and_si256(                                                                              \
        _mm256_permutevar8x32_epi32(numbers, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(               \
                                                 (int64_t)_pdep_u64(LANES, BYTES_OF(bits))))),     \
        _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)BYTES_OF(bits))))

#define LOADED(array) _mm256_loadu_si256((const __m256i *)(array))
#define STORED(array, vector) _mm256_storeu_si256((__m256i *)(array), vector)
#define SIGNS(vector) (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(vector))

/* A mask's two bytes; a processor of this kind has the lowest first, too. */
BODY __mmask16 sixteen_bits(const uint8_t *mask)
{
    uint16_t bits;
    memcpy(&bits, mask, sizeof bits);
    return bits;
}

#endif

#endif
