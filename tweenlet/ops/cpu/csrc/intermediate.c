/* Where pixels of the middle frame come from, as flow over four frames tells it. flow/cpu/intermediate.py calls it.

    frames, flows -> half the size -> of each frame's pixels: the way halfway, and how far it is trusted
                                   -> thrown there, [pixel][VALUES] -> where that is in both frames */

#include <stdlib.h>
#include <string.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define CHANNELS 3
#define FLOWS 8  /* planes: two of each of four flows */
#define VALUES 8 /* of a pixel that is thrown: what leads to before (x, y), to after, one; and zeros: a vector */

typedef float values __attribute__((vector_size(4 * VALUES), aligned(4), may_alias));

/* A frame at half the size: its colours, the way across to the other frame and away from it, what is halfway, and trust. */
struct half_frame {
    const float *channels, *across, *away;
    float *midpoint, *trust, *sums;
};

/* A row's ways halfway, of motion that is quadratic in time, and how much each counts: less where it joins what differs. */
static void project_row(const struct half_frame *own, const float *other, int row, int height, int width,
                        long trust_line, float photometric_decay) {
    const long plane = (long)height * width, place = (long)row * width;
    const float *u = own->across + place, *v = u + plane, *away_u = own->away + place, *away_v = away_u + plane;
    const float *red = own->channels + place, *green = red + plane, *blue = green + plane;
    float *half_u = own->midpoint + place, *half_v = half_u + plane, *trust = own->trust + row * trust_line;
#pragma omp simd
    for (int x = 0; x < width; x++) {
        const struct position there = locate(height, width, row + v[x], x + u[x]);
        const float difference = fabsf(red[x] - bilinear(other, there)) +
                                 fabsf(green[x] - bilinear(other + plane, there)) +
                                 fabsf(blue[x] - bilinear(other + 2 * plane, there));
        half_u[x] = 0.375f * u[x] - 0.125f * away_u[x];
        half_v[x] = 0.375f * v[x] - 0.125f * away_v[x];
        trust[x] = -1.44269504f * photometric_decay / CHANNELS * difference;
    }
    for (int x = 0; x < width; x += LANES) *(vec *)(trust + x) = exp2_of_negative(*(vec *)(trust + x));
}

/* Every pixel thrown that lands in rows from start to end, onto the four around its target. */
static void splat_band(const struct half_frame *own, int is_after, int start, int end, int height, int width,
                       long trust_line) {
    const long plane = (long)height * width;
    const float *u = own->midpoint, *v = u + plane, *across_u = own->across, *across_v = across_u + plane;
    memset(own->sums + (long)start * width * VALUES, 0, sizeof(float) * (end - start) * width * VALUES);
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            const long here = (long)row * width + column;
            long pixels[4];
            float shares[4];
            const int count = splat_targets(row + v[here], column + u[here], start, end, width, pixels, shares);
            if (!count) continue;
            const float own_u = -u[here], own_v = -v[here];
            const float other_u = across_u[here] - u[here], other_v = across_v[here] - v[here];
            const values ways =
                is_after ? (values){other_u, other_v, own_u, own_v, 1} : (values){own_u, own_v, other_u, other_v, 1};
            const values splatted = own->trust[row * trust_line + column] * ways;
            for (int k = 0; k < count; k++) *(values *)(own->sums + pixels[k] * VALUES) += shares[k] * splatted;
        }
}

/* before, after (COLOURS, 2 height, 2 width); flows (4, 2, 2 height, 2 width) from before to what is before it and to after,
   from after to before and to what is after it -> read (8, height, width): the way to before and to after as before's flow
   tells it, then as after's does; reached (2, height, width), how much was thrown there of before and of after. 1: not enough
   memory. */
int tweenlet_intermediate_flow(const float *before, const float *after, const float *flows, float *out, float *coverage,
                               int height, int width, float photometric_decay, float fallback_weight, int threads) {
    const long plane = (long)height * width, trust_line = (width + LANES - 1) / LANES * LANES;
    const int bands = at_most((threads + 1) / 2, height);
    float *workspace =
        malloc(sizeof(float) * (plane * (2 * CHANNELS + FLOWS + 4 + 2 * VALUES) + 2 * height * trust_line));
    if (!workspace) return 1;
    float *channels = workspace, *moves = channels + 2 * CHANNELS * plane, *midpoint = moves + FLOWS * plane;
    float *sums = midpoint + 4 * plane, *trust = sums + 2 * VALUES * plane;
    const struct half_frame half_frames[] = {
        {channels, moves + 2 * plane, moves, midpoint, trust, sums},
        {channels + CHANNELS * plane, moves + 4 * plane, moves + 6 * plane, midpoint + 2 * plane,
         trust + height * trust_line, sums + VALUES * plane},
    };
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++)
            for (int map = 0; map < 2 * CHANNELS + FLOWS; map++) {
                const int is_flow = map >= 2 * CHANNELS;
                const float *of = is_flow ? flows : map < CHANNELS ? before : after;
                const int number = is_flow ? map - 2 * CHANNELS : map % CHANNELS;
                const float *upper = of + 4 * (number * plane + (long)row * width);
                avg_pool2_row(upper, upper + 2 * width, is_flow ? 0.5f : 1, workspace + map * plane + (long)row * width,
                              width);
            }
#pragma omp for schedule(static)
        for (int line = 0; line < 2 * height; line++)
            project_row(&half_frames[line / height], half_frames[1 - line / height].channels, line % height, height,
                        width, trust_line, photometric_decay);
#pragma omp for schedule(static, 1)
        for (int part = 0; part < 2 * bands; part++) {
            const int band = part / 2, start = (long)height * band / bands, end = (long)height * (band + 1) / bands;
            splat_band(&half_frames[part % 2], part % 2, start, end, height, width, trust_line);
        }
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++)
            for (long pixel = (long)row * width; pixel < (long)(row + 1) * width; pixel++)
                for (int which = 0; which < 2; which++) {
                    const values own = *(values *)(half_frames[which].sums + pixel * VALUES);
                    const values both =
                        own + fallback_weight * *(values *)(half_frames[1 - which].sums + pixel * VALUES);
                    const float share = 1 / (both[4] > 1e-6f ? both[4] : 1e-6f);
                    UNROLL(4)
                    for (int k = 0; k < 4; k++) out[(4 * which + k) * plane + pixel] = share * both[k];
                    coverage[which * plane + pixel] = own[4] < 2 ? own[4] : 2;
                }
    }
    free(workspace);
    return 0;
}
