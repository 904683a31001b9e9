/* Packs numbers without their zeros: see plane.h, masks.h and ../packing.py. */
#include "masks.h"

/* From number `i` on, with `count` kept before; returns how many are kept in all. */
BODY int64_t pack_zeros_from(const uint32_t *numbers, int64_t size, uint32_t *kept, uint8_t *mask,
                             int64_t i, int64_t count)
{
    for (; i < size; i += 8) {
        uint32_t bits = 0;
        for (int64_t lane = 0; lane < 8 && i + lane < size; lane++) {
            uint32_t number = numbers[i + lane], some = number != 0;
            bits |= some << lane;
            kept[count] = number;
            count += some;
        }
        mask[i / 8] = (uint8_t)bits;
    }
    return count;
}

/* From number `i` on, with `used` spent before. Without a branch that depends on the mask, which a
 * processor would guess wrong every second time. */
BODY int unpack_zeros_from(const uint32_t *kept, int64_t count, const uint8_t *mask,
                           uint32_t *numbers, int64_t size, int64_t i, int64_t used)
{
    for (; i < size && used < count; i++) {
        uint32_t some = mask[i / 8] >> i % 8 & 1;
        numbers[i] = kept[used] & -some;
        used += some;
    }
    for (; i < size; i++) {
        numbers[i] = 0;
    }
    return DONE;
}

/* Whether a mask and its numbers are what packing makes. */
BODY int zeros_are_canonical(const uint32_t *kept, int64_t count, const uint8_t *mask, int64_t size)
{
    uint32_t zeros = 0;
    for (int64_t i = 0; i < count; i++) {
        zeros |= kept[i] == 0;
    }
    return !zeros && ones(mask, size) == count;
}

#define PACK_ZEROS(way)                                                                            \
    int64_t coterie_pack_zeros_##way(const uint32_t *numbers, int64_t size, uint32_t *kept,        \
                                     uint8_t *mask)
#define UNPACK_ZEROS(way)                                                                          \
    int coterie_unpack_zeros_##way(const uint32_t *kept, int64_t count, const uint8_t *mask,       \
                                   uint32_t *numbers, int64_t size)

EXPORTED PACK_ZEROS(portable)
{
    return pack_zeros_from(numbers, size, kept, mask, 0, 0);
}

EXPORTED UNPACK_ZEROS(portable)
{
    if (!zeros_are_canonical(kept, count, mask, size)) {
        return NOT_CANONICAL;
    }
    return unpack_zeros_from(kept, count, mask, numbers, size, 0, 0);
}

#if defined(__x86_64__)

EXPORTED AVX2 PACK_ZEROS(avx2)
{
    int64_t count = 0, i = 0;
    for (; i + 8 <= size; i += 8) {
        __m256i eight = LOADED(numbers + i);
        unsigned bits = ~SIGNS(_mm256_cmpeq_epi32(eight, _mm256_setzero_si256())) & 255;
        mask[i / 8] = (uint8_t)bits;
        STORED(kept + count, SQUEEZED(eight, bits));
        count += __builtin_popcount(bits);
    }
    return pack_zeros_from(numbers, size, kept, mask, i, count);
}

EXPORTED AVX2 UNPACK_ZEROS(avx2)
{
    if (!zeros_are_canonical(kept, count, mask, size)) {
        return NOT_CANONICAL;
    }
    int64_t used = 0, i = 0;
    for (; i + 8 <= size && used + 8 <= count; i += 8) {
        unsigned bits = mask[i / 8];
        STORED(numbers + i, SPREAD(LOADED(kept + used), bits));
        used += __builtin_popcount(bits);
    }
    return unpack_zeros_from(kept, count, mask, numbers, size, i, used);
}

EXPORTED AVX512 PACK_ZEROS(avx512)
{
    int64_t count = 0, i = 0;
    for (; i + 16 <= size; i += 16) {
        __m512i sixteen = _mm512_loadu_si512(numbers + i);
        __mmask16 bits = _mm512_test_epi32_mask(sixteen, sixteen);
        memcpy(mask + i / 8, &bits, sizeof bits);
        _mm512_storeu_si512(kept + count, _mm512_maskz_compress_epi32(bits, sixteen));
        count += __builtin_popcount(bits);
    }
    return pack_zeros_from(numbers, size, kept, mask, i, count);
}

EXPORTED AVX512 UNPACK_ZEROS(avx512)
{
    if (!zeros_are_canonical(kept, count, mask, size)) {
        return NOT_CANONICAL;
    }
    int64_t used = 0, i = 0;
    for (; i + 16 <= size; i += 16) {
        __mmask16 bits = sixteen_bits(mask + i / 8);
        _mm512_storeu_si512(numbers + i, _mm512_maskz_expandloadu_epi32(bits, kept + used));
        used += __builtin_popcount(bits);
    }
    return unpack_zeros_from(kept, count, mask, numbers, size, i, used);
}

#endif
