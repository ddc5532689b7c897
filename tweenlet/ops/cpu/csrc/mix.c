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

/* Two neighbours of two rows each, as one quad. */
typedef double two __attribute__((aligned(4), may_alias));
typedef double two_by_two __attribute__((vector_size(16)));
INLINE quad load_cell(const float *upper, const float *lower) {
    return (quad)(two_by_two){*(const two *)upper, *(const two *)lower};
}
INLINE void store_cell(quad cell, float *upper, float *lower) {
    *(two *)upper = ((two_by_two)cell)[0], *(two *)lower = ((two_by_two)cell)[1];
}

/* Points of a row of a frame: the index of the top left one of the 4x4 pixels around each, BORDER if some are outside, and
   how far each is from the second pixel. */
struct points {
    int *first;
    float *across, *down;
};
#define BORDER (-1)

/* The place of the point `beside` from `pixel`. Not so far outside that it does not fit an int. */
INLINE float place_of(float beside, int pixel, int size) { return clamp(pixel + beside, -4, size + 3); }

static void find_points(const float *x, const float *y, int row, int height, int width, struct points points) {
#pragma omp simd
    for (int k = 0; k < width; k++) {
        const float across = place_of(x[k], k, width), down = place_of(y[k], row, height);
        const float left = floorf(across), top = floorf(down);
        const int inside = top >= 1 && top < height - 2 && left >= 1 && left < width - 2;
        points.across[k] = across - left, points.down[k] = down - top;
        points.first[k] = inside ? ((int)top - 1) * width + (int)left - 1 : BORDER;
    }
}

/* Bicubic samples of a planar frame, of a row of points, which are x and y from its pixels. Their colours are written CELL
   apart, pixels two to a cell, cells `cell` apart. The border is repeated. */
static void fetch_row(const float *frame, const float *x, const float *y, int row, int height, int width,
                      struct points points, float *to, int cell) {
    find_points(x, y, row, height, width, points);
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    for (int k = 0; k < width; k++) {
        const quad down = cubic_shares(points.down[k]), across = cubic_shares(points.across[k]);
        quad products[COLOURS];
        if (points.first[k] != BORDER) {
            const float *first = frame + points.first[k];
            UNROLL(3)
            for (int colour = 0; colour < COLOURS; colour++, first += plane)
                products[colour] = across * (down[0] * *(const quad *)first + down[1] * *(const quad *)(first + width) +
                                             down[2] * *(const quad *)(first + 2 * width) +
                                             down[3] * *(const quad *)(first + 3 * width));
        } else {
            const int top = floorf(place_of(y[k], row, height)), left = floorf(place_of(x[k], k, width));
            for (int colour = 0; colour < COLOURS; colour++) {
                products[colour] = (quad){0};
                for (int i = 0; i < 4; i++) {
                    const float *line = frame + colour * plane + (ptrdiff_t)clamp_index(top - 1 + i, height) * width;
                    for (int j = 0; j < 4; j++)
                        products[colour][j] += down[i] * across[j] * line[clamp_index(left - 1 + j, width)];
                }
            }
        }
        const quad sums = sums_of(products[0], products[1], products[2]);
        float *const pixel = to + (ptrdiff_t)(k / 2) * cell + k % 2;
        UNROLL(3)
        for (int colour = 0; colour < COLOURS; colour++) pixel[colour * CELL] = sums[colour];
    }
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
        float *between = malloc(sizeof(float) * (small + 2 + 7L * width)), *at = between + small + 2;
        const struct points points = {(int *)(at + 6 * width), at + 4 * width, at + 5 * width};
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
            fetch_row(before, at, at + width, row, height, width, points, to, channels);
            fetch_row(after, at + 2 * width, at + 3 * width, row, height, width, points, to + COLOURS * CELL, channels);
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
    const int small = width / 2, padded = (CELL * small + LANES - 1) / LANES * LANES;
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *share = calloc(padded + 2 * width + small + 2, sizeof(float)), *lines = share + padded,
              *between = lines + 2 * width;
        if (!share) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic, 4)
        for (int cells = 0; cells < height / 2; cells++) {
            if (failed) continue;
            for (int row = 0; row < 2; row++)
                enlarged_row(mask, mask_row, mask_pixel, height / 2, small, 2 * cells + row, between,
                             lines + row * width);
            const quad *first = (const quad *)fetched + (ptrdiff_t)cells * small * 2 * COLOURS;
            const quad *more = correction ? (const quad *)correction + (ptrdiff_t)cells * small * (COLOURS + 1) : NULL;
            for (int cell = 0; cell < small; cell++) {
                quad logits = load_cell(lines + 2 * cell, lines + width + 2 * cell);
                if (more) logits += more[(COLOURS + 1) * (ptrdiff_t)cell + COLOURS];
                ((quad *)share)[cell] = logits;
            }
            sigmoid_row(share, padded);
            for (int cell = 0; cell < small; cell++, first += 2 * COLOURS, more += more ? COLOURS + 1 : 0) {
                const ptrdiff_t upper = 2 * (ptrdiff_t)cells * width + 2 * cell, lower = upper + width;
                const quad mine = ((const quad *)share)[cell], stays = load_cell(still + upper, still + lower);
                UNROLL(3)
                for (int colour = 0; colour < COLOURS; colour++) {
                    const ptrdiff_t start = colour * plane;
                    const quad second = first[COLOURS + colour];
                    quad value = second + mine * (first[colour] - second);
                    if (more) value += more[colour];
                    const quad mean = 0.5f * (load_cell(before + start + upper, before + start + lower) +
                                              load_cell(after + start + upper, after + start + lower));
                    store_cell(value + stays * (mean - value), out + start + upper, out + start + lower);
                }
            }
        }
        free(share);
    }
    return failed;
}
