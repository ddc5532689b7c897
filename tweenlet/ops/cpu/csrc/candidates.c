/* Four candidates of two frames averaged, and how each differs from that. ops/cpu/candidates.py calls it.

    places, said (half the size) -> a row of the frame's size, even and odd pixels apart -> four views, weights
                                 -> their average, a frame; what differs, the four pixels of 2x2 side by side    */

#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"
#include "transpose.h"

#define CANDIDATES 4
#define CHANNELS 3
#define MAPS (2 * CANDIDATES + CANDIDATES)         /* two numbers for each place, and what is said of it */
#define OUTPUTS (CHANNELS * CANDIDATES + CHANNELS) /* what differs, and the frame */
#define AROUND 16                                  /* numbers before and after a row: a vector */

/* Maps of half the size: how far it is in floats from one map to the next, and from one pixel of a row. Rows lie close. */
struct maps {
    const float *values;
    long map, pixel;
};

/* A row of maps between two rows of theirs, three quarters of the nearer; the outermost pixels go on. */
static void upsample_maps_row(const struct maps *maps, int count, long near, long far, float *to, long line,
                              int width) {
    for (int map = 0; map < count; map++, to += line) {
        const float *own = maps->values + map * maps->map + near * width * maps->pixel;
        const float *other = maps->values + map * maps->map + far * width * maps->pixel;
        for (int x = 0; x < width; x++) to[x] = 0.75f * own[x * maps->pixel] + 0.25f * other[x * maps->pixel];
        to[-1] = to[0], to[width] = to[width - 1];
    }
}

/* One in two pixels of a row of double size: three quarters of a pixel, and one of that beside it. */
INLINE float upsample_at(const float *row, int x, int beside) { return 0.75f * row[x] + 0.25f * row[x + beside]; }

/* What is said of each view -> its weight: in place. */
static void softmax(float *rows, long line, int width) {
    for (int x = 0; x < width; x += LANES) {
        vec most = *(vec *)(rows + x), sum = {0};
        for (int candidate = 1; candidate < CANDIDATES; candidate++)
            most = vec_max(most, *(vec *)(rows + candidate * line + x));
        for (int candidate = 0; candidate < CANDIDATES; candidate++) {
            vec *logits = (vec *)(rows + candidate * line + x);
            *logits = exp2_of_negative(1.44269504f * (*logits - most));
            sum += *logits;
        }
        for (int candidate = 0; candidate < CANDIDATES; candidate++) *(vec *)(rows + candidate * line + x) /= sum;
    }
}

/* One in two pixels of a row of a frame (COLOURS, 2 height, 2 width), the even or the odd ones, fetched from where u and v
   point; the colours so far apart. */
static void warp_row(const float *frame, const float *u, const float *v, int row, int odd, float *to, long stride,
                     int height, int width) {
    const long plane = 4L * height * width;
    const int beside = odd ? 1 : -1;
    float *red = to, *green = red + stride, *blue = green + stride;
#pragma omp simd
    for (int x = 0; x < width; x++) {
        const struct position place = locate(2 * height, 2 * width, row + 2 * upsample_at(v, x, beside),
                                             2 * x + odd + 2 * upsample_at(u, x, beside));
        red[x] = bilinear(frame, place);
        green[x] = bilinear(frame + plane, place);
        blue[x] = bilinear(frame + 2 * plane, place);
    }
}

/* One colour of the views of such a row, so far apart: their mean is taken off them, and written to every other pixel of
   average; what is left of it goes to grey. */
static void average_row(const float *weights, long line, float *candidates, long stride, float *average, float *grey,
                        int width) {
#pragma omp simd
    for (int x = 0; x < width; x++) {
        float mean = 0;
        UNROLL(4)
        for (int candidate = 0; candidate < CANDIDATES; candidate++)
            mean += weights[candidate * line + x] * candidates[candidate * stride + x];
        UNROLL(4)
        for (int candidate = 0; candidate < CANDIDATES; candidate++) candidates[candidate * stride + x] -= mean;
        average[2 * x] = mean;
        grey[x] = mean - 0.5f;
    }
}

/* before, after (COLOURS, 2 height, 2 width); places (2 VIEWS) and said (VIEWS maps of height x width), their maps and pixels
   so far apart -> average, such a frame, and made (height, width, MADE, 2, 2). 1: not enough memory. */
int tweenlet_blend_candidates(const float *before, const float *after, const float *flow, const float *logits,
                              float *average, float *out, long flow_map, long flow_pixel, long logits_map,
                              long logits_pixel, int height, int width, int threads) {
    const struct maps flow_maps = {flow, flow_map, flow_pixel}, logits_maps = {logits, logits_map, logits_pixel};
    const long line = (width + 3 * AROUND - 1) / AROUND * AROUND, per_thread = (MAPS + CANDIDATES + 4 * OUTPUTS) * line;
    float *workspace = malloc(sizeof(float) * threads * per_thread);
    if (!workspace) return 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int y = 0; y < height; y++) {
        float *maps = workspace + omp_get_thread_num() * per_thread + AROUND, *weights = maps + MAPS * line;
        float *values = weights + CANDIDATES * line; /* (MADE, 2, 2), of each pixel */
        for (int pixel = 0; pixel < 4; pixel++) {
            const int row = 2 * y + pixel / 2, odd = pixel % 2, far = clamp_index(pixel / 2 ? y + 1 : y - 1, height);
            if (!odd) {
                upsample_maps_row(&flow_maps, 2 * CANDIDATES, y, far, maps, line, width);
                upsample_maps_row(&logits_maps, CANDIDATES, y, far, maps + 2 * CANDIDATES * line, line, width);
            }
            float *to = values + pixel * line;
            for (int candidate = 0; candidate < CANDIDATES; candidate++) {
                const float *u = maps + 2 * candidate * line, *scores = maps + (2 * CANDIDATES + candidate) * line;
                warp_row(candidate % 2 ? after : before, u, u + line, row, odd, to + 4 * CHANNELS * candidate * line,
                         4 * line, height, width);
                for (int x = 0; x < width; x++) weights[candidate * line + x] = upsample_at(scores, x, odd ? 1 : -1);
            }
            softmax(weights, line, width);
            for (int channel = 0; channel < CHANNELS; channel++)
                average_row(weights, line, to + 4 * channel * line, 4 * CHANNELS * line,
                            average + ((long)(channel * height + y) * 2 + pixel / 2) * 2 * width + odd,
                            to + 4 * (CHANNELS * CANDIDATES + channel) * line, width);
        }
        transpose(values, line, out + (long)y * width * 4 * OUTPUTS, 4 * OUTPUTS, 4 * OUTPUTS, width);
    }
    free(workspace);
    return 0;
}
