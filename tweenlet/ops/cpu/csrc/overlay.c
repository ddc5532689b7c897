/* What keeps its shape and shade over four frames, and how blocks of pixels change. ops/cpu/overlay.py calls it.

    frames -> of each pixel: its mean in time, and how far it goes from that -> the same of patches
                                                                               -> what keeps its shape, and so its pixels
           -> of each block: how much it differs from each frame to the next                                             */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define FRAMES 4
#define CHANNELS 3
#define PATCH 5 /* side of a patch in pixels; this and BLOCK as in ops/overlay.py */
#define BLOCK 8
#define MEANS (CHANNELS + 2) /* of a pixel, averaged over patches: its colours, their squares, its variance in time */

/* Linear from 0 at `none` to 1 at `full`, clamped. */
INLINE float ramp(float x, float none, float full) { return clamp((x - none) / (full - none), 0, 1); }

/* A row of all frames -> MEANS and, after these, how far the pixels go from their means, each so far apart; and what is from
   each frame to the next is added to steps. An outer frame that repeats its neighbour goes on as the middle two do. */
static void temporal_statistics_row(const float *frames, ptrdiff_t plane, const int *duplicates, float *means,
                                    ptrdiff_t stride, float *changes, int width) {
    const int first_is_duplicate = duplicates[0], last_is_duplicate = duplicates[1];
#pragma omp simd
    for (int x = 0; x < width; x++) {
        float square = 0, variance = 0, most = 0, change[FRAMES - 1] = {0};
        UNROLL(3)
        for (int channel = 0; channel < CHANNELS; channel++) {
            const float *of = frames + channel * plane + x, before = of[CHANNELS * plane],
                        after = of[2 * CHANNELS * plane];
            const float first = first_is_duplicate ? 2 * before - after : of[0];
            const float last = last_is_duplicate ? 2 * after - before : of[3 * CHANNELS * plane];
            const float now[FRAMES] = {first, before, after, last}, mean = (first + before + after + last) / FRAMES;
            UNROLL(4)
            for (int k = 0; k < FRAMES; k++) {
                const float away = now[k] - mean;
                variance += away * away;
                most = most > fabsf(away) ? most : fabsf(away);
                if (k < FRAMES - 1) change[k] += fabsf(now[k + 1] - now[k]);
            }
            means[channel * stride + x] = mean;
            square += mean * mean;
        }
        means[CHANNELS * stride + x] = square / CHANNELS;
        means[(CHANNELS + 1) * stride + x] = variance / (CHANNELS * FRAMES);
        means[MEANS * stride + x] = most;
        UNROLL(3)
        for (int k = 0; k < FRAMES - 1; k++) changes[k * width + x] += change[k];
    }
}

/* What is known of some rows, each of them in slot row % SLOTS. */
struct slots {
    float *values;
    ptrdiff_t line; /* numbers of a value in a slot */
};

#define SLOTS 8  /* more rows than one depends on */
#define STRIP 64 /* rows that a thread takes at a time, whole blocks; three more on either side are looked at */
enum {
    AWAY = MEANS,
    SHAPE,
    CONTRAST,
    VALUES
}; /* of a slot after the MEANS: how far pixels go from their mean in time, how
                                                   much shape is kept, and the deviation of patches */

INLINE float *slot(const struct slots *slots, int row, int value) {
    return slots->values + (row % SLOTS * VALUES + value) * slots->line;
}

struct ramps {
    float noise, no_shape, full_shape, no_shade, full_shade;
};

/* The shape that is kept and the contrast of a row, from the means of the rows around it. sums: MEANS lines with room for a
   patch; shares: one over how many columns of a patch are inside. */
static void shape_row(const struct slots *slots, int row, int height, int width, const struct ramps *ramps, float *sums,
                      const float *shares) {
    const int first = clamp_index(row - PATCH / 2, height), end = clamp_index(row + PATCH / 2, height) + 1;
    const ptrdiff_t line = slots->line;
    for (int k = 0; k < MEANS; k++) {
        float *to = sums + k * line + PATCH / 2;
        for (int other = first; other < end; other++) {
            const float *from = slot(slots, other, k);
            for (int x = 0; x < width; x++) to[x] = other > first ? to[x] + from[x] : from[x];
        }
    }
    float *shape = slot(slots, row, SHAPE), *deviation = slot(slots, row, CONTRAST);
#pragma omp simd
    for (int x = 0; x < width; x++) {
        float mean[MEANS] = {0};
        UNROLL(5)
        for (int k = 0; k < MEANS; k++) {
            UNROLL(5)
            for (int tap = 0; tap < PATCH; tap++) mean[k] += sums[k * line + x + tap];
            mean[k] *= shares[x] / (end - first);
        }
        float variance = mean[CHANNELS];
        UNROLL(3)
        for (int channel = 0; channel < CHANNELS; channel++) variance -= mean[channel] * mean[channel] / CHANNELS;
        variance = variance > 0 ? variance : 0;
        shape[x] =
            ramp(variance / (mean[CHANNELS + 1] + ramps->noise * ramps->noise), ramps->no_shape, ramps->full_shape);
        deviation[x] = sqrtf(variance);
    }
}

