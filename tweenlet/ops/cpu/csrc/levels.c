/* Inputs of a level of an intermediate-flow network, channels_last. ops/cpu/levels.py calls it. */

#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define COLOURS 3
#define FLOWS 4 /* channels: to the frame before and to the one after, x and y */

struct pixels {
    const float *values;
    int channels, height, width;
};

/* A bilinear sample: one vector of channels, those that are active. */
INLINE vec sample_vector(const struct pixels *from, struct position at, int channel, lane_mask active) {
    const char *upper = (const char *)(from->values + (ptrdiff_t)at.first * from->channels + channel),
               *lower = upper + 4L * at.down * from->channels;
    const ptrdiff_t right = 4L * at.right * from->channels;
    vec above = load_f32(upper, active), below = load_f32(lower, active);
    above += at.beside * (load_f32(upper + right, active) - above);
    below += at.beside * (load_f32(lower + right, active) - below);
    return above + at.below * (below - above);
}

/* A bilinear sample of all channels, written if `first`, else added. */
INLINE void sample(const struct pixels *from, float y, float x, float *to, int is_first) {
    const struct position at = locate(from->height, from->width, y, x);
    for (int channel = 0; channel < from->channels; channel += LANES) {
        const vec value = sample_vector(from, at, channel, first_lanes(from->channels - channel));
        if (is_first)
            *(vec *)(to + channel) = value;
        else
            *(vec *)(to + channel) += value;
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
            float *to = out + (ptrdiff_t)row * width * outputs, *flow = flows + (ptrdiff_t)row * width * FLOWS;
            for (int column = 0; column < width; column++, to += outputs, flow += FLOWS) {
                sample(&coarse, (row + 0.5f) / factor - 0.5f, (column + 0.5f) / factor - 0.5f, here, 1);
                memcpy(flow, here, sizeof(float) * FLOWS);
                for (int k = 0; k < FLOWS; k++) here[k] /= scale;
                for (int k = known; k < known + more; k++) here[k] /= scale;
                sample(&first, row + here[1], column + here[0], one, 1);
                sample(&second, row + here[3], column + here[2], other, 1);
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

/* The columns of a row of the frame that are read: `count` adjacent ones in the middle of each cell of `size`. */
struct columns {
    int cells, size, count;
};

/* The first row or column of a cell that is read. */
INLINE int first_of_cell(int cell, int size) { return cell * size + (size - 1) / 2; }

/* a, or part of the way from there to b: so many numbers, and up to a vector more, or FLOWS. */
INLINE void lerp_row(const float *a, const float *b, float share, int count, float *to) {
    for (int k = 0; k < count; k += LANES) {
        const lane_mask active = first_lanes(count - k);
        const vec from = load_f32((const char *)(a + k), active);
        *(vec *)(to + k) = from + share * (load_f32((const char *)(b + k), active) - from);
    }
}

/* The first `take` channels of an estimate, enlarged to the frame's size, at some columns of a row of it: those of each
   column to `to`, `room` apart; FLOWS of them are added unless `is_first`. between: room for a row of the estimate. */
INLINE void enlarge_row(const struct tweenlet_estimate *from, int take, int is_first, int height, int width, int row,
                        struct columns at, float *between, float *to, int room) {
    const int rows = height / from->scale, columns = width / from->scale, channels = from->channels;
    const float step = 1.0f / from->scale, y = clamp((row + 0.5f) * step - 0.5f, 0, rows - 1);
    const int top = y;
    const float *upper = from->values + (ptrdiff_t)top * columns * channels;
    const float *lower = upper + (top + 1 < rows ? (ptrdiff_t)columns * channels : 0);
    for (ptrdiff_t column = 0; column < columns;
         column++) /* excess lanes of a column are overwritten by the next one */
        lerp_row(upper + column * channels, lower + column * channels, y - top, take, between + column * take);
    for (int cell = 0; cell < at.cells; cell++)
        for (int k = 0; k < at.count; k++, to += room) {
            const float x = clamp((first_of_cell(cell, at.size) + k + 0.5f) * step - 0.5f, 0, columns - 1);
            const int left = x;
            const float *here = between + (ptrdiff_t)left * take, *right = here + (left + 1 < columns ? take : 0);
            if (is_first)
                lerp_row(here, right, x - left, take, to);
            else
                *(quad *)to += *(const quad *)here + (x - left) * (*(const quad *)right - *(const quad *)here);
        }
}

/* All that levels estimated, at some columns of a row of the frame: flows summed, and what the last has beside them. */
INLINE void known_row(const struct tweenlet_estimate *estimates, int count, int take, int height, int width, int row,
                      struct columns at, float *between, float *to, int room) {
    const int last = count - 1;
    enlarge_row(estimates + last, take, 1, height, width, row, at, between, to, room);
    for (int k = 0; k < last; k++) enlarge_row(estimates + k, FLOWS, 0, height, width, row, at, between, to, room);
}

/* before, after: COLOURS and features at the frame's size; estimates of coarser levels, `known` channels of the last ->
   out (height / scale, width / scale): what tweenlet_level_inputs makes at the frame's size, made smaller bilinearly by an
   even scale or by 1, which sees the mean of the middle 2x2 pixels. 1: not enough memory. */
int tweenlet_pooled_level_inputs(const float *before, const float *after, const struct tweenlet_estimate *estimates,
                                 int count, float *out, float time, int channels, int known, int height, int width,
                                 int scale, int threads) {
    const struct pixels first = {before, channels, height, width}, second = {after, channels, height, width};
    const int features = channels - COLOURS, others = known - FLOWS, outputs = 2 * channels + 1 + known;
    const int side = scale > 1 ? 2 : 1, cells = width / scale, samples = side * side;
    const struct columns at = {cells, scale, side};
    const ptrdiff_t row_room = (ptrdiff_t)cells * side * known + LANES, pixel_room = channels + LANES;
    const float share = 1.0f / samples;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *one = malloc(sizeof(float) * (2 * pixel_room + (width + 1L) * known + LANES + side * row_room));
        float *other = one + pixel_room, *between = other + pixel_room, *rows = between + (width + 1L) * known + LANES;
        if (!one) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int row = 0; row < height / scale; row++) {
            if (failed) continue;
            const int top = first_of_cell(row, scale);
            for (int k = 0; k < side; k++)
                known_row(estimates, count, known, height, width, top + k, at, between, rows + k * row_room, known);
            float *to = out + (ptrdiff_t)row * cells * outputs;
            for (int cell = 0; cell < cells; cell++) {
                const float *here[4];
                for (int k = 0; k < samples; k++) {
                    const float *flow = rows + k / side * row_room + (ptrdiff_t)(cell * side + k % side) * known;
                    const int y = top + k / side, x = first_of_cell(cell, scale) + k % side;
                    sample(&first, y + flow[1], x + flow[0], one, !k);
                    sample(&second, y + flow[3], x + flow[2], other, !k);
                    here[k] = flow;
                }
                for (int k = 0; k < COLOURS; k++) *to++ = share * one[k];
                for (int k = 0; k < COLOURS; k++) *to++ = share * other[k];
                for (int k = 0; k < features; k++) *to++ = share * one[COLOURS + k];
                for (int k = 0; k < features; k++) *to++ = share * other[COLOURS + k];
                *to++ = time;
                float *flows = to + others;
                for (int k = 0; k < known; k++) {
                    float sum = here[0][k];
                    for (int sample = 1; sample < samples; sample++) sum += here[sample][k];
                    *(k < FLOWS ? flows + k : to + k - FLOWS) = k < FLOWS ? share / scale * sum : share * sum;
                }
                to = flows + FLOWS;
            }
        }
        free(one);
    }
    return failed;
}

/* before, after: COLOURS and features (height, width, channels), warped by the flows of all estimates and merged by the
   last one's mask -> out (COLOURS, height, width). 1: not enough memory. */
int tweenlet_merge_warped(const float *before, const float *after, const struct tweenlet_estimate *estimates, int count,
                          float *out, int channels, int height, int width, int threads) {
    const struct pixels first = {before, channels, height, width}, second = {after, channels, height, width};
    const int known = FLOWS + 1, padded = (width + LANES - 1) / LANES * LANES;
    const struct columns all = {width, 1, 1};
    const ptrdiff_t plane = (ptrdiff_t)height * width, room = (ptrdiff_t)width * known + LANES;
    const lane_mask colours = first_lanes(COLOURS);
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *share = calloc(padded + 2 * room, sizeof(float)), *between = share + padded, *here = between + room;
        if (!share) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            if (failed) continue;
            known_row(estimates, count, known, height, width, row, all, between, here, known);
            for (int x = 0; x < width; x++) share[x] = here[(ptrdiff_t)x * known + FLOWS];
            sigmoid_row(share, padded);
            for (int x = 0; x < width; x++) {
                const float *flow = here + (ptrdiff_t)x * known;
                const struct position from = locate(height, width, row + flow[1], x + flow[0]),
                                      to = locate(height, width, row + flow[3], x + flow[2]);
                const vec other = sample_vector(&second, to, 0, colours);
                const vec value = other + share[x] * (sample_vector(&first, from, 0, colours) - other);
                for (int colour = 0; colour < COLOURS; colour++)
                    out[colour * plane + (ptrdiff_t)row * width + x] = value[colour];
            }
        }
        free(share);
    }
    return failed;
}
