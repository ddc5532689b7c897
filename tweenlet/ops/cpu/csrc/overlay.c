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
#define MEANS                                                                                                          \
    (CHANNELS +                                                                                                        \
     2) /* values of a pixel that are averaged over patches: its colours, their squares, its variance in time */

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

/* Frames (FRAMES, COLOURS, height, width), and whether the first and the last repeat their neighbours -> kept (height, width),
   from 0 to 1, and steps (FRAMES - 1, height / BLOCK, width / BLOCK). Shapes and shades are not kept at all at the one end,
   and fully at the other. 1: not enough memory. */
int tweenlet_static_overlay(const float *frames, const int *duplicates, float *persistence, float *changes, int height,
                            int width, float noise, float no_shape, float full_shape, float no_shade, float full_shade,
                            int threads) {
    const ptrdiff_t plane = (ptrdiff_t)height * width, line = width + PATCH - 1, per_thread = (MEANS + 1) * line;
    const int down = height / BLOCK, across = width / BLOCK;
    float *workspace = malloc(sizeof(float) * ((MEANS + 3) * plane + threads * per_thread));
    if (!workspace) return 1;
    float *away = workspace + MEANS * plane, *shape = away + plane, *contrast = shape + plane, *rows = contrast + plane;
#pragma omp parallel num_threads(threads)
    {
        float *own = rows + omp_get_thread_num() * per_thread, *shares = own + MEANS * line;
#pragma omp for schedule(static)
        for (int block = 0; block < down; block++) {
            memset(own, 0, sizeof(float) * (FRAMES - 1) * width);
            for (int row = block * BLOCK; row < (block + 1) * BLOCK; row++)
                temporal_statistics_row(frames + (ptrdiff_t)row * width, plane, duplicates,
                                        workspace + (ptrdiff_t)row * width, plane, own, width);
            for (int k = 0; k < FRAMES - 1; k++)
                for (int column = 0; column < across; column++) {
                    float sum = 0;
                    for (int x = 0; x < BLOCK; x++) sum += own[k * width + column * BLOCK + x];
                    changes[((ptrdiff_t)k * down + block) * across + column] = sum / (CHANNELS * BLOCK * BLOCK);
                }
        }
        for (int x = 0; x < width; x++)
            shares[x] = 1.0f / (at_most(x + PATCH / 2, width - 1) - clamp_index(x - PATCH / 2, width) + 1);
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const int first = clamp_index(row - PATCH / 2, height), end = clamp_index(row + PATCH / 2, height) + 1;
            memset(own, 0, sizeof(float) * MEANS * line);
            for (int k = 0; k < MEANS; k++) {
                float *to = own + k * line + PATCH / 2;
                for (int other = first; other < end; other++) {
                    const float *from = workspace + k * plane + (ptrdiff_t)other * width;
                    for (int x = 0; x < width; x++) to[x] += from[x];
                }
            }
            float *to = shape + (ptrdiff_t)row * width, *deviation = contrast + (ptrdiff_t)row * width;
#pragma omp simd
            for (int x = 0; x < width; x++) {
                float mean[MEANS] = {0};
                UNROLL(5)
                for (int k = 0; k < MEANS; k++) {
                    UNROLL(5)
                    for (int tap = 0; tap < PATCH; tap++) mean[k] += own[k * line + x + tap];
                    mean[k] *= shares[x] / (end - first);
                }
                float variance = mean[CHANNELS];
                UNROLL(3)
                for (int channel = 0; channel < CHANNELS; channel++)
                    variance -= mean[channel] * mean[channel] / CHANNELS;
                variance = variance > 0 ? variance : 0;
                to[x] = ramp(variance / (mean[CHANNELS + 1] + noise * noise), no_shape, full_shape);
                deviation[x] = sqrtf(variance);
            }
        }
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            float *most = own + 1;
            for (int x = 0; x < width; x++) most[x] = shape[(ptrdiff_t)row * width + x];
            for (int other = row - 1; other <= row + 1; other += 2)
                for (int x = 0; x < width; x++) {
                    const float one = shape[(ptrdiff_t)clamp_index(other, height) * width + x];
                    most[x] = most[x] > one ? most[x] : one;
                }
            most[-1] = most[width] = 0;
#pragma omp simd
            for (int x = 0; x < width; x++) {
                const ptrdiff_t pixel = (ptrdiff_t)row * width + x;
                const float beside = most[x - 1] > most[x + 1] ? most[x - 1] : most[x + 1];
                const float any = most[x] > beside ? most[x] : beside;
                persistence[pixel] = any * ramp(away[pixel] / (contrast[pixel] + noise), no_shade, full_shade);
            }
        }
    }
    free(workspace);
    return 0;
}
