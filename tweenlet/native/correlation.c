/* Each pixel of one map times the 81 around it in another: sums over channels. ops/correlation.py calls it.

    second  -> rows of [channel][pixel], zeros around
    first   -> a few pixels side by side, [channel][pixel]
    both    -> each of those pixels times 16 of the row at once; 9 in a row of the 16 are what it asked for -> made

A few pixels share one load of 16, and a few of the nine rows share one load of a pixel.
*/

#include <stdlib.h>
#include <string.h>

#define LANES 16
#define REACH 4
#define SIDE (2 * REACH + 1)
#define MATCHES (SIDE * SIDE)
#ifdef __AVX512F__ /* as many sums as there are registers for */
#define PIXELS 8
#define ROWS 3 /* divides SIDE */
#else
#define PIXELS 6
#define ROWS 1
#endif

#define ALWAYS static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

struct map {
    const float *values;
    long sample, channel, row, pixel; /* how far apart, in floats */
};

/* So many pixels of a row -> [channel][pixel], channels so far apart. */
ALWAYS void pack(const struct map *map, long place, float *to, long apart, int channels, int pixels) {
    const float *from = map->values + place;
    if (map->pixel == 1)
        for (int channel = 0; channel < channels; channel++)
            memcpy(to + channel * apart, from + channel * map->channel, 4 * pixels);
    else
        for (int pixel = 0; pixel < pixels; pixel++)
            for (int channel = 0; channel < channels; channel++)
                to[channel * apart + pixel] = from[pixel * map->pixel + channel * map->channel];
}

/* PIXELS of first times ROWS rows of second; written for so many of the pixels. */
ALWAYS void products(const float *first, const float *second, long line, long apart, int channels, float *made,
                     int pixels) {
    const float share = 1.0f / channels;
    vec sum[ROWS][PIXELS];
    #pragma GCC unroll 3
    for (int row = 0; row < ROWS; row++)
        #pragma GCC unroll 8
        for (int pixel = 0; pixel < PIXELS; pixel++) sum[row][pixel] = (vec){0};
    for (int channel = 0; channel < channels; channel++, first += PIXELS, second += apart) {
        vec there[ROWS];
        #pragma GCC unroll 3
        for (int row = 0; row < ROWS; row++) there[row] = *(const vec *)(second + row * line);
        #pragma GCC unroll 8
        for (int pixel = 0; pixel < PIXELS; pixel++) {
            vec here = (vec){0} + first[pixel];
            #pragma GCC unroll 3
            for (int row = 0; row < ROWS; row++) sum[row][pixel] += here * there[row];
        }
    }
    #pragma GCC unroll 8
    for (int pixel = 0; pixel < PIXELS; pixel++)
        #pragma GCC unroll 3
        for (int row = 0; row < ROWS; row++) {
            vec mean = share * sum[row][pixel];
            if (pixel < pixels) memcpy(made + pixel * MATCHES + row * SIDE, (float *)&mean + pixel, 4 * SIDE);
        }
}

/* Means over channels of first (p) second (p + d): (batch, height, width, MATCHES). 1: no memory. */
int correlate(const struct map *first, const struct map *second, float *made, int batch, int channels, int height,
              int width, int threads) {
    const int blocks = (width + PIXELS - 1) / PIXELS, tall = height + 2 * REACH;
    /* an odd number of cache lines apart, so that the channels of a pixel do not fight for the same few */
    const long apart = (((blocks - 1) * PIXELS + 2 * LANES - 1) / LANES | 1) * LANES, line = channels * apart;
    float *around = aligned_alloc(64, 4 * line * tall * batch);
    int failed = !around;
    #pragma omp parallel num_threads(threads)
    {
        float *few = calloc((size_t)channels * PIXELS, 4);
        if (!few) {
            #pragma omp atomic write
            failed = 1;
        }
        #pragma omp barrier
        #pragma omp for schedule(dynamic)
        for (int row = 0; row < batch * tall; row++) {
            if (failed) continue;
            int y = row % tall - REACH;
            float *to = around + row * line;
            memset(to, 0, 4 * line);
            if (y >= 0 && y < height)
                pack(second, row / tall * second->sample + y * second->row, to + REACH, apart, channels, width);
        }
        #pragma omp for schedule(dynamic)
        for (int row = 0; row < batch * height; row++) {
            if (failed) continue;
            int sample = row / height, y = row % height;
            for (int x = 0; x < width; x += PIXELS) {
                int pixels = width - x < PIXELS ? width - x : PIXELS;
                pack(first, sample * first->sample + y * first->row + x * first->pixel, few, PIXELS, channels, pixels);
                for (int down = 0; down < SIDE; down += ROWS)
                    products(few, around + ((long)sample * tall + y + down) * line + x, line, apart, channels,
                             made + ((long)row * width + x) * MATCHES + down * SIDE, pixels);
            }
        }
        free(few);
    }
    free(around);
    return failed;
}
