/* Sums and updates of dense parameters: see plane.h. */
#include <math.h>

#include "plane.h"

BODY void add(float *restrict to, const float *restrict values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] += values[i];
    }
}

BODY void add_scaled(float *restrict to, const float *restrict values, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float scaled = values[i] * factor;
        to[i] += scaled;
    }
}

BODY void scale(float *restrict to, const float *restrict values, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = values[i] * factor;
    }
}

/* to = sum of the pushes in their order, each times its factor; with equal factors the sum is
 * scaled once. */
BODY void sum_dense(const float *const *pushes, const float *factors, int64_t count, int equal,
                    float *to, int64_t size)
{
    for (int64_t start = 0; start < size; start += BLOCK) {
        int64_t length = size - start < BLOCK ? size - start : BLOCK;
        float *part = to + start;
        if (equal) {
            memcpy(part, pushes[0] + start, (size_t)length * sizeof(float));
            for (int64_t i = 1; i < count; i++) {
                add(part, pushes[i] + start, length);
            }
            for (int64_t i = 0; i < length; i++) {
                part[i] *= factors[0];
            }
        } else {
            scale(part, pushes[0] + start, factors[0], length);
            for (int64_t i = 1; i < count; i++) {
                add_scaled(part, pushes[i] + start, factors[i], length);
            }
        }
    }
}

/* parameters -= rate * gradient */
BODY void dense_sgd(float *restrict parameters, const float *restrict gradient, float rate,
                    int64_t size)
{
    for (int64_t i = 0; i < size; i++) {
        float change = gradient[i] * rate;
        parameters[i] -= change;
    }
}

/* sums += gradient^2; parameters -= rate * gradient / (sqrt(sums) + epsilon) */
BODY void dense_adagrad(float *restrict parameters, float *restrict sums,
                        const float *restrict gradient, float rate, float epsilon, int64_t size)
{
    for (int64_t i = 0; i < size; i++) {
        float square = gradient[i] * gradient[i];
        sums[i] += square;
        float change = gradient[i] * rate;
        change /= sqrtf(sums[i]) + epsilon;
        parameters[i] -= change;
    }
}

KERNEL(void, sum_dense,
       (const float *const *pushes, const float *factors, int64_t count, int equal, float *to,
        int64_t size),
       (pushes, factors, count, equal, to, size))
KERNEL(void, dense_sgd, (float *parameters, const float *gradient, float rate, int64_t size),
       (parameters, gradient, rate, size))
KERNEL(void, dense_adagrad,
       (float *parameters, float *sums, const float *gradient, float rate, float epsilon,
        int64_t size),
       (parameters, sums, gradient, rate, epsilon, size))

/* Of this library's source; building.py names it. */
EXPORTED const char *coterie_source_digest(void)
{
    return SOURCE_DIGEST;
}

/* The most that this processor has: 0 for none, 1 for AVX2, 2 for AVX-512. */
EXPORTED int coterie_widest(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) {
        return 0;
    }
    int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return wide ? 2 : 1;
#else
    return 0;
#endif
}
