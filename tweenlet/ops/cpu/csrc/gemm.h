/* GEMM micro-kernels: contiguous rows of v times packed weights; float32 accumulators, inputs of float32 or of
   bfloat16, these in pairs of inputs. */

#include "vectors.h"

#define ROWS (LANES == 16 ? 8 : 6) /* of a product: with the vectors below as many sums as registers hold */

static inline int round_to_vectors(int numbers) { return (numbers + LANES - 1) / LANES * LANES; }

#define AT_ONCE 3 /* at most */
#define LINE 16   /* floats that a cache fetches together */

/* Vectors of outputs that are made at once: so they lie in the kernels (packing.py knows it, too). */
static inline int vectors_at_once(int left) {
    return LANES == 16 ? (left == 4 ? 2 : at_most(left, 3)) : left == 3 ? 3 : at_most(left, 2);
}

/* rows x (taps * inputs) times (taps * inputs) x vectors: m[row] = sum over taps and inputs. */
INLINE void gemm_microkernel(const int rows, const int vectors, const float *v, ptrdiff_t row_stride,
                             ptrdiff_t tap_stride, int taps, int inputs, const float *kernels, float *m,
                             ptrdiff_t m_stride) {
    const ptrdiff_t next =
        (ptrdiff_t)taps * inputs * vectors * LANES; /* to the kernels of the product after this one */
    vec sum[24];
    UNROLL(24)
    for (int i = 0; i < rows * vectors; i++) sum[i] = (vec){0};
    for (int tap = 0; tap < taps; tap++, v += tap_stride)
        for (int input = 0; input < inputs; input++, kernels += vectors * LANES) {
            vec kernel[3];
            UNROLL(3)
            for (int j = 0; j < vectors; j++) kernel[j] = *(const vec *)(kernels + j * LANES);
            UNROLL(3)
            for (int j = 0; j < vectors * LANES; j += LINE) __builtin_prefetch(kernels + next + j);
            UNROLL(24)
            for (int i = 0; i < rows; i++) {
                vec x = (vec){0} + v[i * row_stride + input];
                UNROLL(3)
                for (int j = 0; j < vectors; j++) sum[i * vectors + j] += x * kernel[j];
            }
        }
    UNROLL(24)
    for (int i = 0; i < rows; i++) UNROLL(3)
    for (int j = 0; j < vectors; j++) *(vec *)(m + i * m_stride + j * LANES) = sum[i * vectors + j];
}

#ifdef __AVX512BF16__
INLINE void gemm_microkernel_bf16(const int rows, const int vectors, const short *v, ptrdiff_t row_stride,
                                  ptrdiff_t tap_stride, int taps, int inputs, const short *kernels, float *m,
                                  ptrdiff_t m_stride) {
    __m512 sum[24];
    UNROLL(24)
    for (int i = 0; i < rows * vectors; i++) sum[i] = _mm512_setzero_ps();
    for (int tap = 0; tap < taps; tap++, v += tap_stride)
        for (int input = 0; input < inputs; input += 2, kernels += 2 * vectors * LANES) {
            __m512bh kernel[3];
            UNROLL(3)
            for (int j = 0; j < vectors; j++) kernel[j] = (__m512bh)_mm512_loadu_si512(kernels + 2 * j * LANES);
            UNROLL(24)
            for (int i = 0; i < rows; i++) {
                int pair;
                memcpy(&pair, v + i * row_stride + input, 4);
                __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                UNROLL(3)
                for (int j = 0; j < vectors; j++)
                    sum[i * vectors + j] = _mm512_dpbf16_ps(sum[i * vectors + j], x, kernel[j]);
            }
        }
    UNROLL(24)
    for (int i = 0; i < rows; i++) UNROLL(3)
    for (int j = 0; j < vectors; j++) _mm512_storeu_ps(m + i * m_stride + j * LANES, sum[i * vectors + j]);
}
#endif

#define GEMM_ROWS(gemm_microkernel, rows, vectors)                                                                     \
    for (; count >= rows; count -= rows, v += rows * row_stride, m += rows * m_stride)                                 \
        gemm_microkernel(rows, vectors, v, row_stride, tap_stride, taps, inputs, kernels, m, m_stride);
#define GEMM_VECTORS(gemm_microkernel, vectors)                                                                        \
    {                                                                                                                  \
        GEMM_ROWS(gemm_microkernel, (vectors == 3 && LANES < 16 ? 4 : ROWS), vectors)                                  \
        GEMM_ROWS(gemm_microkernel, 4, vectors)                                                                        \
        GEMM_ROWS(gemm_microkernel, 2, vectors)                                                                        \
        GEMM_ROWS(gemm_microkernel, 1, vectors)                                                                        \
        break;                                                                                                         \
    }
#define GEMM(gemm_microkernel)                                                                                         \
    switch (vectors) {                                                                                                 \
    case 3: GEMM_VECTORS(gemm_microkernel, 3)                                                                          \
    case 2: GEMM_VECTORS(gemm_microkernel, 2)                                                                          \
    default: GEMM_VECTORS(gemm_microkernel, 1)                                                                         \
    }

static void gemm_f32(int vectors, const float *v, ptrdiff_t row_stride, ptrdiff_t tap_stride, int taps, int inputs,
                     const float *kernels, float *m, ptrdiff_t m_stride, int count) {
    GEMM(gemm_microkernel)
}

static void gemm_bf16(int vectors, const short *v, ptrdiff_t row_stride, ptrdiff_t tap_stride, int taps, int inputs,
                      const short *kernels, float *m, ptrdiff_t m_stride, int count) {
#ifdef __AVX512BF16__
    GEMM(gemm_microkernel_bf16)
#else
    (void)vectors, (void)v, (void)row_stride, (void)tap_stride, (void)taps, (void)inputs, (void)kernels, (void)m;
    (void)m_stride, (void)count;
#endif
}

/* Returns the kernels after these. */
static inline const char *gemm(int is_bf16, int vectors, const void *v, ptrdiff_t row_stride, ptrdiff_t tap_stride,
                               int taps, int inputs, const char *kernels, float *m, ptrdiff_t m_stride, int rows) {
    if (is_bf16)
        gemm_bf16(vectors, v, row_stride, tap_stride, taps, inputs, (const short *)kernels, m, m_stride, rows);
    else
        gemm_f32(vectors, v, row_stride, tap_stride, taps, inputs, (const float *)kernels, m, m_stride, rows);
    return kernels + (is_bf16 ? 2 * ((inputs + 1) / 2 * 2) : 4 * inputs) * (ptrdiff_t)taps * vectors * LANES;
}
