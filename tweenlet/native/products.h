/* Matrix products: rows of v, whose numbers lie side by side, times kernels; sums are float32, products of float32 or of
   bfloat16, these in pairs of inputs. */

#include "vectors.h"

#define ROWS (LANES == 16 ? 8 : 4) /* of a product: as many sums as registers hold */

static inline int in_vectors(int numbers) { return (numbers + LANES - 1) / LANES * LANES; }

/* Vectors of outputs that are made at once: so they lie in the kernels. */
static inline int at_once(int left) { return left == 4 ? 2 : at_most(left, 3); }

/* rows x (taps * inputs) times (taps * inputs) x vectors: m[row] = sum over taps and inputs. */
ALWAYS void product(const int rows, const int vectors, const float *v, long row_apart, long tap_apart, int taps,
                    int inputs, const float *kernels, float *m, long m_apart) {
    vec sum[24];
    UNROLL(24)
    for (int i = 0; i < rows * vectors; i++) sum[i] = (vec){0};
    for (int tap = 0; tap < taps; tap++, v += tap_apart)
        for (int input = 0; input < inputs; input++, kernels += vectors * LANES) {
            vec kernel[3];
            UNROLL(3)
            for (int j = 0; j < vectors; j++) kernel[j] = *(const vec *)(kernels + j * LANES);
            UNROLL(24)
            for (int i = 0; i < rows; i++) {
                vec x = (vec){0} + v[i * row_apart + input];
                UNROLL(3)
                for (int j = 0; j < vectors; j++) sum[i * vectors + j] += x * kernel[j];
            }
        }
    UNROLL(24)
    for (int i = 0; i < rows; i++)
        UNROLL(3)
        for (int j = 0; j < vectors; j++) *(vec *)(m + i * m_apart + j * LANES) = sum[i * vectors + j];
}

#ifdef __AVX512BF16__
ALWAYS void product_of_halves(const int rows, const int vectors, const short *v, long row_apart, long tap_apart,
                              int taps, int inputs, const short *kernels, float *m, long m_apart) {
    __m512 sum[24];
    UNROLL(24)
    for (int i = 0; i < rows * vectors; i++) sum[i] = _mm512_setzero_ps();
    for (int tap = 0; tap < taps; tap++, v += tap_apart)
        for (int input = 0; input < inputs; input += 2, kernels += 2 * vectors * LANES) {
            __m512bh kernel[3];
            UNROLL(3)
            for (int j = 0; j < vectors; j++) kernel[j] = (__m512bh)_mm512_loadu_si512(kernels + 2 * j * LANES);
            UNROLL(24)
            for (int i = 0; i < rows; i++) {
                int pair;
                memcpy(&pair, v + i * row_apart + input, 4);
                __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                UNROLL(3)
                for (int j = 0; j < vectors; j++)
                    sum[i * vectors + j] = _mm512_dpbf16_ps(sum[i * vectors + j], x, kernel[j]);
            }
        }
    UNROLL(24)
    for (int i = 0; i < rows; i++)
        UNROLL(3)
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(m + i * m_apart + j * LANES, sum[i * vectors + j]);
}
#endif

#define SOME_ROWS(product, rows, vectors)                                                            \
    switch (vectors) {                                                                               \
    case 3: product(rows, 3, v, row_apart, tap_apart, taps, inputs, kernels, m, m_apart); break;      \
    case 2: product(rows, 2, v, row_apart, tap_apart, taps, inputs, kernels, m, m_apart); break;      \
    default: product(rows, 1, v, row_apart, tap_apart, taps, inputs, kernels, m, m_apart);            \
    }
#define ALL_ROWS(product)                                                                            \
    for (; rows >= ROWS; rows -= ROWS, v += ROWS * row_apart, m += ROWS * m_apart)                    \
        SOME_ROWS(product, ROWS, vectors)                                                            \
    for (; rows > 0; rows--, v += row_apart, m += m_apart)                                            \
        SOME_ROWS(product, 1, vectors)

static void products_of_floats(int vectors, const float *v, long row_apart, long tap_apart, int taps, int inputs,
                               const float *kernels, float *m, long m_apart, int rows) {
    ALL_ROWS(product)
}

static void products_of_halves(int vectors, const short *v, long row_apart, long tap_apart, int taps, int inputs,
                               const short *kernels, float *m, long m_apart, int rows) {
#ifdef __AVX512BF16__
    ALL_ROWS(product_of_halves)
#else
    (void)vectors, (void)v, (void)row_apart, (void)tap_apart, (void)taps, (void)inputs, (void)kernels, (void)m;
    (void)m_apart, (void)rows;
#endif
}

/* half: whether v and kernels are bfloat16. Returns the kernels after these. */
static inline const char *products(int half, int vectors, const void *v, long row_apart, long tap_apart, int taps,
                                   int inputs, const char *kernels, float *m, long m_apart, int rows) {
    if (half)
        products_of_halves(vectors, v, row_apart, tap_apart, taps, inputs, (const short *)kernels, m, m_apart, rows);
    else
        products_of_floats(vectors, v, row_apart, tap_apart, taps, inputs, (const float *)kernels, m, m_apart, rows);
    return kernels + (half ? 2 * ((inputs + 1) / 2 * 2) : 4 * inputs) * (long)taps * vectors * LANES;
}
