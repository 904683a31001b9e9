/* Packs numbers as differences of their bits from others: see plane.h, masks.h and ../packing.py.
 */
#include "masks.h"

/* Stands for a difference that does not fit 16 bits. */
enum { ESCAPE = INT16_MIN };

/* With room for as many of each as there are numbers. */
struct differences {
    uint32_t *wide;
    int16_t *narrow;
    uint8_t *mask;
    int64_t wide_count, narrow_count;
};

BODY void pack_differences_from(const uint32_t *old, const uint32_t *new, int64_t size,
                                struct differences *to, int64_t i)
{
    for (; i < size; i += 8) {
        uint32_t bits = 0;
        for (int64_t lane = 0; lane < 8 && i + lane < size; lane++) {
            uint32_t difference = new[i + lane] - old[i + lane], some = difference != 0;
            uint32_t large = difference + INT16_MAX > 2 * INT16_MAX;
            bits |= some << lane;
            to->narrow[to->narrow_count] = large ? ESCAPE : (int16_t)difference;
            to->narrow_count += some;
            to->wide[to->wide_count] = difference;
            to->wide_count += large;
        }
        to->mask[i / 8] = (uint8_t)bits;
    }
}

BODY int unpack_differences_from(const uint32_t *old, const struct differences *from, uint32_t *new,
                                 int64_t size, int64_t i, int64_t narrow, int64_t wide)
{
    for (; i < size && narrow < from->narrow_count; i++) {
        uint32_t some = from->mask[i / 8] >> i % 8 & 1;
        int16_t small = from->narrow[narrow];
        uint32_t difference = (uint32_t)(int32_t)small & -some;
        if (difference == (uint32_t)ESCAPE) {
            difference = from->wide[wide++];
        }
        narrow += some;
        new[i] = old[i] + difference;
    }
    for (; i < size; i++) {
        new[i] = old[i];
    }
    return DONE;
}

BODY int differences_are_canonical(const struct differences *from, int64_t size)
{
    int64_t escapes = 0;
    uint32_t bad = 0;
    for (int64_t i = 0; i < from->narrow_count; i++) {
        escapes += from->narrow[i] == ESCAPE;
        bad |= from->narrow[i] == 0;
    }
    for (int64_t i = 0; i < from->wide_count; i++) {
        bad |= from->wide[i] + INT16_MAX <= 2 * INT16_MAX;
    }
    return !bad && escapes == from->wide_count && ones(from->mask, size) == from->narrow_count;
}

#define PACK_DIFFERENCES(way)                                                                      \
    void coterie_pack_differences_##way(const uint32_t *old, const uint32_t *new, int64_t size,    \
                                        struct differences *to)
#define UNPACK_DIFFERENCES(way)                                                                    \
    int coterie_unpack_differences_##way(const uint32_t *old, const struct differences *from,      \
                                         uint32_t *new, int64_t size)

EXPORTED PACK_DIFFERENCES(portable)
{
    to->wide_count = to->narrow_count = 0;
    pack_differences_from(old, new, size, to, 0);
}

EXPORTED UNPACK_DIFFERENCES(portable)
{
    if (!differences_are_canonical(from, size)) {
        return NOT_CANONICAL;
    }
    return unpack_differences_from(old, from, new, size, 0, 0, 0);
}

#if defined(__x86_64__)

