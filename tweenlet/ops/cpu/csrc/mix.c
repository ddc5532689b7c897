/* Two frames warped along flows of half their size, bicubic, and mixed. ops/cpu/mix.py calls it. */

#include <math.h>
#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define COLOURS 3
#define CELL 4 /* pixels of a cell of 2x2, which lie one after the other in a channel (pixel unshuffle) */

/* Bicubic weights of four pixels in a row, for a point t from the second. a = -0.75, as in PyTorch. */
INLINE quad cubic_shares(float t) {
    const float a = -0.75f;
    const quad one = {0, 1, 0, 0}, linear = {a, 0, -a, 0}, square = {-2 * a, -(a + 3), 2 * a + 3, a},
               cube = {a, a + 2, -(a + 2), -a};
    return one + t * (linear + t * (square + t * cube));
}

/* Sums of four numbers each. */
INLINE quad sums_of(quad a, quad b, quad c) {
#ifdef __AVX2__
    const __m128 beside = _mm_hadd_ps((__m128)c, (__m128)c);
    return (quad)_mm_hadd_ps(_mm_hadd_ps((__m128)a, (__m128)b), beside);
#else
    return (quad){(a[0] + a[1]) + (a[2] + a[3]), (b[0] + b[1]) + (b[2] + b[3]), (c[0] + c[1]) + (c[2] + c[3])};
#endif
}

/* A bicubic sample of a planar frame, its colours written step floats apart; the border is repeated. */
INLINE void fetch_bicubic(const float *frame, int height, int width, float y, float x, float *to, int step) {
    y = clamp(y, -4, height + 3), x = clamp(x, -4, width + 3);
    const float top = floorf(y), left = floorf(x);
    const int row = (int)top - 1, column = (int)left - 1;
    const quad down = cubic_shares(y - top), across = cubic_shares(x - left);
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    quad products[COLOURS];
    if (row >= 0 && row + 3 < height && column >= 0 && column + 3 < width) {
        const float *first = frame + (ptrdiff_t)row * width + column;
        UNROLL(3)
        for (int colour = 0; colour < COLOURS; colour++, first += plane)
            products[colour] =
                across * (down[0] * *(const quad *)first + down[1] * *(const quad *)(first + width) +
                          down[2] * *(const quad *)(first + 2 * width) + down[3] * *(const quad *)(first + 3 * width));
    } else {
        for (int colour = 0; colour < COLOURS; colour++, frame += plane) {
            products[colour] = (quad){0};
            for (int i = 0; i < 4; i++) {
                const float *line = frame + (ptrdiff_t)clamp_index(row + i, height) * width;
                for (int j = 0; j < 4; j++)
                    products[colour][j] += down[i] * across[j] * line[clamp_index(column + j, width)];
            }
        }
    }
    const quad sums = sums_of(products[0], products[1], products[2]);
    UNROLL(3)
    for (int colour = 0; colour < COLOURS; colour++) to[colour * step] = sums[colour];
}

/* One channel of a row of an image upsampled by 2, bilinearly, from the rows above and below it. */
INLINE void enlarge_row(const float *above, const float *below, float share, ptrdiff_t pixel, int small, float *between,
                        float *to) {
    for (int x = 0; x < small; x++) between[x + 1] = above[x * pixel] + share * (below[x * pixel] - above[x * pixel]);
    between[0] = between[1], between[small + 1] = between[small];
    for (int x = 0; x < small; x++) {
        to[2 * x] = 0.25f * between[x] + 0.75f * between[x + 1];
        to[2 * x + 1] = 0.75f * between[x + 1] + 0.25f * between[x + 2];
    }
}

/* The same, of row `row` of an image of planes or pixels (small_rows, small). */
INLINE void enlarged_row(const float *image, ptrdiff_t image_row, ptrdiff_t pixel, int small_rows, int small, int row,
                         float *between, float *to) {
    const int first = row / 2 - 1 + row % 2;
    const float *above = image + clamp_index(first, small_rows) * image_row,
                *below = image + clamp_index(first + 1, small_rows) * image_row;
    enlarge_row(above, below, row % 2 ? 0.25f : 0.75f, pixel, small, between, to);
}

/* before, after (COLOURS, height, width), flows (4, height / 2, width / 2) -> out (height / 2, width / 2, 2 * COLOURS *
   CELL). 1: not enough memory. */
int tweenlet_fetch_both(const float *before, const float *after, const float *flows, float *out, ptrdiff_t flow_row,
                        ptrdiff_t flow_pixel, ptrdiff_t flow_channel, int height, int width, int threads) {
    const int small = width / 2, channels = 2 * COLOURS * CELL;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *between = malloc(sizeof(float) * (small + 2 + 4L * width)), *at = between + small + 2;
        if (!between) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic, 8)
        for (int row = 0; row < height; row++) {
            if (failed) continue;
            for (int channel = 0; channel < 4; channel++)
                enlarged_row(flows + channel * flow_channel, flow_row, flow_pixel, height / 2, small, row, between,
                             at + channel * width);
            float *to = out + (ptrdiff_t)(row / 2) * small * channels + row % 2 * 2;
            for (int x = 0; x < width; x++) {
                float *cell = to + (ptrdiff_t)(x / 2) * channels + x % 2;
                fetch_bicubic(before, height, width, row + at[width + x], x + at[x], cell, CELL);
                fetch_bicubic(after, height, width, row + at[3 * width + x], x + at[2 * width + x],
                              cell + COLOURS * CELL, CELL);
            }
        }
        free(between);
    }
    return failed;
}

/* before, after, out (COLOURS, height, width); fetched as tweenlet_fetch_both leaves it; mask (height / 2, width / 2);
   correction (height / 2, width / 2, (COLOURS + 1) * CELL) or null; still (height, width). 1: not enough memory. */
int tweenlet_mix(const float *before, const float *after, const float *fetched, const float *mask,
                 const float *correction, const float *still, float *out, ptrdiff_t mask_row, ptrdiff_t mask_pixel,
                 int height, int width, int threads) {
    const int small = width / 2, channels = 2 * COLOURS * CELL, corrected = (COLOURS + 1) * CELL;
    const int padded = (width + LANES - 1) / LANES * LANES;
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *share = calloc(padded + small + 2, sizeof(float)), *between = share + padded;
        if (!share) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic, 8)
        for (int row = 0; row < height; row++) {
            if (failed) continue;
            enlarged_row(mask, mask_row, mask_pixel, height / 2, small, row, between, share);
            const float *cells = fetched + (ptrdiff_t)(row / 2) * small * channels + row % 2 * 2;
            const float *more = correction ? correction + (ptrdiff_t)(row / 2) * small * corrected + row % 2 * 2 : NULL;
            if (more)
                for (int x = 0; x < width; x++)
                    share[x] += more[(ptrdiff_t)(x / 2) * corrected + x % 2 + COLOURS * CELL];
            sigmoid_row(share, padded);
            for (int colour = 0; colour < COLOURS; colour++) {
                const ptrdiff_t place = colour * plane + (ptrdiff_t)row * width;
                for (int x = 0; x < width; x++) {
                    const float *cell = cells + (ptrdiff_t)(x / 2) * channels + x % 2 + colour * CELL;
                    const float second = cell[COLOURS * CELL];
                    float value = second + share[x] * (cell[0] - second);
                    if (more) value += more[(ptrdiff_t)(x / 2) * corrected + x % 2 + colour * CELL];
                    const float mean = 0.5f * (before[place + x] + after[place + x]);
                    out[place + x] = value + still[(ptrdiff_t)row * width + x] * (mean - value);
                }
            }
        }
        free(share);
    }
    return failed;
}
