/* Pixels added to where flow points. ops/cpu/splat.py calls it. */

#include <string.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

/* values (planes, height, width), flow (2, height, width) -> total (planes, height, width). Each thread sums up some rows of
   the total, so that the order is one whatever the threads. 0. */
int tweenlet_splat_sum(const float *values, const float *flow, float *total, int planes, int height, int width,
                       int threads) {
    const long plane = (long)height * width;
    const int bands = at_most(threads, height);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int band = 0; band < bands; band++) {
        const int start = (long)height * band / bands, end = (long)height * (band + 1) / bands;
        for (int number = 0; number < planes; number++)
            memset(total + number * plane + (long)start * width, 0, sizeof(float) * (end - start) * width);
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++) {
                const long here = (long)row * width + column;
                long pixels[4];
                float shares[4];
                const int count =
                    splat_targets(row + flow[plane + here], column + flow[here], start, end, width, pixels, shares);
                for (int number = 0; number < planes; number++)
                    for (int k = 0; k < count; k++)
                        total[number * plane + pixels[k]] += shares[k] * values[number * plane + here];
            }
    }
    return 0;
}
