/* Drives every kernel by every way with random shapes, under sanitizers: each array has just the
 * memory that the kernel may use, and all ways must give the same bytes.
 *
 *     harness ROUNDS SEED
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t *wide;
    int16_t *narrow;
    uint8_t *mask;
    int64_t wide_count, narrow_count;
} differences;

#define WAY(way)                                                                                   \
    void coterie_sum_dense_##way(const float *const *, const float *, int64_t, int, float *,       \
                                 int64_t);                                                         \
    void coterie_dense_sgd_##way(float *, const float *, float, int64_t);                          \
    void coterie_dense_adagrad_##way(float *, float *, const float *, float, float, int64_t);      \
    int64_t coterie_unique_##way(const int32_t *, int64_t, uint32_t *, int32_t *, int32_t *);      \
    int coterie_sum_rows_##way(const float *const *, const int32_t *const *, const int64_t *,      \
                               const float *, int64_t, int, int64_t, float *, int64_t);            \
    int coterie_sum_by_row_##way(const float *, const int32_t *, int64_t, int64_t, double *,       \
                                 float *, int64_t);                                                \
    int coterie_row_sgd_##way(float *, int64_t, const int32_t *, const float *, int64_t, int64_t,  \
                              float);                                                              \
    int coterie_row_adagrad_##way(float *, float *, int64_t, const int32_t *, const float *,       \
                                  int64_t, int64_t, float, float, float);                          \
    int coterie_rowwise_adagrad_##way(float *, float *, int64_t, const int32_t *, const float *,   \
                                      int64_t, int64_t, float, float, float);                      \
    int64_t coterie_pack_zeros_##way(const uint32_t *, int64_t, uint32_t *, uint8_t *);            \
    int coterie_unpack_zeros_##way(const uint32_t *, int64_t, const uint8_t *, uint32_t *,         \
                                   int64_t);                                                       \
    void coterie_pack_differences_##way(const uint32_t *, const uint32_t *, int64_t,               \
                                        differences *);                                            \
    int coterie_unpack_differences_##way(const uint32_t *, const differences *, uint32_t *,        \
                                         int64_t);
WAY(portable)
WAY(avx2)
WAY(avx512)
int coterie_widest(void);

static uint64_t state;

static uint64_t draw(void)
{
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = state;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static int64_t below(int64_t most)
{
    return (int64_t)(draw() % (uint64_t)most);
}

/* Just so many bytes: one more is found by the sanitizer. */
static void *room(int64_t bytes)
{
    void *made = malloc((size_t)bytes);
    if (bytes && !made) {
        abort();
    }
    return made;
}

static void *copy(const void *from, int64_t bytes)
{
    void *made = room(bytes);
    if (bytes) {
        memcpy(made, from, (size_t)bytes);
    }
    return made;
}

static uint32_t *numbers(int64_t count)
{
    uint32_t *made = room(4 * count);
    for (int64_t i = 0; i < count; i++) {
        float value = (float)(int64_t)draw() / 0x1p60f;
        memcpy(made + i, &value, 4);
        if (below(3) == 0) {
            made[i] = 0;
        }
    }
    return made;
}

/* Bytes of all results of a way, folded into one number. */
static uint64_t seen;

static void see(const void *of, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i++) {
        seen = (seen ^ ((const uint8_t *)of)[i]) * 1099511628211u;
    }
}

static void check(int good, const char *what)
{
    if (good) {
        return;
    }
    fprintf(stderr, "%s\n", what);
    exit(1);
}

