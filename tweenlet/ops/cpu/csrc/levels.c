/* Inputs of a level of an intermediate-flow network, channels_last. ops/cpu/levels.py calls it. */

#include <stdlib.h>

#include "aligned.h"
#include "tweenlet.h"

#include "gemm.h"

#include "bilinear.h"

#define COLOURS 3
#define FLOWS 4 /* channels: to the frame before and to the one after, x and y */

typedef float oct __attribute__((vector_size(32), aligned(4), may_alias)); /* a pixel's channels, or eight of them */
typedef int quad_mask __attribute__((vector_size(16), aligned(4), may_alias));
#define WIDE 8

/* What is sampled, where, and what levels know: at some columns of rows of the frame. */
struct view {
    const float *before, *after; /* pixels of `pixel` numbers, a multiple of WIDE, of which `channels` count */
    int channels, pixel, height, width;
    const struct tweenlet_estimate *estimates;
    int count, known; /* estimates; channels of the last one that are read */
    float unit;       /* pixels of before and after in a pixel that flows count */
    int samples;      /* columns that are read */
    int *lefts;       /* [estimate][sample]: the column of the estimate on its left */
    float *shares;    /* [estimate][sample]: of the one on its right */
};

/* Allocates and fills the tables for `side` adjacent columns in the middle of each cell of `scale`. 1: not enough memory. */
static int find_columns(struct view *view, int scale, int side) {
    view->samples = view->width / scale * side;
    view->lefts = malloc(sizeof(int) * view->count * view->samples);
    view->shares = malloc(sizeof(float) * view->count * view->samples);
    if (!view->lefts || !view->shares) return 1;
    for (int k = 0; k < view->count; k++) {
        const int size = view->estimates[k].scale, columns = view->width / size;
        for (int sample = 0; sample < view->samples; sample++) {
            const int column = sample / side * scale + (scale - 1) / 2 + sample % side;
            const float x = clamp((column + 0.5f) / size - 0.5f, 0, columns - 1);
            view->lefts[k * view->samples + sample] = x;
            view->shares[k * view->samples + sample] = x - (int)x;
        }
    }
    return 0;
}

static void free_columns(struct view *view) { free(view->lefts), free(view->shares); }

/* Numbers of a scratch row: what each estimate knows between two of its rows, and flows of all samples. */
static ptrdiff_t scratch_size(const struct view *view) {
    ptrdiff_t size = FLOWS * (ptrdiff_t)view->samples;
    for (int k = 0; k < view->count; k++)
        size +=
            (FLOWS + (k == view->count - 1 ? view->known + WIDE : 0)) * (view->width / view->estimates[k].scale + 1L);
    return size + WIDE;
}

/* A row of what all levels know: flows for each sample of a range, and others of the last level between its rows. */
struct known_row {
    const float *flows;  /* FLOWS for each sample of the range */
    const float *others; /* of each column of the last estimate, `room` apart */
    int room;
};

static struct known_row find_known(const struct view *view, int row, int from, int to, float *scratch) {
    const int last = view->count - 1, others = view->known - FLOWS;
    float *flows = scratch;
    scratch += FLOWS * (ptrdiff_t)(to - from);
    struct known_row known = {.flows = flows, .room = (others + WIDE - 1) / WIDE * WIDE};
    for (int k = 0; k <= last; k++) {
        const struct tweenlet_estimate *estimate = view->estimates + k;
        const int rows = view->height / estimate->scale, columns = view->width / estimate->scale;
        const float y = clamp((row + 0.5f) / estimate->scale - 0.5f, 0, rows - 1), share = y - (int)y;
        const int *lefts = view->lefts + (ptrdiff_t)k * view->samples;
        const float *shares = view->shares + (ptrdiff_t)k * view->samples;
        const int start = lefts[from], end = at_most(lefts[to - 1] + 2, columns), channels = estimate->channels;
        const float *upper = estimate->values + (ptrdiff_t)(int)y * columns * channels;
        const float *lower = upper + ((int)y + 1 < rows ? (ptrdiff_t)columns * channels : 0);
        float *between = scratch;
        for (ptrdiff_t column = start; column < end; column++) {
            const quad here = *(const quad *)(upper + column * channels);
            *(quad *)(between + FLOWS * (column - start)) =
                here + share * (*(const quad *)(lower + column * channels) - here);
        }
        /* on the right of the last one: read, but of no share */
        *(quad *)(between + FLOWS * (ptrdiff_t)(end - start)) =
            *(quad *)(between + FLOWS * (ptrdiff_t)(end - 1 - start));
        scratch += FLOWS * (ptrdiff_t)(end + 1 - start);
        for (int sample = from; sample < to; sample++) {
            const float *left = between + FLOWS * (ptrdiff_t)(lefts[sample] - start);
            const quad here = *(const quad *)left, there = *(const quad *)(left + FLOWS);
            const quad flow = here + shares[sample] * (there - here);
            quad *const sum = (quad *)(flows + FLOWS * (ptrdiff_t)(sample - from));
            if (k)
                *sum += flow;
            else
                *sum = flow;
        }
        if (k < last || !others) continue;
        known.others = scratch - (ptrdiff_t)known.room * start;
        for (ptrdiff_t column = start; column <= end; column++) {
            const ptrdiff_t place = at_most(column, end - 1) * (ptrdiff_t)channels + FLOWS;
            for (int other = 0; other < others; other++)
                scratch[(column - start) * known.room + other] =
                    upper[place + other] + share * (lower[place + other] - upper[place + other]);
            for (int other = others; other < known.room; other++) scratch[(column - start) * known.room + other] = 0;
        }
    }
    return known;
}

