/* Pictures fetched from between their pixels, where flow points. ops/warp.py calls it. */

#include "vectors.h"

#include "frames.h"

static void planes_of_row(const float *source, const float *u, const float *v, long pixel, float *made, int row, int planes,
                          int height, int width) {
    const long plane = (long)height * width;
    for (int number = 0; number < planes; number++, source += plane, made += plane) {
        const struct frame frame = {source, height, width};
        #pragma omp simd
        for (int x = 0; x < width; x++) made[x] = sampled(frame, row + v[x * pixel], x + u[x * pixel]);
    }
}

/* Here and below, lengths are in floats: how far it is from a pixel of a row to the next one. */
static void pixels_of_row(const float *source, long from_pixel, const float *u, const float *v, long pixel, float *made,
                          long to_pixel, int row, int channels, int height, int width) {
    for (int column = 0; column < width; column++, made += to_pixel) {
        const struct place at = place_at(height, width, row + v[column * pixel], column + u[column * pixel]);
        const char *upper = (const char *)(source + at.first * from_pixel), *lower = upper + 4 * at.down * from_pixel;
        const long right = 4 * at.right * from_pixel;
        for (int channel = 0; channel < channels; channel += LANES) {
            const some these = first(channels - channel);
            const long here = 4 * channel;
            vec above = load_floats(upper + here, these), below = load_floats(lower + here, these);
            above += at.beside * (load_floats(upper + here + right, these) - above);
            below += at.beside * (load_floats(lower + here + right, these) - below);
            store_floats((char *)made + here, above + at.below * (below - above), these);
        }
    }
}

/* source -> made, both (channels, height, width), or by_pixel (height, width, channels); flow: x's numbers, and y's so far
   from them. Rows lie close. 0. */
int sample(const float *source, const float *flow, float *made, int by_pixel, long from_pixel, long to_pixel, long pixel,
           long other, int channels, int height, int width, int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const long place = (long)row * width;
        const float *u = flow + place * pixel, *v = u + other;
        if (by_pixel)
            pixels_of_row(source, from_pixel, u, v, pixel, made + place * to_pixel, to_pixel, row, channels, height, width);
        else
            planes_of_row(source, u, v, pixel, made + place, row, channels, height, width);
    }
    return 0;
}