#define DRIVER(way)                                                                                \
    static void drive_##way(void)                                                                  \
    {                                                                                              \
        int64_t size = below(4) ? below(70) : below(9000), rows = 1 + below(40),                   \
                dim = 1 + below(40);                                                               \
        int64_t count = 1 + below(4), entries = below(90), equal = below(2);                       \
        float *pushes[4], *row_pushes[4], factors[4];                                              \
        int32_t *places[4];                                                                        \
        int64_t counts[4];                                                                         \
        for (int64_t i = 0; i < count; i++) {                                                      \
            pushes[i] = (float *)numbers(size);                                                    \
            counts[i] = below(rows + 1);                                                           \
            places[i] = room(4 * counts[i]);                                                       \
            int64_t first = below(rows - counts[i] + 1);                                           \
            for (int64_t k = 0; k < counts[i]; k++)                                                \
                places[i][k] = (int32_t)(first + k);                                               \
            row_pushes[i] = (float *)numbers(counts[i] * dim);                                     \
            factors[i] = 1.0f / (float)(1 + below(9));                                             \
        }                                                                                          \
        float *sum = room(4 * size), *sums = copy(pushes[0], 4 * size);                            \
        coterie_sum_dense_##way((const float *const *)pushes, factors, count, (int)equal, sum,     \
                                size);                                                             \
        see(sum, 4 * size);                                                                        \
        coterie_dense_sgd_##way(sum, pushes[0], 0.1f, size);                                       \
        for (int64_t i = 0; i < size; i++)                                                         \
            sums[i] *= sums[i];                                                                    \
        coterie_dense_adagrad_##way(sum, sums, pushes[0], 0.1f, 1e-6f, size);                      \
        see(sum, 4 * size), see(sums, 4 * size);                                                   \
        float *table = room(4 * rows * dim), *moments = (float *)numbers(rows * dim);              \
        check(coterie_sum_rows_##way((const float *const *)row_pushes,                             \
                                     (const int32_t *const *)places, counts, factors, count,       \
                                     (int)equal, dim, table, rows) == 0,                           \
              "sum_rows");                                                                         \
        see(table, 4 * rows * dim);                                                                \
        for (int64_t i = 0; i < rows * dim; i++)                                                   \
            moments[i] *= moments[i];                                                              \
        check(coterie_row_sgd_##way(table, rows, places[0], row_pushes[0], counts[0], dim,         \
                                    0.1f) == 0,                                                    \
              "row_sgd");                                                                          \
        check(coterie_row_adagrad_##way(table, moments, rows, places[0], row_pushes[0], counts[0], \
                                        dim, 0.1f, 0.1f, 1e-6f) == 0,                              \
              "row_adagrad");                                                                      \
        float *one = room(4 * rows);                                                               \
        memset(one, 0, (size_t)(4 * rows));                                                        \
        check(coterie_rowwise_adagrad_##way(table, one, rows, places[0], row_pushes[0], counts[0], \
                                            dim, 0.1f, 0.1f, 1e-6f) == 0,                          \
              "rowwise_adagrad");                                                                  \
        see(table, 4 * rows * dim), see(moments, 4 * rows * dim), see(one, 4 * rows);              \
        int32_t *ids = room(4 * entries), *distinct = room(4 * entries),                           \
                *inverse = room(4 * entries);                                                      \
        uint32_t *scratch = room(16 * entries);                                                    \
        uint64_t most = UINT64_C(1) << below(32);                                                  \
        for (int64_t i = 0; i < entries; i++)                                                      \
            ids[i] = (int32_t)(draw() % most & INT32_MAX);                                         \
        int64_t found = coterie_unique_##way(ids, entries, scratch, distinct, inverse);            \
        check(found >= 0 && found <= entries, "unique");                                           \
        see(distinct, 4 * found), see(inverse, 4 * entries);                                       \
        float *gradient = (float *)numbers(entries * dim), *summed = room(4 * found * dim);        \
        double *wide_sums = room(8 * found * dim);                                                 \
        check(coterie_sum_by_row_##way(gradient, inverse, entries, dim, wide_sums, summed,         \
                                       found) == 0,                                                \
              "sum_by_row");                                                                       \
        see(summed, 4 * found * dim);                                                              \
        if (entries && found) {                                                                    \
            inverse[below(entries)] = below(2) ? (int32_t)found : -1;                              \
            check(coterie_sum_by_row_##way(gradient, inverse, entries, dim, wide_sums, summed,     \
                                           found) < 0,                                             \
                  "a row out of bounds");                                                          \
        }                                                                                          \
        uint32_t *kept = room(4 * size), *back = room(4 * size), *old = numbers(size);             \
        uint8_t *mask = room((size + 7) / 8);                                                      \
        int64_t left = coterie_pack_zeros_##way((uint32_t *)pushes[0], size, kept, mask);          \
        uint32_t *exact = copy(kept, 4 * left);                                                    \
        check(coterie_unpack_zeros_##way(exact, left, mask, back, size) == 0 &&                    \
                  (!size || !memcmp(back, pushes[0], (size_t)(4 * size))),                         \
              "zeros");                                                                            \
        see(exact, 4 * left), see(mask, (size + 7) / 8);                                           \
        if (size) {                                                                                \
            mask[below((size + 7) / 8)] ^= (uint8_t)(1 << below(8));                               \
            check(coterie_unpack_zeros_##way(exact, left, mask, back, size) != 0, "a wrong mask"); \
        }                                                                                          \
        uint32_t *new = copy(old, 4 * size);                                                       \
        for (int64_t i = 0; i < size; i++)                                                         \
            if (below(3))                                                                          \
                new[i] += (uint32_t)(below(4) ? below(65000) - 32500 : (int64_t)draw());           \
        differences made = {room(4 * size), room(2 * size), mask, 0, 0};                           \
        coterie_pack_differences_##way(old, new, size, &made);                                     \
        differences given = {copy(made.wide, 4 * made.wide_count),                                 \
                             copy(made.narrow, 2 * made.narrow_count), mask, made.wide_count,      \
                             made.narrow_count};                                                   \
        check(coterie_unpack_differences_##way(old, &given, back, size) == 0 &&                    \
                  (!size || !memcmp(back, new, (size_t)(4 * size))),                               \
              "differences");                                                                      \
        see(given.wide, 4 * given.wide_count), see(given.narrow, 2 * given.narrow_count);          \
        see(mask, (size + 7) / 8);                                                                 \
        if (given.narrow_count) {                                                                  \
            given.narrow[below(given.narrow_count)] = below(2) ? INT16_MIN : 0;                    \
            coterie_unpack_differences_##way(old, &given, back, size);                             \
            given.wide_count--;                                                                    \
            coterie_unpack_differences_##way(old, &given, back, size);                             \
            given.narrow_count--;                                                                  \
            check(coterie_unpack_differences_##way(old, &given, back, size) != 0,                  \
                  "a wrong count");                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < count; i++)                                                        \
            free(pushes[i]), free(places[i]), free(row_pushes[i]);                                 \
        void *all[] = {sum,       sums,        table,      moments,     one,    ids,               \
                       distinct,  inverse,     scratch,    gradient,    summed, wide_sums,         \
                       kept,      back,        old,        mask,        exact,  new,               \
                       made.wide, made.narrow, given.wide, given.narrow};                          \
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)                                      \
            free(all[i]);                                                                          \
    }
DRIVER(portable)
DRIVER(avx2)
DRIVER(avx512)

int main(int arguments, char **argument)
{
    if (arguments != 3) {
        return 2;
    }
    int64_t rounds = atoll(argument[1]), seed = atoll(argument[2]);
    void (*const drivers[])(void) = {drive_portable, drive_avx2, drive_avx512};
    int ways = coterie_widest() + 1;
    for (int64_t round = 0; round < rounds; round++) {
        uint64_t expected = 0;
        for (int way = 0; way < ways; way++) {
            state = (uint64_t)(seed + round), seen = 14695981039346656037u;
            drivers[way]();
            if (way && seen != expected) {
                fprintf(stderr, "way %d gives other bytes in round %lld\n", way, (long long)round);
                return 1;
            }
            expected = seen;
        }
    }
    printf("%lld rounds by %d ways: the same bytes\n", (long long)rounds, ways);
    return 0;
}
