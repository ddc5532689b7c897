/* 3x3 convolutions by Winograd's F(4x4, 3x3), for pixels whose channels lie side by side. ops/winograd.py calls it.

    block of tiles:  6x6 pixels each -> B' d B -> 36 small matrix products with the kernels -> A' m A -> 4x4 pixels

A block's 36 matrices stay in the cache of one core. Slices in time, three taps over them, are one longer product.
*/

#include <stdlib.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

/* Numbers of a vector, and rows of a product: as many sums as registers hold. */
#if defined(__AVX512F__)
#define LANES 16
#define ROWS 8
#elif defined(__AVX__)
#define LANES 8
#define ROWS 4
#else
#define LANES 4
#define ROWS 4
#endif
#define TILE 4 /* output pixels a side */
#define SEEN 6 /* input pixels a side */
#define POINTS 36
#define CACHE (400 * 1024) /* bytes for the 36 matrices of a block, both sides */

#define ALWAYS static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

struct layout { /* floats from one to the next */
    long slice, line, pixel;
};

struct convolution { /* bias, before and after: for each channel, rounded up to LANES */
    int inputs, outputs, taps;  /* taps: over slices, 1 or 3 */
    int half;     /* whether the products are of bfloat16, in pairs of inputs; their sums are float32 */
    int enlarge;  /* 2: each pixel becomes 2x2, one after the other among the kernels' outputs; else 1 */
    const void *kernels;  /* [point][group of outputs][tap][input (pair)][outputs of the group] ([of pair]) */
    const float *bias, *before, *after;  /* before, after: what is below zero is multiplied by, or null */
};

ALWAYS vec rectified(vec x, vec slope) {
    mask positive = x > 0;
    return (vec)((positive & (mask)x) | (~positive & (mask)(x * slope)));
}

ALWAYS vec load(const float *from, int channels) {
    vec x = {0};
    if (channels >= LANES) return *(const vec *)from;
    memcpy(&x, from, 4 * channels);
    return x;
}

ALWAYS void store(float *to, vec x, int channels) {
    if (channels >= LANES)
        *(vec *)to = x;
    else
        memcpy(to, &x, 4 * channels);
}

/* Points 0, +-sqrt(1/2), +-sqrt(2), infinity: their errors are a third of those of 0, +-1, +-2. */
static const float A = 0.70710678118654752f, B = 1.41421356237309505f;

ALWAYS void to_points(const vec d[SEEN], vec p[SEEN]) {
    vec even = d[4] - 2 * d[2], odd = A * (d[3] - 2 * d[1]);
    p[0] = d[0] - 2.5f * d[2] + d[4];
    p[1] = even + odd;
    p[2] = even - odd;
    even = d[4] - 0.5f * d[2];
    odd = B * (d[3] - 0.5f * d[1]);
    p[3] = even + odd;
    p[4] = even - odd;
    p[5] = d[1] - 2.5f * d[3] + d[5];
}

ALWAYS void from_points(const vec m[SEEN], vec y[TILE]) {
    vec even_a = m[1] + m[2], odd_a = A * (m[1] - m[2]), even_b = m[3] + m[4], odd_b = B * (m[3] - m[4]);
    y[0] = m[0] + even_a + even_b;
    y[1] = odd_a + odd_b;
    y[2] = 0.5f * even_a + 2 * even_b;
    y[3] = 0.5f * odd_a + 2 * odd_b + m[5];
}

/* x into an array of float, or of bfloat16. */
ALWAYS void put(void *to, long place, vec x, int half) {
#ifdef __AVX512BF16__
    if (half) {
        __m256bh rounded = _mm512_cvtneps_pbh((__m512)x);
        memcpy((short *)to + place, &rounded, 2 * LANES);
        return;
    }
#endif
    (void)half;
    *(vec *)((float *)to + place) = x;
}

/* One tile's 16 channels from x, whose rows and columns outside of the picture are zero -> 36 points. */
ALWAYS void enter(const float *x, int channels, long pixel, long a_line, int height, int width, int top, int left,
                  const float *slope, void *points, long apart, int inside, int half_precision) {
    vec half[SEEN][SEEN]; /* [point along columns][row] */
    for (int row = 0; row < SEEN; row++) {
        vec d[SEEN], p[SEEN];
        int there = inside || (top + row >= 0 && top + row < height);
        const float *line = x + (top + row) * a_line + left * pixel;
        for (int column = 0; column < SEEN; column++) {
            if (inside && !(half_precision && channels < LANES)) /* in pairs, an odd one meets what is behind it */
                d[column] = *(const vec *)(line + column * pixel);
            else if (there && left + column >= 0 && left + column < width)
                d[column] = load(line + column * pixel, channels);
            else
                d[column] = (vec){0};
            if (slope) d[column] = rectified(d[column], *(const vec *)slope);
        }
        to_points(d, p);
        for (int point = 0; point < SEEN; point++) half[point][row] = p[point];
    }
    for (int column = 0; column < SEEN; column++) {
        vec p[SEEN];
        to_points(half[column], p);
        for (int row = 0; row < SEEN; row++) put(points, (row * SEEN + column) * apart, p[row], half_precision);
    }
}

