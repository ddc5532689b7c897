/* What keeps its shape and shade over four frames, and how blocks of pixels change. ops/overlay.py calls it.

    frames -> of each pixel: its mean in time, and how far it goes from that -> the same of patches
                                                                               -> what keeps its shape, and so its pixels
           -> of each block: how much it differs from each frame to the next                                             */

#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#include "frames.h"

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

#define FRAMES 4
#define COLOURS 3
#define PATCH 5 /* pixels a side: this and BLOCK as in ops/overlay.py */
#define BLOCK 8
#define MEANS (COLOURS + 2) /* of a pixel, that are averaged over patches: its colours, their squares, its variance in time */

/* From 0 at the one end to 1 at the other. */
ALWAYS float ramp(float x, float none, float full) { return clamped((x - none) / (full - none), 0, 1); }

/* A row of all frames -> MEANS and, after these, how far the pixels go from their means, each so far apart; and what is from
   each frame to the next is added to steps. An outer frame that repeats its neighbour goes on as the middle two do. */
static void look(const float *frames, long plane, const int *repeats, float *means, long apart, float *steps, int width) {
    const int first_repeats = repeats[0], last_repeats = repeats[1];
    #pragma omp simd
    for (int x = 0; x < width; x++) {
        float square = 0, variance = 0, most = 0, step[FRAMES - 1] = {0};
        UNROLL(3)
        for (int colour = 0; colour < COLOURS; colour++) {
            const float *of = frames + colour * plane + x, before = of[COLOURS * plane], after = of[2 * COLOURS * plane];
            const float first = first_repeats ? 2 * before - after : of[0];
            const float last = last_repeats ? 2 * after - before : of[3 * COLOURS * plane];
            const float now[FRAMES] = {first, before, after, last}, mean = (first + before + after + last) / FRAMES;
            UNROLL(4)
            for (int k = 0; k < FRAMES; k++) {
                const float away = now[k] - mean;
                variance += away * away;
                most = most > fabsf(away) ? most : fabsf(away);
                if (k < FRAMES - 1) step[k] += fabsf(now[k + 1] - now[k]);
            }
            means[colour * apart + x] = mean;
            square += mean * mean;
        }
        means[COLOURS * apart + x] = square / COLOURS;
        means[(COLOURS + 1) * apart + x] = variance / (COLOURS * FRAMES);
        means[MEANS * apart + x] = most;
        UNROLL(3)
        for (int k = 0; k < FRAMES - 1; k++) steps[k * width + x] += step[k];
    }
}

/* Frames (FRAMES, COLOURS, height, width), and whether the first and the last repeat their neighbours -> kept (height, width),
   from 0 to 1, and steps (FRAMES - 1, height / BLOCK, width / BLOCK). Shapes and shades are not kept at all at the one end,
   and fully at the other. 1: not enough memory. */
int keeping(const float *frames, const int *repeats, float *kept, float *steps, int height, int width, float noise,
            float no_shape, float full_shape, float no_shade, float full_shade, int threads) {
    const long plane = (long)height * width, line = width + PATCH - 1, of_thread = (MEANS + 1) * line;
    const int down = height / BLOCK, across = width / BLOCK;
    float *room = malloc(sizeof(float) * ((MEANS + 3) * plane + threads * of_thread));
    if (!room) return 1;
    float *away = room + MEANS * plane, *shape = away + plane, *contrast = shape + plane, *rows = contrast + plane;
    #pragma omp parallel num_threads(threads)
    {
        float *own = rows + omp_get_thread_num() * of_thread, *shares = own + MEANS * line;
        #pragma omp for schedule(static)
        for (int block = 0; block < down; block++) {
            memset(own, 0, sizeof(float) * (FRAMES - 1) * width);
            for (int row = block * BLOCK; row < (block + 1) * BLOCK; row++)
                look(frames + (long)row * width, plane, repeats, room + (long)row * width, plane, own, width);
            for (int k = 0; k < FRAMES - 1; k++)
                for (int column = 0; column < across; column++) {
                    float sum = 0;
                    for (int x = 0; x < BLOCK; x++) sum += own[k * width + column * BLOCK + x];
                    steps[((long)k * down + block) * across + column] = sum / (COLOURS * BLOCK * BLOCK);
                }
        }
        for (int x = 0; x < width; x++)
            shares[x] = 1.0f / (at_most(x + PATCH / 2, width - 1) - inside(x - PATCH / 2, width) + 1);
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const int first = inside(row - PATCH / 2, height), end = inside(row + PATCH / 2, height) + 1;
            memset(own, 0, sizeof(float) * MEANS * line);
            for (int k = 0; k < MEANS; k++) {
                float *to = own + k * line + PATCH / 2;
                for (int other = first; other < end; other++) {
                    const float *from = room + k * plane + (long)other * width;
                    for (int x = 0; x < width; x++) to[x] += from[x];
                }
            }
            float *to = shape + (long)row * width, *deviation = contrast + (long)row * width;
            #pragma omp simd
            for (int x = 0; x < width; x++) {
                float mean[MEANS] = {0};
                UNROLL(5)
                for (int k = 0; k < MEANS; k++) {
                    UNROLL(5)
                    for (int tap = 0; tap < PATCH; tap++) mean[k] += own[k * line + x + tap];
                    mean[k] *= shares[x] / (end - first);
                }
                float variance = mean[COLOURS];
                UNROLL(3)
                for (int colour = 0; colour < COLOURS; colour++) variance -= mean[colour] * mean[colour] / COLOURS;
                variance = variance > 0 ? variance : 0;
                to[x] = ramp(variance / (mean[COLOURS + 1] + noise * noise), no_shape, full_shape);
                deviation[x] = sqrtf(variance);
            }
        }
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            float *most = own + 1;
            for (int x = 0; x < width; x++) most[x] = shape[(long)row * width + x];
            for (int other = row - 1; other <= row + 1; other += 2)
                for (int x = 0; x < width; x++) {
                    const float one = shape[(long)inside(other, height) * width + x];
                    most[x] = most[x] > one ? most[x] : one;
                }
            most[-1] = most[width] = 0;
            #pragma omp simd
            for (int x = 0; x < width; x++) {
                const long pixel = (long)row * width + x;
                const float beside = most[x - 1] > most[x + 1] ? most[x - 1] : most[x + 1];
                const float any = most[x] > beside ? most[x] : beside;
                kept[pixel] = any * ramp(away[pixel] / (contrast[pixel] + noise), no_shade, full_shade);
            }
        }
    }
    free(room);
    return 0;
}