/* The four pixels around two points, that before and that after. */
struct corners {
    const float *first[2];
    ptrdiff_t right[2], down[2]; /* to the next pixel, 0 at the border */
    quad share;                  /* beside, below, beside, below */
};

INLINE struct corners find_corners(const struct view *view, int row, int column, quad flow) {
    const float right = view->width - 1, bottom = view->height - 1;
    const quad least = {0, 0, 0, 0}, most = {right, bottom, right, bottom};
    quad at = flow + (quad){column, row, column, row};
    const quad_mask above = at > least;
    at = (quad)(above & (quad_mask)at); /* zero where NaN, too */
    const quad_mask below = at < most;
    at = (quad)((below & (quad_mask)at) | (~below & (quad_mask)most));
    const quad_mask place = __builtin_convertvector(at, quad_mask);
    const int line = view->pixel * view->width;
    const quad_mask step = below & (quad_mask){view->pixel, line, view->pixel, line};
    struct corners corners = {.share = at - __builtin_convertvector(place, quad)};
    UNROLL(2)
    for (int k = 0; k < 2; k++) {
        corners.first[k] = (k ? view->after : view->before) + (ptrdiff_t)place[2 * k + 1] * line +
                           (ptrdiff_t)place[2 * k] * view->pixel;
        corners.right[k] = step[2 * k], corners.down[k] = step[2 * k + 1];
    }
    return corners;
}

#define BILINEAR(name, type)                                                                                           \
    INLINE type name(const struct corners *corners, const int which, int channel) {                                    \
        const float *upper = corners->first[which] + channel, *lower = upper + corners->down[which];                   \
        const ptrdiff_t right = corners->right[which];                                                                 \
        const float beside = corners->share[2 * which];                                                                \
        type above = *(const type *)upper, below = *(const type *)lower;                                               \
        above += beside * (*(const type *)(upper + right) - above);                                                    \
        below += beside * (*(const type *)(lower + right) - below);                                                    \
        return above + corners->share[2 * which + 1] * (below - above);                                                \
    }
BILINEAR(bilinear_quad, quad)
BILINEAR(bilinear_oct, oct)

/* Cells `from` to `to` of a row of a level's inputs: channels of the frame before, of that after, others, flows in pixels
   of the level, time, next to each other, and up to a vector of excess after the last. */
INLINE void input_cells(const struct view *view, const int scale, const int side, float time, int row, int from, int to,
                        float *scratch, ptrdiff_t scratch_row, float *out) {
    const int others = view->known - FLOWS, last = view->count - 1, channels = view->channels;
    const int top = row * scale + (scale - 1) / 2, start = (scale - 1) / 2;
    const float share = 1.0f / (side * side);
    struct known_row known[2];
    for (int k = 0; k < side; k++)
        known[k] = find_known(view, top + k, from * side, to * side, scratch + k * scratch_row);
    const int *lefts = view->lefts + (ptrdiff_t)last * view->samples;
    const float *shares = view->shares + (ptrdiff_t)last * view->samples;
    for (int cell = from; cell < to; cell++) {
        struct corners corners[4];
        quad flows = {0};
        UNROLL(4)
        for (int k = 0; k < side * side; k++) {
            const quad flow =
                view->unit * *(const quad *)(known[k / side].flows + FLOWS * ((cell - from) * side + k % side));
            corners[k] = find_corners(view, top + k / side, cell * scale + start + k % side, flow);
            flows += flow;
        }
        for (int which = 0; which < 2; which++, out += channels)
            for (int channel = 0; channel < channels; channel += WIDE) {
                oct sum = bilinear_oct(corners, which, channel);
                UNROLL(4)
                for (int k = 1; k < side * side; k++) sum += bilinear_oct(corners + k, which, channel);
                *(oct *)(out + channel) = share * sum;
            }
        for (int other = 0; other < others; other += WIDE) {
            oct sum = {0};
            UNROLL(4)
            for (int k = 0; k < side * side; k++) {
                const int sample = cell * side + k % side;
                const float *left = known[k / side].others + (ptrdiff_t)lefts[sample] * known[0].room + other;
                const oct here = *(const oct *)left;
                sum += here + shares[sample] * (*(const oct *)(left + known[0].room) - here);
            }
            *(oct *)(out + other) = share * sum;
        }
        out += others;
        *(quad *)out = share / scale * flows;
        out += FLOWS;
        *out++ = time;
    }
}

