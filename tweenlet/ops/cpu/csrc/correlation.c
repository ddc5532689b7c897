/* Each pixel of one map times the 81 around it in another: means over channels. ops/cpu/correlation.py calls it.

    second  -> rows of [channel][pixel], zeros around
    first   -> LANES pixels of a few rows, [row][channel][pixel]
    both    -> a row of second, moved by nine steps, times each row of first -> [match][pixel] -> [pixel][match]
*/

#include <string.h>

#include "aligned.h"
#include "tweenlet.h"

#include "transpose.h"
#include "unroll.h"

#define REACH 4
#define SIDE (2 * REACH + 1)
#define MATCHES (SIDE * SIDE)
#ifdef __AVX512F__ /* LANES pixels of ROWS rows at once: SIDE * ROWS sums, as many as there are registers for */
#define LANES 16
#define ROWS 3
#else
#define LANES 8
#define ROWS 1
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
static int at_most(int a, int b) { return a < b ? a : b; }

/* Pixels of a row -> [channel][pixel], channels `stride` floats apart. */
INLINE void pack_row(const struct tweenlet_strided *map, ptrdiff_t place, float *to, ptrdiff_t stride, int channels,
                     int pixels) {
    const float *from = map->values + place;
    if (map->pixel == 1)
        for (int channel = 0; channel < channels; channel++)
            memcpy(to + channel * stride, from + channel * map->channel, 4 * pixels);
    else if (map->channel == 1)
        transpose(from, map->pixel, to, stride, pixels, channels);
    else
        for (int pixel = 0; pixel < pixels; pixel++)
            for (int channel = 0; channel < channels; channel++)
                to[channel * stride + pixel] = from[pixel * map->pixel + channel * map->channel];
}

/* Rows of first times a row of second, at nine steps: the lower a row of first, the further up this is for it. */
INLINE void correlate_rows(const int rows, const float *first, const float *second, ptrdiff_t stride, int channels,
                           float (*out)[MATCHES][LANES]) {
    const float share = 1.0f / channels;
    vec sum[ROWS][SIDE];
    UNROLL(3)
    for (int row = 0; row < rows; row++) UNROLL(9)
    for (int step = 0; step < SIDE; step++) sum[row][step] = (vec){0};
    for (int channel = 0; channel < channels; channel++, second += stride) {
        vec here[ROWS];
        UNROLL(3)
        for (int row = 0; row < rows; row++)
            here[row] = *(const vec *)(first + ((ptrdiff_t)row * channels + channel) * LANES);
        UNROLL(9)
        for (int step = 0; step < SIDE; step++) {
            vec there = *(const vec *)(second + step);
#ifdef __AVX512F__
            __asm__("" : "+v"(there)); /* loaded once: across two cache lines, it costs two loads */
#endif
            UNROLL(3)
            for (int row = 0; row < rows; row++) sum[row][step] += here[row] * there;
        }
    }
    UNROLL(3)
    for (int row = 0; row < rows; row++) UNROLL(9)
    for (int step = 0; step < SIDE; step++)
        *(vec *)((float *)(out + row) + (step - row * SIDE) * LANES) = share * sum[row][step];
}

/* Means over channels of first (p) second (p + d): (batch, height, width, MATCHES). 1: no memory. */
int tweenlet_correlation(const struct tweenlet_strided *first, const struct tweenlet_strided *second, float *out,
                         int batch, int channels, int height, int width, int threads) {
    const int wide = (width + LANES - 1) / LANES * LANES, tall = height + SIDE - 1, groups = (height + ROWS - 1) / ROWS;
    /* an odd number of cache lines apart, so that the channels of a pixel do not map to the same few sets */
    const ptrdiff_t stride = ((wide + SIDE - 1 + 15) / 16 | 1) * 16, line = channels * stride;
    float *around = allocate_aligned(4 * line * tall * batch);
    int failed = !around;
#pragma omp parallel num_threads(threads)
    {
        float *block = allocate_aligned((size_t)4 * 16 * ROWS * channels);
        if (!block) {
#pragma omp atomic write
            failed = 1;
        } else
            memset(block, 0, (size_t)4 * 16 * ROWS * channels);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int row = 0; row < batch * tall; row++) {
            if (failed) continue;
            int y = row % tall - REACH;
            float *to = around + row * line;
            memset(to, 0, 4 * line);
            if (y >= 0 && y < height)
                pack_row(second, row / tall * second->sample + y * second->row, to + REACH, stride, channels, width);
        }
#pragma omp for schedule(dynamic)
        for (int group = 0; group < batch * groups; group++) {
            if (failed) continue;
            int sample = group / groups, y = group % groups * ROWS, rows = at_most(ROWS, height - y);
            for (int x = 0; x < width; x += LANES) {
                float matches[ROWS][MATCHES][LANES] __attribute__((aligned(64)));
                int pixels = at_most(LANES, width - x);
                for (int row = 0; row < rows; row++)
                    pack_row(first, sample * first->sample + (y + row) * first->row + x * first->pixel,
                             block + (ptrdiff_t)row * channels * LANES, LANES, channels, pixels);
                const float *there = around + ((ptrdiff_t)sample * tall + y) * line + x;
                for (int down = 0; down < SIDE - 1 + rows; down++, there += line) {
                    int top = down < SIDE ? 0 : down - SIDE + 1, count = at_most(down + 1, rows) - top;
                    const float *here = block + (ptrdiff_t)top * channels * LANES;
                    float(*to)[MATCHES][LANES] = (void *)matches[top][(down - top) * SIDE];
                    if (count == 1) correlate_rows(1, here, there, stride, channels, to);
#if ROWS == 3
                    else if (count == 2)
                        correlate_rows(2, here, there, stride, channels, to);
                    else
                        correlate_rows(3, here, there, stride, channels, to);
#endif
                }
                for (int row = 0; row < rows; row++)
                    transpose(matches[row][0], LANES,
                              out + (((ptrdiff_t)sample * height + y + row) * width + x) * MATCHES, MATCHES, MATCHES,
                              pixels);
            }
        }
        free_aligned(block);
    }
    free_aligned(around);
    return failed;
}
