/* Vectors of floats, as long as this processor has them, and how they are kept: as float or as bfloat16. */

#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "unroll.h"

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias)); /* four, whatever the processor has */
typedef int mask __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

INLINE int at_most(int a, int b) { return a < b ? a : b; }

INLINE vec leaky_relu(vec x, vec slope) {
    mask positive = x > 0;
    return (vec)((positive & (mask)x) | (~positive & (mask)(x * slope)));
}

/* NaN stays. */
INLINE vec relu(vec x) {
    mask below = x < 0;
    return (vec)(~below & (mask)x);
}

INLINE vec vec_select(mask which, vec a, vec b) { return (vec)((which & (mask)a) | (~which & (mask)b)); }

/* b if either is NaN, as x86 has it; GCC does not emit the single instruction by itself. */
INLINE vec vec_max(vec a, vec b) {
#if LANES == 16
    return _mm512_max_ps(a, b);
#elif LANES == 8
    return _mm256_max_ps(a, b);
#else
    return vec_select(a > b, a, b);
#endif
}

INLINE vec broadcast(float x) { return (vec){0} + x; }

/* 2 to the power of x, which is not above zero; relative error 2e-7. */
INLINE vec exp2_of_negative(vec x) {
    const float shift = 12582912 + 127; /* 1.5 * 2^23: what is added to it is rounded; the last bits are an exponent */
    x = vec_max(broadcast(-126), x);
    vec shifted = x + shift, part = x - (shifted - shift);
    vec sum = 0.0013276472f * part + 0.0096755419f;
    sum = sum * part + 0.0555071309f;
    sum = sum * part + 0.2402212024f;
    sum = sum * part + 0.6931469440f;
    sum = sum * part + 1.0000000745f;
    return sum * (vec)((mask)shifted << 23);
}

/* 1 / (1 + exp(-x)), of so many numbers, a multiple of LANES. */
INLINE void sigmoid_row(float *x, int count) {
    for (int k = 0; k < count; k += LANES) {
        const vec value = *(vec *)(x + k), size = vec_max(value, -value);
        const vec part = exp2_of_negative(-1.44269504f * size), small = part / (1 + part);
        *(vec *)(x + k) = vec_select(value < 0, small, 1 - small);
    }
}

/* The first of a vector's numbers, as many as there are; from and to floats, or bfloat16, the upper half of one. */
#if LANES == 16
typedef __mmask16 lane_mask;
INLINE lane_mask first_lanes(int numbers) { return (1 << at_most(numbers, LANES)) - 1; }
INLINE vec load_f32(const char *from, lane_mask active) { return (vec)_mm512_maskz_loadu_ps(active, from); }
INLINE void store_f32(char *to, vec x, lane_mask active) { _mm512_mask_storeu_ps(to, active, (__m512)x); }
INLINE void store_streaming(char *to, vec x) { _mm512_stream_ps((float *)to, (__m512)x); }
#elif LANES == 8
typedef int lane_mask;
INLINE lane_mask first_lanes(int numbers) { return at_most(numbers, LANES); }
INLINE vec load_f32(const char *from, lane_mask active) {
    if (active == LANES) return *(const vec *)from;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (vec)_mm256_maskload_ps((const float *)from, _mm256_cmpgt_epi32(_mm256_set1_epi32(active), lanes));
}
/* In parts: AMD's processors take 12 cycles or more for a masked store. */
INLINE void store_f32(char *to, vec x, lane_mask active) {
    if (active == LANES) {
        *(vec *)to = x;
        return;
    }
    __m128 part = _mm256_castps256_ps128((__m256)x);
    if (active & 4) {
        _mm_storeu_ps((float *)to, part);
        part = _mm256_extractf128_ps((__m256)x, 1), to += 16;
    }
    if (active & 2) {
        _mm_storel_pi((__m64 *)to, part);
        part = _mm_movehl_ps(part, part), to += 8;
    }
    if (active & 1) _mm_store_ss((float *)to, part);
}
INLINE void store_streaming(char *to, vec x) { _mm256_stream_ps((float *)to, (__m256)x); }
#else
typedef int lane_mask;
INLINE lane_mask first_lanes(int numbers) { return at_most(numbers, LANES); }
INLINE vec load_f32(const char *from, lane_mask active) {
    vec x = {0};
    if (active == LANES) return *(const vec *)from;
    memcpy(&x, from, 4 * active);
    return x;
}
INLINE void store_f32(char *to, vec x, lane_mask active) {
    if (active == LANES)
        *(vec *)to = x;
    else
        memcpy(to, &x, 4 * active);
}
INLINE void store_streaming(char *to, vec x) { *(vec *)to = x; }
#endif

/* from[order[lane]] for each lane; the orders are below LANES. */
INLINE vec permute_lanes(const float *from, mask order) {
#if LANES == 16
    return (vec)_mm512_permutexvar_ps((__m512i)order, *(const __m512_u *)from);
#elif LANES == 8
    return (vec)_mm256_permutevar8x32_ps(*(const __m256_u *)from, (__m256i)order);
#else
    vec x;
    for (int lane = 0; lane < LANES; lane++) x[lane] = from[order[lane]];
    return x;
#endif
}

#ifdef __AVX512BF16__
#define HAS_BF16 1 /* whether this processor knows bfloat16 */
INLINE vec load_bf16(const char *from, lane_mask active) {
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(active, from)), 16);
}
INLINE void store_bf16(char *to, vec x, lane_mask active) {
    _mm256_mask_storeu_epi16(to, active, (__m256i)_mm512_cvtneps_pbh((__m512)x));
}
#else
#define HAS_BF16 0 /* and these are never called */
#define load_bf16 load_f32
#define store_bf16 store_f32
#endif

INLINE vec load(const char *from, lane_mask active, int is_bf16) {
    return is_bf16 ? load_bf16(from, active) : load_f32(from, active);
}
INLINE void store(char *to, vec x, lane_mask active, int is_bf16) {
    is_bf16 ? store_bf16(to, x, active) : store_f32(to, x, active);
}