typedef void input_function(const struct view *view, int scale, float time, int row, int from, int to, float *scratch,
                            ptrdiff_t scratch_row, float *out);
#define INPUT_CELLS(name, side)                                                                                        \
    NOINLINE void name(const struct view *view, int scale, float time, int row, int from, int to, float *scratch,      \
                       ptrdiff_t scratch_row, float *out) {                                                            \
        input_cells(view, scale, side, time, row, from, to, scratch, scratch_row, out);                                \
    }
INPUT_CELLS(input_cells_one, 1)
INPUT_CELLS(input_cells_pooled, 2)

/* before, after: COLOURS and features at the frame's size, in pixels of `pixel` numbers; estimates of coarser levels,
   `known` channels of the last -> out (height / scale, width / scale): what levels sample at the frame's size,
   made smaller bilinearly by an even scale or by 1, which sees the mean of the middle 2x2 pixels. 1: not enough memory. */
int tweenlet_pooled_level_inputs(const float *before, const float *after, const struct tweenlet_estimate *estimates,
                                 int count, float *out, float time, int channels, int pixel, int known, int height,
                                 int width, int scale, int threads) {
    struct view view = {before, after, channels, pixel, height, width, estimates, count, known, .unit = 1};
    const int side = scale > 1 ? 2 : 1, cells = width / scale, features = channels - COLOURS;
    const int outputs = 2 * channels + 1 + known;
    int failed = find_columns(&view, scale, side);
    const ptrdiff_t scratch_row = scratch_size(&view);
#pragma omp parallel num_threads(threads)
    {
        float *scratch = malloc(sizeof(float) * (side * scratch_row + (ptrdiff_t)cells * outputs + WIDE));
        float *row_inputs = scratch + side * scratch_row;
        if (!scratch) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int row = 0; row < height / scale; row++) {
            if (failed) continue;
            (side > 1 ? input_cells_pooled : input_cells_one)(&view, scale, time, row, 0, cells, scratch, scratch_row,
                                                              row_inputs);
            float *to = out + (ptrdiff_t)row * cells * outputs;
            for (const float *from = row_inputs; from < row_inputs + (ptrdiff_t)cells * outputs; from += outputs) {
                for (int k = 0; k < COLOURS; k++) to[k] = from[k], to[COLOURS + k] = from[channels + k];
                to += 2 * COLOURS;
                for (int k = 0; k < features; k++)
                    to[k] = from[COLOURS + k], to[features + k] = from[channels + COLOURS + k];
                to += 2 * features;
                *to++ = from[outputs - 1];
                for (int k = 0; k < known; k++) to[k] = from[2 * channels + k];
                to += known;
            }
        }
        free(scratch);
    }
    free_columns(&view);
    return failed;
}

#define TILE_ROWS 16    /* of outputs of a level's first layer */
#define TILE_COLUMNS 32 /* with the inputs that they see in the cache of a core */

/* tweenlet_pooled_level_inputs, then the level's first layer of 3x3 kernels, stride 2, and a leaky activation -> out
   (height / scale / 2, width / scale / 2, outputs). Its inputs are in the order of input_cells. Estimates count flows in
   pixels of which `unit` are one of before and after; those of scale 1 are written to flows, too, if it is not null. */