/* 36 points -> one tile's 16 channels of y, whose pixels and lines are so far apart. */
ALWAYS void leave(const float *points, long apart, vec bias, const float *slope, const float *added, float *y,
                  int channels, long pixel, long line, int height, int width) {
    vec half[TILE][SEEN];
    for (int column = 0; column < SEEN; column++) {
        vec m[SEEN], p[TILE];
        for (int row = 0; row < SEEN; row++) m[row] = *(const vec *)(points + (row * SEEN + column) * apart);
        from_points(m, p);
        for (int row = 0; row < TILE; row++) half[row][column] = p[row];
    }
    for (int row = 0; row < height; row++) {
        vec made[TILE];
        from_points(half[row], made);
        for (int column = 0; column < width; column++) {
            long place = row * line + column * pixel;
            vec value = made[column] + bias;
            if (slope) value = rectified(value, *(const vec *)slope);
            if (added) value += load(added + place, channels);
            store(y + place, value, channels);
        }
    }
}

/* rows x (taps * inputs) times (taps * inputs) x vectors: m[row] = sum over taps and inputs. */
ALWAYS void product(const int rows, const int vectors, const float *v, long row_apart, long slice_apart, int taps,
                    int inputs, const float *kernels, float *m, long m_apart) {
    vec sum[24];
    #pragma GCC unroll 24
    for (int i = 0; i < rows * vectors; i++) sum[i] = (vec){0};
    for (int tap = 0; tap < taps; tap++, v += slice_apart)
        for (int input = 0; input < inputs; input++, kernels += vectors * LANES) {
            vec kernel[3];
            #pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) kernel[j] = *(const vec *)(kernels + j * LANES);
            #pragma GCC unroll 24
            for (int i = 0; i < rows; i++) {
                vec x = (vec){0} + v[i * row_apart + input];
                #pragma GCC unroll 3
                for (int j = 0; j < vectors; j++) sum[i * vectors + j] += x * kernel[j];
            }
        }
    #pragma GCC unroll 24
    for (int i = 0; i < rows; i++)
        #pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) *(vec *)(m + i * m_apart + j * LANES) = sum[i * vectors + j];
}

#ifdef __AVX512BF16__
ALWAYS void product_of_halves(const int rows, const int vectors, const short *v, long row_apart, long slice_apart,
                              int taps, int inputs, const short *kernels, float *m, long m_apart) {
    __m512 sum[24];
    #pragma GCC unroll 24
    for (int i = 0; i < rows * vectors; i++) sum[i] = _mm512_setzero_ps();
    for (int tap = 0; tap < taps; tap++, v += slice_apart)
        for (int input = 0; input < inputs; input += 2, kernels += 2 * vectors * LANES) {
            __m512bh kernel[3];
            #pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) kernel[j] = (__m512bh)_mm512_loadu_si512(kernels + 2 * j * LANES);
            #pragma GCC unroll 24
            for (int i = 0; i < rows; i++) {
                int pair;
                memcpy(&pair, v + i * row_apart + input, 4);
                __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                #pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    sum[i * vectors + j] = _mm512_dpbf16_ps(sum[i * vectors + j], x, kernel[j]);
            }
        }
    #pragma GCC unroll 24
    for (int i = 0; i < rows; i++)
        #pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(m + i * m_apart + j * LANES, sum[i * vectors + j]);
}
#endif

#define FOR_ALL_ROWS(product)                                                                       \
    for (int row = 0; row < rows; row += ROWS, v += ROWS * row_apart, m += ROWS * m_apart) {         \
        if (vectors == 3)                                                                            \
            product(ROWS, 3, v, row_apart, slice_apart, taps, inputs, kernels, m, m_apart);          \
        else if (vectors == 2)                                                                       \
            product(ROWS, 2, v, row_apart, slice_apart, taps, inputs, kernels, m, m_apart);          \
        else                                                                                         \
            product(ROWS, 1, v, row_apart, slice_apart, taps, inputs, kernels, m, m_apart);          \
    }

static void products(int vectors, const float *v, long row_apart, long slice_apart, int taps, int inputs,
                     const float *kernels, float *m, long m_apart, int rows) {
    FOR_ALL_ROWS(product)
}

static void products_of_halves(int vectors, const short *v, long row_apart, long slice_apart, int taps, int inputs,
                               const short *kernels, float *m, long m_apart, int rows) {
#ifdef __AVX512BF16__
    FOR_ALL_ROWS(product_of_halves)
#else
    (void)vectors, (void)v, (void)row_apart, (void)slice_apart, (void)taps, (void)inputs, (void)kernels, (void)m;
    (void)m_apart, (void)rows;
#endif
}

int lanes(void) { return LANES; }

