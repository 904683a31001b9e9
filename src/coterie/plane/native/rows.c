/* Rows of embedding tables: see plane.h. */
#include <math.h>

#include "plane.h"

/* A row's place in a table is all over memory: ask for it some rows before it is needed. */
enum { AHEAD = 8 };

/* The longest row whose squares NumPy adds without halving it. */
enum { MOST_DIM = 128 };

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* Sorts the ids with their positions, from the least digit to the highest, which keeps equal ones
 * in order. Returns the number of distinct ids, ascending in `distinct`; `inverse` holds the place
 * of each. `scratch` has room for four times the ids. */
BODY int64_t unique(const int32_t *ids, int64_t count, uint32_t *scratch, int32_t *distinct,
                    int32_t *inverse)
{
    uint32_t *keys = scratch, *sorted_keys = scratch + count;
    uint32_t *places = scratch + 2 * count, *sorted_places = scratch + 3 * count;
    uint32_t all = 0;
    for (int64_t i = 0; i < count; i++) {
        keys[i] = (uint32_t)ids[i];
        places[i] = (uint32_t)i;
        all |= keys[i];
    }
    if (all > INT32_MAX) {
        return OUT_OF_BOUNDS; /* a negative id */
    }
    for (int shift = 0; shift < 32 && all >> shift; shift += DIGIT_BITS) {
        uint32_t starts[DIGITS] = {0}, start = 0;
        for (int64_t i = 0; i < count; i++) {
            starts[keys[i] >> shift & (DIGITS - 1)]++;
        }
        for (int digit = 0; digit < DIGITS; digit++) {
            uint32_t size = starts[digit];
            starts[digit] = start;
            start += size;
        }
        for (int64_t i = 0; i < count; i++) {
            uint32_t to = starts[keys[i] >> shift & (DIGITS - 1)]++;
            sorted_keys[to] = keys[i];
            sorted_places[to] = places[i];
        }
        uint32_t *spare = keys;
        keys = sorted_keys, sorted_keys = spare;
        spare = places;
        places = sorted_places, sorted_places = spare;
    }
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!i || keys[i] != keys[i - 1]) {
            distinct[found++] = (int32_t)keys[i];
        }
        inverse[places[i]] = (int32_t)(found - 1);
    }
    return found;
}

/* to[places[i]] += pushes[i] * factors[i] in the pushes' order, from zeros; with equal factors the
 * sum is scaled once. */
BODY int sum_rows(const float *const *pushes, const int32_t *const *places, const int64_t *counts,
                  const float *factors, int64_t count, int equal, int64_t dim, float *to,
                  int64_t rows)
{
    memset(to, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t push = 0; push < count; push++) {
        const int32_t *at = places[push];
        if (!within(at, counts[push], rows)) {
            return OUT_OF_BOUNDS;
        }
        float factor = factors[push];
        for (int64_t i = 0; i < counts[push]; i++) {
            float *restrict sum = to + at[i] * dim;
            const float *restrict row = pushes[push] + i * dim;
            if (equal) {
                for (int64_t d = 0; d < dim; d++) {
                    sum[d] += row[d];
                }
            } else {
                for (int64_t d = 0; d < dim; d++) {
                    float scaled = row[d] * factor;
                    sum[d] += scaled;
                }
            }
        }
    }
    if (equal) {
        for (int64_t i = 0; i < rows * dim; i++) {
            to[i] *= factors[0];
        }
    }
    return DONE;
}

/* The sums of the gradients of each row, in the order of the batch, in double precision. `sums` has
 * room for rows * dim numbers. */
BODY int sum_by_row(const float *gradient, const int32_t *inverse, int64_t entries, int64_t dim,
                    double *sums, float *to, int64_t rows)
{
    if (!within(inverse, entries, rows)) {
        return OUT_OF_BOUNDS;
    }
    memset(sums, 0, (size_t)(rows * dim) * sizeof(double));
    for (int64_t i = 0; i < entries; i++) {
        double *restrict sum = sums + inverse[i] * dim;
        const float *restrict row = gradient + i * dim;
        for (int64_t d = 0; d < dim; d++) {
            sum[d] += (double)row[d];
        }
    }
    for (int64_t i = 0; i < rows * dim; i++) {
        to[i] = (float)sums[i];
    }
    return DONE;
}

/* table[rows] -= rate * gradient; rows are distinct */
BODY int row_sgd(float *table, int64_t table_rows, const int32_t *rows, const float *gradient,
                 int64_t count, int64_t dim, float rate)
{
    if (!within(rows, count, table_rows)) {
        return OUT_OF_BOUNDS;
    }
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            __builtin_prefetch(table + rows[i + AHEAD] * dim, 1);
        }
        float *restrict row = table + rows[i] * dim;
        const float *restrict g = gradient + i * dim;
        for (int64_t d = 0; d < dim; d++) {
            float change = g[d] * rate;
            row[d] -= change;
        }
    }
    return DONE;
}