int tweenlet_level_entry(const float *before, const float *after, const struct tweenlet_estimate *estimates, int count,
                         const struct tweenlet_entry *layer, float *out, float *flows, float time, float unit,
                         int channels, int pixel, int known, int height, int width, int scale, int threads) {
    struct view view = {before, after, channels, pixel, height, width, estimates, count, known, unit};
    const int side = scale > 1 ? 2 : 1, rows = height / scale, columns = width / scale;
    const int inputs = 2 * channels + 1 + known, outputs = layer->outputs, padded = round_to_vectors(outputs);
    const int high = (rows + 1) / 2, wide = (columns + 1) / 2;
    const int tiles_high = (high + TILE_ROWS - 1) / TILE_ROWS, tiles_wide = (wide + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const ptrdiff_t line = (2 * TILE_COLUMNS + 1) * (ptrdiff_t)inputs, size = (2 * TILE_ROWS + 1) * line;
    int failed = find_columns(&view, scale, side);
    const ptrdiff_t scratch_row = scratch_size(&view);
#pragma omp parallel num_threads(threads)
    {
        float *tile = allocate_aligned(sizeof(float) * (size + WIDE + side * scratch_row + TILE_COLUMNS * padded));
        float *scratch = tile + size + WIDE, *m = scratch + side * scratch_row;
        if (!tile) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int number = 0; number < tiles_high * tiles_wide; number++) {
            if (failed) continue;
            const int top = number / tiles_wide * TILE_ROWS, left = number % tiles_wide * TILE_COLUMNS;
            const int lines = at_most(TILE_ROWS, high - top), count_wide = at_most(TILE_COLUMNS, wide - left);
            const int from = 2 * left - 1 < 0 ? 0 : 2 * left - 1, to = at_most(2 * (left + count_wide), columns);
            for (int k = 0; k < 2 * lines + 1; k++) {
                const int row = 2 * top - 1 + k;
                float *const start = tile + k * line, *const first = start + (from - (2 * left - 1)) * inputs;
                if (row < 0 || row >= rows) {
                    memset(start, 0, sizeof(float) * line);
                    continue;
                }
                memset(start, 0, sizeof(float) * (first - start));
                (side > 1 ? input_cells_pooled : input_cells_one)(&view, scale, time, row, from, to, scratch,
                                                                  scratch_row, first);
                float *const end = first + (to - from) * inputs;
                memset(end, 0, sizeof(float) * (start + line - end));
                if (flows && k) /* rows and columns of no other tile */
                    for (int column = 2 * left; column < to; column++)
                        *(quad *)(flows + FLOWS * ((ptrdiff_t)row * columns + column)) =
                            *(const quad *)(first + (column - from) * (ptrdiff_t)inputs + inputs - 1 - FLOWS) / unit;
            }
            for (int k = 0; k < lines; k++) {
                const char *kernels = (const char *)layer->kernels;
                for (int output = 0, vectors; output < padded; output += vectors * LANES) {
                    vectors = vectors_at_once((padded - output) / LANES);
                    kernels = gemm(0, vectors, tile + 2 * k * line, 2 * inputs, line, 3, 3 * inputs, kernels,
                                   m + output, padded, count_wide);
                }
                float *to_row = out + ((ptrdiff_t)(top + k) * wide + left) * outputs;
                for (int column = 0; column < count_wide; column++, to_row += outputs)
                    for (int output = 0; output < outputs; output += LANES) {
                        const vec value = *(vec *)(m + column * padded + output) + *(const vec *)(layer->bias + output);
                        store_f32((char *)(to_row + output), leaky_relu(value, broadcast(layer->slope)),
                                  first_lanes(outputs - output));
                    }
            }
        }
        free_aligned(tile);
    }
    free_columns(&view);
    return failed;
}

/* before, after: COLOURS first (height, width, pixel), warped by the flows of all estimates and merged by the last one's
   mask -> out (COLOURS, height, width). 1: not enough memory. */
int tweenlet_merge_warped(const float *before, const float *after, const struct tweenlet_estimate *estimates, int count,
                          float *out, int pixel, int height, int width, int threads) {
    struct view view = {before, after, COLOURS, pixel, height, width, estimates, count, FLOWS + 1, .unit = 1};
    const int padded = (width + LANES - 1) / LANES * LANES, last = count - 1;
    int failed = find_columns(&view, 1, 1);
    const ptrdiff_t plane = (ptrdiff_t)height * width, scratch_row = scratch_size(&view);
#pragma omp parallel num_threads(threads)
    {
        float *share = calloc(padded + scratch_row, sizeof(float)), *scratch = share + padded;
        if (!share) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            if (failed) continue;
            const struct known_row known = find_known(&view, row, 0, width, scratch);
            const int *lefts = view.lefts + (ptrdiff_t)last * width;
            const float *shares = view.shares + (ptrdiff_t)last * width;
            for (int x = 0; x < width; x++) {
                const float *left = known.others + (ptrdiff_t)lefts[x] * known.room;
                share[x] = left[0] + shares[x] * (left[known.room] - left[0]);
            }
            sigmoid_row(share, padded);
            float *const to = out + (ptrdiff_t)row * width;
            for (int x = 0; x < width; x++) {
                const struct corners corners =
                    find_corners(&view, row, x, *(const quad *)(known.flows + FLOWS * (ptrdiff_t)x));
                const quad other = bilinear_quad(&corners, 1, 0);
                const quad value = other + share[x] * (bilinear_quad(&corners, 0, 0) - other);
                for (int colour = 0; colour < COLOURS; colour++) to[colour * plane + x] = value[colour];
            }
        }
        free(share);
    }
    free_columns(&view);
    return failed;
}
