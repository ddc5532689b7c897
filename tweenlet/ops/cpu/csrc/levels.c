/* What a level of an intermediate-flow network sees, of channels_last pixels. ops/cpu/levels.py calls it. */

#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define COLOURS 3
#define FLOWS 4 /* to the frame before and to the one after, x and y */

struct pixels {
    const float *values;
    int channels, height, width;
};

/* The channels of what lies at a place, bilinearly. */
INLINE void sample(const struct pixels *from, float y, float x, float *to) {
    const struct position at = locate(from->height, from->width, y, x);
    const char *upper = (const char *)(from->values + (long)at.first * from->channels),
               *lower = upper + 4L * at.down * from->channels;
    const long right = 4L * at.right * from->channels;
    for (int channel = 0; channel < from->channels; channel += LANES) {
        const lane_mask active = first_lanes(from->channels - channel);
        const long here = 4 * channel;
        vec above = load_f32(upper + here, active), below = load_f32(lower + here, active);
        above += at.beside * (load_f32(upper + here + right, active) - above);
        below += at.beside * (load_f32(lower + here + right, active) - below);
        *(vec *)(to + channel) = above + at.below * (below - above);
    }
}

/* before, after: COLOURS and features at the level's size; estimate: at 1 / factor of it, FLOWS in pixels of the frame,
   others, and `more` channels in pixels of the frame -> out: colours of both, features of both, time, others, flows and
   more in pixels of the level; flows: those of the frame. 1: not enough memory. */
int tweenlet_level_inputs(const float *before, const float *after, const float *estimate, float *out, float *flows,
                          float time, int channels, int known, int more, int height, int width, int factor, float scale,
                          int threads) {
    const struct pixels first = {before, channels, height, width}, second = {after, channels, height, width},
                        coarse = {estimate, known + more, height / factor, width / factor};
    const int features = channels - COLOURS, others = known - FLOWS;
    const int outputs = 2 * channels + 1 + known + more, room = channels + LANES;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *one = malloc(sizeof(float) * (2 * room + known + more + LANES)), *other = one + room,
              *here = other + room;
        if (!one) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            if (failed) continue;
            float *to = out + (long)row * width * outputs, *flow = flows + (long)row * width * FLOWS;
            for (int column = 0; column < width; column++, to += outputs, flow += FLOWS) {
                sample(&coarse, (row + 0.5f) / factor - 0.5f, (column + 0.5f) / factor - 0.5f, here);
                memcpy(flow, here, sizeof(float) * FLOWS);
                for (int k = 0; k < FLOWS; k++) here[k] /= scale;
                for (int k = known; k < known + more; k++) here[k] /= scale;
                sample(&first, row + here[1], column + here[0], one);
                sample(&second, row + here[3], column + here[2], other);
                float *next = to;
                memcpy(next, one, sizeof(float) * COLOURS), next += COLOURS;
                memcpy(next, other, sizeof(float) * COLOURS), next += COLOURS;
                for (int k = 0; k < features; k++) *next++ = one[COLOURS + k];
                for (int k = 0; k < features; k++) *next++ = other[COLOURS + k];
                *next++ = time;
                for (int k = 0; k < others; k++) *next++ = here[FLOWS + k];
                for (int k = 0; k < FLOWS; k++) *next++ = here[k];
                for (int k = 0; k < more; k++) *next++ = here[known + k];
            }
        }
        free(one);
    }
    return failed;
}