/* state[rows] += gradient^2; table[rows] -= rate * gradient / (sqrt(state + initial) + epsilon);
 * rows are distinct, and the state is as wide as the table */
BODY int row_adagrad(float *table, float *state, int64_t table_rows, const int32_t *rows,
                     const float *gradient, int64_t count, int64_t dim, float rate, float initial,
                     float epsilon)
{
    if (!within(rows, count, table_rows)) {
        return OUT_OF_BOUNDS;
    }
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            __builtin_prefetch(table + rows[i + AHEAD] * dim, 1);
            __builtin_prefetch(state + rows[i + AHEAD] * dim, 1);
        }
        float *restrict row = table + rows[i] * dim, *restrict sums = state + rows[i] * dim;
        const float *restrict g = gradient + i * dim;
        for (int64_t d = 0; d < dim; d++) {
            float square = g[d] * g[d];
            sums[d] += square;
            float root = sqrtf(sums[d] + initial);
            float change = g[d] * rate;
            change /= root + epsilon;
            row[d] -= change;
        }
    }
    return DONE;
}

/* The sum of a row's squares, in NumPy's order: eight sums side by side, added in pairs, then the
 * rest. For rows of at most MOST_DIM; NumPy halves longer ones first. */
BODY float sum_of_squares(const float *row, int64_t dim)
{
    float sum = 0;
    int64_t d = 0;
    if (dim >= 8) {
        float sums[8];
        for (int lane = 0; lane < 8; lane++) {
            sums[lane] = row[lane] * row[lane];
        }
        for (d = 8; d + 8 <= dim; d += 8) {
            for (int lane = 0; lane < 8; lane++) {
                float square = row[d + lane] * row[d + lane];
                sums[lane] += square;
            }
        }
        sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
              ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
    for (; d < dim; d++) {
        float square = row[d] * row[d];
        sum += square;
    }
    return sum;
}

/* The same with one sum for each row, of the mean of its squares. */
BODY int rowwise_adagrad(float *table, float *state, int64_t table_rows, const int32_t *rows,
                         const float *gradient, int64_t count, int64_t dim, float rate,
                         float initial, float epsilon)
{
    if (dim > MOST_DIM || !within(rows, count, table_rows)) {
        return OUT_OF_BOUNDS;
    }
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            __builtin_prefetch(table + rows[i + AHEAD] * dim, 1);
            __builtin_prefetch(state + rows[i + AHEAD], 1);
        }
        float *restrict row = table + rows[i] * dim;
        const float *restrict g = gradient + i * dim;
        state[rows[i]] += sum_of_squares(g, dim) / (float)dim;
        float root = sqrtf(state[rows[i]] + initial) + epsilon;
        for (int64_t d = 0; d < dim; d++) {
            float change = g[d] * rate;
            change /= root;
            row[d] -= change;
        }
    }
    return DONE;
}

KERNEL(int64_t, unique,
       (const int32_t *ids, int64_t count, uint32_t *scratch, int32_t *distinct, int32_t *inverse),
       (ids, count, scratch, distinct, inverse))
KERNEL(int, sum_rows,
       (const float *const *pushes, const int32_t *const *places, const int64_t *counts,
        const float *factors, int64_t count, int equal, int64_t dim, float *to, int64_t rows),
       (pushes, places, counts, factors, count, equal, dim, to, rows))
KERNEL(int, sum_by_row,
       (const float *gradient, const int32_t *inverse, int64_t entries, int64_t dim, double *sums,
        float *to, int64_t rows),
       (gradient, inverse, entries, dim, sums, to, rows))
KERNEL(int, row_sgd,
       (float *table, int64_t table_rows, const int32_t *rows, const float *gradient, int64_t count,
        int64_t dim, float rate),
       (table, table_rows, rows, gradient, count, dim, rate))
KERNEL(int, row_adagrad,
       (float *table, float *state, int64_t table_rows, const int32_t *rows, const float *gradient,
        int64_t count, int64_t dim, float rate, float initial, float epsilon),
       (table, state, table_rows, rows, gradient, count, dim, rate, initial, epsilon))
KERNEL(int, rowwise_adagrad,
       (float *table, float *state, int64_t table_rows, const int32_t *rows, const float *gradient,
        int64_t count, int64_t dim, float rate, float initial, float epsilon),
       (table, state, table_rows, rows, gradient, count, dim, rate, initial, epsilon))
