/* Pixels thrown to where flow points, summed up there. ops/splat.py calls it. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

/* values (planes, height, width), flow (2, height, width) -> total (planes, height, width). Each thread sums up some rows of
   the total, in one order whatever the threads. 1: not enough memory. */
int splat_sum(const float *values, const float *flow, float *total, int planes, int height, int width, int threads) {
    const long plane = (long)height * width;
    const int lanes = (planes + 3) / 4 * 4, bands = at_most(threads, height);
    float *sums = malloc(sizeof(float) * plane * lanes);
    if (!sums) return 1;
    #pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int band = 0; band < bands; band++) {
        const int start = (long)height * band / bands, end = (long)height * (band + 1) / bands;
        memset(sums + (long)start * width * lanes, 0, sizeof(float) * (end - start) * width * lanes);
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++) {
                const long here = (long)row * width + column;
                const float x = column + flow[here], y = row + flow[plane + here];
                if (!(y > start - 1 && y < end && x > -1 && x < width)) continue;
                const int left = floorf(x), top = floorf(y);
                for (int below = 0; below < 2; below++)
                    for (int beside = 0; beside < 2; beside++) {
                        const int at_row = top + below, at_column = left + beside;
                        if (at_row < start || at_row >= end || at_column < 0 || at_column >= width) continue;
                        const float share = (below ? y - top : 1 - (y - top)) * (beside ? x - left : 1 - (x - left));
                        float *to = sums + ((long)at_row * width + at_column) * lanes;
                        for (int number = 0; number < planes; number++) to[number] += share * values[number * plane + here];
                    }
            }
        for (int number = 0; number < planes; number++)
            for (long pixel = (long)start * width; pixel < (long)end * width; pixel++)
                total[number * plane + pixel] = sums[pixel * lanes + number];
    }
    free(sums);
    return 0;
}
