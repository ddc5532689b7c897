/* Forward warp: pixels added to where flow points. ops/cpu/splat.py calls it. */

#include <math.h>
#include <string.h>

#include "tweenlet.h"

#include "vectors.h"

/* The pixels of rows start to end that a value at (y, x) is spread over, and the share of each. Returns how many, at most
   four; none where y or x is NaN. */
INLINE int splat_targets(float y, float x, int start, int end, int width, ptrdiff_t *pixels, float *shares) {
    if (!(y > start - 1 && y < end && x > -1 && x < width)) return 0;
    const int top = floorf(y), left = floorf(x);
    int count = 0;
    for (int below = 0; below < 2; below++)
        for (int beside = 0; beside < 2; beside++) {
            const int row = top + below, column = left + beside;
            if (row < start || row >= end || column < 0 || column >= width) continue;
            pixels[count] = (ptrdiff_t)row * width + column;
            shares[count++] = (below ? y - top : 1 - (y - top)) * (beside ? x - left : 1 - (x - left));
        }
    return count;
}

/* values (planes, height, width), flow (2, height, width) -> total (planes, height, width). Each thread sums some rows of the
   total, so that the order of additions does not depend on their number. Returns 0. */
int tweenlet_splat_sum(const float *values, const float *flow, float *total, int planes, int height, int width,
                       int threads) {
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    const int bands = at_most(threads, height);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int band = 0; band < bands; band++) {
        const int start = (ptrdiff_t)height * band / bands, end = (ptrdiff_t)height * (band + 1) / bands;
        for (int number = 0; number < planes; number++)
            memset(total + number * plane + (ptrdiff_t)start * width, 0, sizeof(float) * (end - start) * width);
        for (int row = 0; row < height; row++)
            for (int column = 0; column < width; column++) {
                const ptrdiff_t here = (ptrdiff_t)row * width + column;
                ptrdiff_t pixels[4];
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
