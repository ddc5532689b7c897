/* Backward warp: images sampled between their pixels, where flow points. ops/cpu/warp.py calls it. */

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

INLINE float bilinear(const float *pixels, struct position at) {
    const float *upper = pixels + at.first, *lower = upper + at.down;
    const float above = upper[0] + at.beside * (upper[at.right] - upper[0]);
    return above + at.below * (lower[0] + at.beside * (lower[at.right] - lower[0]) - above);
}

static void warp_row_of_planes(const float *source, const float *u, const float *v, ptrdiff_t flow_pixel, float *out,
                               int row, int planes, int height, int width) {
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    for (int number = 0; number < planes; number++, source += plane, out += plane)
#pragma omp simd
        for (int x = 0; x < width; x++)
            out[x] = bilinear(source, locate(height, width, row + v[x * flow_pixel], x + u[x * flow_pixel]));
}

/* *_pixel: floats from one pixel of a row to the next. */
static void warp_row_of_pixels(const float *source, ptrdiff_t source_pixel, const float *u, const float *v,
                               ptrdiff_t flow_pixel, float *out, ptrdiff_t out_pixel, int row, int channels, int height,
                               int width) {
    for (int column = 0; column < width; column++, out += out_pixel) {
        const struct position at = locate(height, width, row + v[column * flow_pixel], column + u[column * flow_pixel]);
        const char *upper = (const char *)(source + at.first * source_pixel),
                   *lower = upper + 4 * at.down * source_pixel;
        const ptrdiff_t right = 4 * at.right * source_pixel;
        for (int channel = 0; channel < channels; channel += LANES) {
            const lane_mask active = first_lanes(channels - channel);
            const ptrdiff_t here = 4 * channel;
            vec above = load_f32(upper + here, active), below = load_f32(lower + here, active);
            above += at.beside * (load_f32(upper + here + right, active) - above);
            below += at.beside * (load_f32(lower + here + right, active) - below);
            store_f32((char *)out + here, above + at.below * (below - above), active);
        }
    }
}

/* source -> out, both (channels, height, width), or channels_last (height, width, channels). flow: dx, and dy flow_channel
   floats further. There is no gap between rows. Returns 0. */
int tweenlet_backwarp(const float *source, const float *flow, float *out, int channels_last, ptrdiff_t source_pixel,
                      ptrdiff_t out_pixel, ptrdiff_t flow_pixel, ptrdiff_t flow_channel, int channels, int height,
                      int width, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const ptrdiff_t place = (ptrdiff_t)row * width;
        const float *u = flow + place * flow_pixel, *v = u + flow_channel;
        if (channels_last)
            warp_row_of_pixels(source, source_pixel, u, v, flow_pixel, out + place * out_pixel, out_pixel, row,
                               channels, height, width);
        else
            warp_row_of_planes(source, u, v, flow_pixel, out + place, row, channels, height, width);
    }
    return 0;
}