EXPORTED AVX2 PACK_DIFFERENCES(avx2)
{
    int64_t i = 0;
    to->wide_count = to->narrow_count = 0;
    for (; i + 8 <= size; i += 8) {
        __m256i eight = _mm256_sub_epi32(LOADED(new + i), LOADED(old + i));
        __m256i low = _mm256_srai_epi32(_mm256_slli_epi32(eight, 16), 16);
        __m256i fits = _mm256_andnot_si256(_mm256_cmpeq_epi32(low, _mm256_set1_epi32(ESCAPE)),
                                           _mm256_cmpeq_epi32(low, eight));
        unsigned large = ~SIGNS(fits) & 255;
        unsigned bits = ~SIGNS(_mm256_cmpeq_epi32(eight, _mm256_setzero_si256())) & 255;
        to->mask[i / 8] = (uint8_t)bits;
        low = _mm256_blendv_epi8(_mm256_set1_epi32(ESCAPE), low, fits);
        low = SQUEEZED(low, bits);
        _mm_storeu_si128(
            (__m128i *)(to->narrow + to->narrow_count),
            _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
        to->narrow_count += __builtin_popcount(bits);
        if (large) {
            STORED(to->wide + to->wide_count, SQUEEZED(eight, large));
            to->wide_count += __builtin_popcount(large);
        }
    }
    pack_differences_from(old, new, size, to, i);
}

EXPORTED AVX2 UNPACK_DIFFERENCES(avx2)
{
    if (!differences_are_canonical(from, size)) {
        return NOT_CANONICAL;
    }
    int64_t i = 0, narrow = 0, wide = 0;
    for (; i + 8 <= size && narrow + 8 <= from->narrow_count; i += 8) {
        unsigned bits = from->mask[i / 8];
        __m256i low =
            _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(from->narrow + narrow)));
        __m256i eight = SPREAD(low, bits);
        narrow += __builtin_popcount(bits);
        unsigned large = SIGNS(_mm256_cmpeq_epi32(eight, _mm256_set1_epi32(ESCAPE)));
        STORED(new + i, _mm256_add_epi32(LOADED(old + i), eight));
        for (; large; large &= large - 1) {
            int64_t at = i + __builtin_ctz(large);
            new[at] = old[at] + from->wide[wide++];
        }
    }
    return unpack_differences_from(old, from, new, size, i, narrow, wide);
}

EXPORTED AVX512 PACK_DIFFERENCES(avx512)
{
    int64_t i = 0;
    const __m512i most = _mm512_set1_epi32(INT16_MAX), twice = _mm512_set1_epi32(2 * INT16_MAX);
    to->wide_count = to->narrow_count = 0;
    for (; i + 16 <= size; i += 16) {
        __m512i sixteen =
            _mm512_sub_epi32(_mm512_loadu_si512(new + i), _mm512_loadu_si512(old + i));
        __mmask16 bits = _mm512_test_epi32_mask(sixteen, sixteen);
        __mmask16 large = _mm512_cmpgt_epu32_mask(_mm512_add_epi32(sixteen, most), twice);
        memcpy(to->mask + i / 8, &bits, sizeof bits);
        __m512i low = _mm512_mask_mov_epi32(sixteen, large, _mm512_set1_epi32(ESCAPE));
        _mm256_storeu_si256((__m256i *)(to->narrow + to->narrow_count),
                            _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(bits, low)));
        to->narrow_count += __builtin_popcount(bits);
        if (large) {
            _mm512_storeu_si512(to->wide + to->wide_count,
                                _mm512_maskz_compress_epi32(large, sixteen));
            to->wide_count += __builtin_popcount(large);
        }
    }
    pack_differences_from(old, new, size, to, i);
}

EXPORTED AVX512 UNPACK_DIFFERENCES(avx512)
{
    if (!differences_are_canonical(from, size)) {
        return NOT_CANONICAL;
    }
    int64_t i = 0, narrow = 0, wide = 0;
    for (; i + 16 <= size; i += 16) {
        __mmask16 bits = sixteen_bits(from->mask + i / 8);
        int some = __builtin_popcount(bits);
        __mmask16 first = (__mmask16)((1u << some) - 1);
        __m512i low = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(first, from->narrow + narrow));
        __m512i sixteen = _mm512_maskz_expand_epi32(bits, low);
        narrow += some;
        __mmask16 large = _mm512_cmpeq_epi32_mask(sixteen, _mm512_set1_epi32(ESCAPE));
        if (large) {
            sixteen = _mm512_mask_expandloadu_epi32(sixteen, large, from->wide + wide);
            wide += __builtin_popcount(large);
        }
        _mm512_storeu_si512(new + i, _mm512_add_epi32(_mm512_loadu_si512(old + i), sixteen));
    }
    return unpack_differences_from(old, from, new, size, i, narrow, wide);
}

#endif