/* Whether this processor multiplies bfloat16. */
int has_halves(void) {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

static int at_most(int a, int b) { return a < b ? a : b; }

/* x (slices, height, width, inputs) -> y (slices, enlarge height, enlarge width, outputs); where it is given, + added,
   which lies as y. */
int convolve(const struct convolution *of, const float *x, const struct layout *of_x, float *y,
             const struct layout *of_y, const float *added, int slices, int height, int width, int threads) {
    const int inputs = of->inputs, outputs = of->outputs, taps = of->taps, border = taps / 2;
    const int half = of->half, bytes = half ? 2 : 4, enlarge = of->enlarge, copies = enlarge * enlarge;
    const long in = (inputs + LANES - 1) / LANES * LANES, part = (outputs + LANES - 1) / LANES * LANES;
    const long out = copies * part, pixel = enlarge * of_y->pixel, line = enlarge * of_y->line;
    const long x_pixel = of_x->pixel, x_line = of_x->line;
    const int tall = (height + TILE - 1) / TILE, wide = (width + TILE - 1) / TILE;
    const long of_tile = POINTS * (bytes * (slices + 2 * border) * in + 4 * slices * out);
    int most = at_most(CACHE / of_tile, wide) / ROWS * ROWS;
    if (most < ROWS) most = ROWS;
    const int blocks = (wide + most - 1) / most;
    const int tiles = ((wide + blocks - 1) / blocks + ROWS - 1) / ROWS * ROWS; /* in a block, evenly */
    /* an odd number of cache lines apart, so that the points of a tile do not fight for the same few */
    const long v_slice = tiles * in, v_point = v_slice * (slices + 2 * border) / LANES / 2 * 2 * LANES + LANES * 3;
    const long m_slice = tiles * out, m_point = m_slice * slices / LANES / 2 * 2 * LANES + LANES * 3;
    int failed = 0;
    #pragma omp parallel num_threads(threads)
    {
        char *v = aligned_alloc(64, bytes * POINTS * v_point);
        float *m = aligned_alloc(64, 4 * POINTS * m_point);
        if (!v || !m) {
            #pragma omp atomic write
            failed = 1;
        } else
            memset(v, 0, bytes * POINTS * v_point); /* slices before the first and after the last, unused rows */
        #pragma omp barrier
        #pragma omp for schedule(dynamic)
        for (int block = 0; block < tall * blocks; block++) {
            if (failed) continue;
            int top = block / blocks * TILE, first = block % blocks * tiles, count = at_most(tiles, wide - first);
            for (int slice = 0; slice < slices; slice++)
                for (int tile = 0; tile < count; tile++)
                    for (int channel = 0; channel < inputs; channel += LANES) {
                        const float *from = x + slice * of_x->slice + channel;
                        void *to = v + bytes * ((slice + border) * v_slice + tile * in + channel);
                        const float *slope = of->before ? of->before + channel : 0;
                        int left = (first + tile) * TILE, channels = at_most(inputs - channel, LANES);
                        /* reading on behind a pixel's last channel is safe where a line follows */
                        if (top > 0 && left > 0 && top + TILE + 1 < height && left + TILE < width && x_line > LANES) {
                            if (half)
                                enter(from, channels, x_pixel, x_line, height, width, top - 1, left - 1, slope, to, v_point, 1, 1);
                            else
                                enter(from, LANES, x_pixel, x_line, height, width, top - 1, left - 1, slope, to, v_point, 1, 0);
                        } else
                            enter(from, channels, x_pixel, x_line, height, width, top - 1, left - 1, slope, to, v_point, 0,
                                  half);
                    }
            const char *kernels = of->kernels;
            for (int point = 0; point < POINTS; point++)
                for (int output = 0, vectors; output < out; output += vectors * LANES) {
                    int left = (out - output) / LANES;
                    vectors = left == 4 ? 2 : at_most(left, 3);
                    for (int slice = 0; slice < slices; slice++) {
                        const void *from = v + bytes * (point * v_point + slice * v_slice);
                        float *to = m + point * m_point + slice * m_slice + output;
                        if (half)
                            products_of_halves(vectors, from, in, v_slice, taps, inputs, (const short *)kernels, to, out, tiles);
                        else
                            products(vectors, from, in, v_slice, taps, inputs, (const float *)kernels, to, out, tiles);
                    }
                    kernels += (long)bytes * taps * (half ? (inputs + 1) / 2 * 2 : inputs) * vectors * LANES;
                }
            for (int slice = 0; slice < slices; slice++)
                for (int tile = 0; tile < count; tile++)
                    for (int copy = 0; copy < copies; copy++) {
                        int left = (first + tile) * TILE;
                        long place = slice * of_y->slice + top * line + left * pixel + copy / enlarge * of_y->line +
                                     copy % enlarge * of_y->pixel;
                        const float *from = m + slice * m_slice + tile * out + copy * part;
                        for (int channel = 0; channel < outputs; channel += LANES)
                            leave(from + channel, m_point, *(const vec *)(of->bias + channel),
                                  of->after ? of->after + channel : 0, added ? added + place + channel : 0,
                                  y + place + channel, at_most(outputs - channel, LANES), pixel, line,
                                  at_most(height - top, TILE), at_most(width - left, TILE));
                    }
        }
        free(v);
        free(m);
    }
    return failed;
}
