/* Pictures fetched from between their pixels, where flow points. ops/warp.py calls it. */

#include "vectors.h"

#include "frames.h"

/* What lies along x and y: how far it is in floats from one pixel of a row to the next, and from x to y. Rows lie close. */
struct flow {
    const float *values;
    long pixel, other;
};

/* source (planes, height, width) -> made, the same. */
void sample_planes(const float *source, const struct flow *flow, float *made, int planes, int height, int width, int threads) {
    const long plane = (long)height * width;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *u = flow->values + (long)row * width * flow->pixel, *v = u + flow->other;
        const long pixel = flow->pixel;
        for (int number = 0; number < planes; number++) {
            const struct frame frame = {source + number * plane, height, width};
            float *to = made + number * plane + (long)row * width;
            #pragma omp simd
            for (int x = 0; x < width; x++) to[x] = sampled(frame, row + v[x * pixel], x + u[x * pixel]);
        }
    }
}

/* source (height, width, channels) -> made, the same; in both, pixels lie so far apart as told. */
void sample_pixels(const float *source, long source_apart, const struct flow *flow, float *made, long made_apart,
                   int channels, int height, int width, int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *vector = flow->values + (long)row * width * flow->pixel;
        char *to = (char *)(made + (long)row * width * made_apart);
        for (int column = 0; column < width; column++, vector += flow->pixel, to += 4 * made_apart) {
            const float y = clamped(row + vector[flow->other], 0, height - 1), x = clamped(column + vector[0], 0, width - 1);
            const int top = y, left = x;
            const float below = y - top, beside = x - left;
            const char *upper = (const char *)(source + ((long)top * width + left) * source_apart);
            const long right = left + 1 < width ? 4 * source_apart : 0, down = top + 1 < height ? 4 * source_apart * width : 0;
            for (int channel = 0; channel < channels; channel += LANES) {
                const some these = first(channels - channel);
                const char *here = upper + 4 * channel;
                vec above = load_floats(here, these), under = load_floats(here + down, these);
                above += beside * (load_floats(here + right, these) - above);
                under += beside * (load_floats(here + down + right, these) - under);
                store_floats(to + 4 * channel, above + below * (under - above), these);
            }
        }
    }
}