/* The persistence of a row, from the shape of the rows around it. most: a line with room on either side. */
static void persistence_row(const struct slots *slots, int row, int height, int width, const struct ramps *ramps,
                            float *most, float *persistence) {
    const float *above = slot(slots, clamp_index(row - 1, height), SHAPE), *here = slot(slots, row, SHAPE),
                *below = slot(slots, clamp_index(row + 1, height), SHAPE);
    for (int x = 0; x < width; x++) {
        const float beside = above[x] > below[x] ? above[x] : below[x];
        most[x] = here[x] > beside ? here[x] : beside;
    }
    most[-1] = most[width] = 0;
    const float *away = slot(slots, row, AWAY), *contrast = slot(slots, row, CONTRAST);
#pragma omp simd
    for (int x = 0; x < width; x++) {
        const float beside = most[x - 1] > most[x + 1] ? most[x - 1] : most[x + 1];
        const float any = most[x] > beside ? most[x] : beside;
        persistence[x] = any * ramp(away[x] / (contrast[x] + ramps->noise), ramps->no_shade, ramps->full_shade);
    }
}

/* Frames (FRAMES, COLOURS, height, width), and whether the first and the last repeat their neighbours -> kept (height, width),
   from 0 to 1, and steps (FRAMES - 1, height / BLOCK, width / BLOCK). Shapes and shades are not kept at all at the one end,
   and fully at the other. 1: not enough memory. */
int tweenlet_static_overlay(const float *frames, const int *duplicates, float *persistence, float *changes, int height,
                            int width, float noise, float no_shape, float full_shape, float no_shade, float full_shade,
                            int threads) {
    const struct ramps ramps = {noise, no_shape, full_shape, no_shade, full_shade};
    const ptrdiff_t plane = (ptrdiff_t)height * width, line = width + PATCH - 1;
    const int down = height / BLOCK, across = width / BLOCK;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *room = calloc((SLOTS * VALUES + MEANS + FRAMES + 2) * line, sizeof(float));
        float *sums = room + SLOTS * VALUES * line, *shares = sums + MEANS * line, *most = shares + line + 1;
        float *own = most + line;
        const struct slots slots = {room, line};
        if (!room) {
#pragma omp atomic write
            failed = 1;
        } else {
            for (int x = 0; x < width; x++)
                shares[x] = 1.0f / (at_most(x + PATCH / 2, width - 1) - clamp_index(x - PATCH / 2, width) + 1);
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int strip = 0; strip < (height + STRIP - 1) / STRIP; strip++) {
            if (failed) continue;
            const int top = strip * STRIP, bottom = at_most(top + STRIP, height);
            for (int row = top - 3; row < bottom + 3; row++) {
                if (row >= 0 && row < height) {
                    if (row % BLOCK == 0) memset(own, 0, sizeof(float) * (FRAMES - 1) * width);
                    temporal_statistics_row(frames + (ptrdiff_t)row * width, plane, duplicates, slot(&slots, row, 0),
                                            line, own, width);
                    if (row >= top && row < bottom && row % BLOCK == BLOCK - 1)
                        for (int k = 0; k < FRAMES - 1; k++)
                            for (int column = 0; column < across; column++) {
                                float sum = 0;
                                for (int x = 0; x < BLOCK; x++) sum += own[k * width + column * BLOCK + x];
                                changes[((ptrdiff_t)k * down + row / BLOCK) * across + column] =
                                    sum / (CHANNELS * BLOCK * BLOCK);
                            }
                }
                const int shaped = row - PATCH / 2, done = shaped - 1;
                if (shaped >= 0 && shaped >= top - 1 && shaped <= bottom && shaped < height)
                    shape_row(&slots, shaped, height, width, &ramps, sums, shares);
                if (done >= top)
                    persistence_row(&slots, done, height, width, &ramps, most, persistence + (ptrdiff_t)done * width);
            }
        }
        free(room);
    }
    return failed;
}
