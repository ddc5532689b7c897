/* 3x3 convolutions by Winograd's method, of channels_last pixels. ops/cpu/winograd.py calls it.

    block of tiles -- input transform --> v, a small matrix for each point -- GEMM --> m -- output transform --> tiles
                      B' d B                                      some outputs at a time   A' m A

    F(4x4, 3x3)  6x6 input pixels of a tile, 4x4 output pixels
    F(5x5, 2x2)  6x6 and 5x5: one of the four 2x2 kernels of a transposed convolution of 4x4; or a convolution of
                 stride 2, 2x2 over cells of 2x2 pixels

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. A block's matrices stay in the cache of one
core. Slices in time, three taps over them, are one longer product.
*/

#include "aligned.h"
#include "tweenlet.h"

#include "gemm.h"

#define INPUT_TILE 6 /* side of a tile in input pixels */
#define POINTS (INPUT_TILE * INPUT_TILE)
#define CACHE (400 * 1024) /* bytes for the matrices of a block, inputs and some products together */
#define LARGE (16L << 20)  /* bytes of a result that no cache holds until it is read */

/* Points 0, +-sqrt(1/2), +-sqrt(2), infinity: their errors are a third of those of 0, +-1, +-2. */
static const double AT[] = {0.70710678118654752, 1.41421356237309505};

INLINE void to_points(const vec *d, vec *p) {
    p[0] = d[0] - 2.5f * d[2] + d[4];
    p[5] = d[1] - 2.5f * d[3] + d[5];
    UNROLL(2)
    for (int pair = 0; pair < 2; pair++) {
        const float other = pair ? 0.5f : 2; /* the square of the other pair */
        vec even = d[4] - other * d[2], odd = (float)AT[pair] * (d[3] - other * d[1]);
        p[2 * pair + 1] = even + odd;
        p[2 * pair + 2] = even - odd;
    }
}

INLINE void from_points(const int tile, const vec *m, vec *y) {
    UNROLL(5)
    for (int k = 0; k < tile; k++) y[k] = k ? (vec){0} : m[0];
    UNROLL(2)
    for (int pair = 0; pair < 2; pair++) {
        vec sum = m[2 * pair + 1] + m[2 * pair + 2], difference = m[2 * pair + 1] - m[2 * pair + 2];
        double power = 1;
        UNROLL(5)
        for (int k = 0; k < tile; k++, power *= AT[pair]) y[k] += (float)power * (k % 2 ? difference : sum);
    }
    y[tile - 1] += m[INPUT_TILE - 1];
}

/* The input pixels of one tile, for one vector of channels. */
struct source {
    const char *x;
    ptrdiff_t row, pixel;                          /* bytes */
    int channels, above, height, width, top, left; /* the image: rows from above to height; all around is zero */
    const float *slope;
};

INLINE void input_transform(const int inside, const int x_is_bf16, const int v_is_bf16, struct source from,
                            const lane_mask active, const float *slope, char *points, ptrdiff_t stride) {
    const lane_mask all = first_lanes(LANES);
    _Alignas(64) vec columns[INPUT_TILE][INPUT_TILE]; /* [point along columns][row] */
    for (int row = 0; row < INPUT_TILE; row++) {
        vec d[INPUT_TILE], p[INPUT_TILE];
        int there = inside || (from.top + row >= from.above && from.top + row < from.height);
        const char *line = from.x + (from.top + row) * from.row + from.left * from.pixel;
        for (int column = 0; column < INPUT_TILE; column++) {
            const char *pixel = line + column * from.pixel;
            if (inside || (there && from.left + column >= 0 && from.left + column < from.width))
                d[column] = load(pixel, active, x_is_bf16);
            else
                d[column] = (vec){0};
            if (slope) d[column] = leaky_relu(d[column], *(const vec *)slope);
        }
        to_points(d, p);
        for (int point = 0; point < INPUT_TILE; point++) columns[point][row] = p[point];
    }
    for (int column = 0; column < INPUT_TILE; column++) {
        vec p[INPUT_TILE];
        to_points(columns[column], p);
        for (int row = 0; row < INPUT_TILE; row++)
            store(points + (row * INPUT_TILE + column) * stride, p[row], all, v_is_bf16);
    }
}

struct range {
    int from, to;
}; /* of rows or columns of a tile */

/* The output pixels of one tile, for one vector of channels. */
struct target {
    char *y;
    const char *residual;
    ptrdiff_t row, pixel; /* bytes */
    int channels;
    struct range rows, columns; /* in the image */
    const float *bias, *slope, *slope_sum;
};

INLINE void output_transform(const int tile, const int y_is_bf16, const int streams, const float *points,
                             ptrdiff_t stride, struct target to, const lane_mask active, struct range rows,
                             struct range columns, const char *residual) {
    _Alignas(64) vec lines[INPUT_TILE][INPUT_TILE]; /* [row][point along columns] */
    for (int column = 0; column < INPUT_TILE; column++) {
        vec m[INPUT_TILE], p[INPUT_TILE];
        for (int row = 0; row < INPUT_TILE; row++)
            m[row] = *(const vec *)(points + (row * INPUT_TILE + column) * stride);
        from_points(tile, m, p);
        for (int row = 0; row < tile; row++) lines[row][column] = p[row];
    }
#pragma GCC unroll 6
    for (int row = rows.from; row < rows.to; row++) {
        vec out[INPUT_TILE];
        from_points(tile, lines[row], out);
#pragma GCC unroll 6
        for (int column = columns.from; column < columns.to; column++) {
            ptrdiff_t place = row * to.row + column * to.pixel;
            vec value = out[column] + *(const vec *)to.bias;
            if (to.slope) value = leaky_relu(value, *(const vec *)to.slope);
            if (residual) value += load(residual + place, active, y_is_bf16);
            if (to.slope_sum) value = leaky_relu(value, *(const vec *)to.slope_sum);
            if (streams)
                store_streaming(to.y + place, value);
            else
                store(to.y + place, value, active, y_is_bf16);
        }
    }
}

/* Each in functions of their own, with all that can be known: inside of larger ones compilers leave the loops, eight
   times slower. */
typedef void input_function(const struct source *from, char *points, ptrdiff_t stride);
typedef void output_function(const float *points, ptrdiff_t stride, const struct target *to);
#define INPUT_TRANSFORM(name, ...)                                                                                     \
    NOINLINE void name(const struct source *from, char *points, ptrdiff_t stride) {                                    \
        const lane_mask all = first_lanes(LANES);                                                                      \
        if (from->slope)                                                                                               \
            input_transform(__VA_ARGS__, *from, first_lanes(from->channels), from->slope, points, stride);             \
        else if (from->channels < LANES)                                                                               \
            input_transform(__VA_ARGS__, *from, first_lanes(from->channels), NULL, points, stride);                    \
        else                                                                                                           \
            input_transform(__VA_ARGS__, *from, all, NULL, points, stride);                                            \
    }
#define OUTPUT_TRANSFORM(name, tile, ...)                                                                              \
    NOINLINE void name(const float *points, ptrdiff_t stride, const struct target *to) {                               \
        const struct range whole = {0, tile};                                                                          \
        const lane_mask active = first_lanes(to->channels), all = first_lanes(LANES);                                  \
        if (to->channels < LANES || to->rows.from || to->columns.from || to->rows.to < tile || to->columns.to < tile)  \
            output_transform(tile, __VA_ARGS__, points, stride, *to, active, to->rows, to->columns, to->residual);     \
        else if (to->residual)                                                                                         \
            output_transform(tile, __VA_ARGS__, points, stride, *to, all, whole, whole, to->residual);                 \
        else                                                                                                           \
            output_transform(tile, __VA_ARGS__, points, stride, *to, all, whole, whole, NULL);                         \
    }
INPUT_TRANSFORM(border_f32, 0, 0, 0)
INPUT_TRANSFORM(inside_f32, 1, 0, 0)
INPUT_TRANSFORM(border_f32_to_bf16, 0, 0, 1)
INPUT_TRANSFORM(inside_f32_to_bf16, 1, 0, 1)
INPUT_TRANSFORM(border_bf16, 0, 1, 1)
INPUT_TRANSFORM(inside_bf16, 1, 1, 1)
OUTPUT_TRANSFORM(output_4, 4, 0, 0)
OUTPUT_TRANSFORM(output_4_streaming, 4, 0, 1)
OUTPUT_TRANSFORM(output_4_bf16, 4, 1, 0)
OUTPUT_TRANSFORM(output_5, 5, 0, 0)
OUTPUT_TRANSFORM(output_5_streaming, 5, 0, 1)
OUTPUT_TRANSFORM(output_5_bf16, 5, 1, 0)

static input_function *select_input_transform(int inside, int x_is_bf16, int v_is_bf16) {
    if (x_is_bf16) return !v_is_bf16 ? NULL : inside ? inside_bf16 : border_bf16;
    if (v_is_bf16) return inside ? inside_f32_to_bf16 : border_f32_to_bf16;
    return inside ? inside_f32 : border_f32;
}

static output_function *select_output_transform(int tile, int y_is_bf16, int streams) {
    switch (tile) {
    case 4: return y_is_bf16 ? output_4_bf16 : streams ? output_4_streaming : output_4;
    case 5: return y_is_bf16 ? output_5_bf16 : streams ? output_5_streaming : output_5;
    default: return NULL;
    }
}

/* The arguments of a call, and sizes derived from them. */
struct plan {
    const struct tweenlet_convolution *layer;
    const struct tweenlet_input *inputs;
    int count; /* of inputs */
    char *y;
    const struct tweenlet_layout *layout; /* of y and residual */
    const char *residual;
    int slices, height, width, above, below;

    int cells_high, cells_wide;               /* the grid of tiles: pixels, or cells of shrink x shrink */
    int tiles_wide, all_tiles, blocks, tiles; /* tiles of a row of them, of the image, of a block */
    int padding, copies;                      /* slices of zeros at either end; outputs that share their inputs */
    int x_bytes, y_bytes, v_bytes;
    int outputs, copy, part;            /* of all copies, of one, of a row of its cells, in whole vectors */
    ptrdiff_t v_tile, v_slice, v_point; /* strides in numbers */
    input_function *inside, *border;
    output_function *output;
};

/* Whether y is too large for the caches and may be written past them. */
static int streams(const struct plan *plan) {
    const struct tweenlet_layout *y = plan->layout;
    const int outputs = plan->layer->outputs;
    return (ptrdiff_t)4 * plan->slices * plan->cells_high * plan->cells_wide * plan->copies * outputs > LARGE &&
           plan->layer->shuffle == 1 && outputs % LANES == 0 && y->pixel % LANES == 0 && y->row % LANES == 0 &&
           y->slice % LANES == 0 && (ptrdiff_t)plan->y % (4 * LANES) == 0;
}

static void plan_transforms(struct plan *plan) {
    const struct tweenlet_convolution *layer = plan->layer;
    const int x_is_bf16 = plan->inputs->layout.is_bf16;
    plan->x_bytes = x_is_bf16 ? 2 : 4, plan->y_bytes = plan->layout->is_bf16 ? 2 : 4,
    plan->v_bytes = layer->is_bf16 ? 2 : 4;
    plan->inside = select_input_transform(1, x_is_bf16, layer->is_bf16);
    plan->border = select_input_transform(0, x_is_bf16, layer->is_bf16);
    plan->output = select_output_transform(layer->tile, plan->layout->is_bf16, streams(plan));
}

/* Chooses how many tiles a block has, so that its matrices fit the cache and each thread has a share, and their layout. */
static void plan_blocks(struct plan *plan, int threads) {
    const struct tweenlet_convolution *layer = plan->layer;
    const int tile = layer->tile, all_inputs = layer->shrink * layer->shrink * layer->inputs;
    const int last = plan->inputs[plan->count - 1].channels;
    plan->v_tile = round_to_vectors(all_inputs - last + round_to_vectors(last));
    plan->part = round_to_vectors(layer->outputs / layer->shuffle), plan->copy = layer->shuffle * plan->part;
    plan->outputs = plan->copies * plan->copy;
    /* the second of two copies begins one pixel before its tile, where the kernels of both see the same */
    plan->tiles_wide = (plan->cells_wide + layer->enlarge - 1 + tile - 1) / tile;
    plan->all_tiles = (plan->cells_high + layer->enlarge - 1 + tile - 1) / tile * plan->tiles_wide;
    const int v_slices = plan->slices + 2 * plan->padding;
    const ptrdiff_t bytes = POINTS * (plan->v_bytes * v_slices * plan->v_tile + 4L * plan->slices * AT_ONCE * LANES);
    int most = at_most(CACHE / bytes, (plan->all_tiles + threads - 1) / threads);
    if (most < 1) most = 1;
    plan->blocks = (plan->all_tiles + most - 1) / most;
    plan->blocks = (plan->blocks + threads - 1) / threads * threads;
    plan->tiles = (plan->all_tiles + plan->blocks - 1) / plan->blocks; /* evenly */
    /* an odd number of cache lines apart, so that the points of a tile do not map to the same few sets */
    plan->v_slice = plan->tiles * plan->v_tile;
    plan->v_point = plan->v_slice * v_slices / LANES / 2 * 2 * LANES + LANES * 3;
}

/* Transforms one cell of a tile's pixels, all inputs, into a row of v. */
static void transform_input_tile(const struct plan *plan, int slice, int cell, int top, int left, char *v) {
    const int shrink = plan->layer->shrink, down = cell / shrink, right = cell % shrink;
    struct source from = {.above = -plan->above / shrink,
                          .height = (plan->height + plan->below - down + shrink - 1) / shrink,
                          .width = (plan->width - right + shrink - 1) / shrink,
                          .top = top - 1,
                          .left = left - 1};
    const int inside = from.top >= from.above && from.top + INPUT_TILE <= from.height && from.left >= 0 &&
                       from.left + INPUT_TILE <= from.width;
    input_function *const transform = inside ? plan->inside : plan->border;
    const float *slope = plan->layer->slope_before;
    for (const struct tweenlet_input *input = plan->inputs; input < plan->inputs + plan->count; input++) {
        const ptrdiff_t row = input->layout.row, pixel = input->layout.pixel;
        from.row = plan->x_bytes * shrink * row, from.pixel = plan->x_bytes * shrink * pixel;
        const char *x = input->values + plan->x_bytes * (slice * input->layout.slice + down * row + right * pixel);
        /* excess lanes of the last vector are overwritten by the next cell or input */
        for (int channel = 0; channel < input->channels; channel += LANES) {
            from.x = x + plan->x_bytes * channel;
            from.channels = input->channels - channel;
            from.slope = slope ? slope + channel : NULL;
            transform(&from, v + plan->v_bytes * channel, plan->v_bytes * plan->v_point);
        }
        v += plan->v_bytes * input->channels;
        if (slope) slope += input->channels;
    }
}

static int tiles_of(const struct plan *plan, int block) {
    return at_most(plan->tiles, plan->all_tiles - block * plan->tiles);
}

static void transform_inputs(const struct plan *plan, int block, char *v) {
    const int tile = plan->layer->tile, cells = plan->layer->shrink * plan->layer->shrink;
    for (int slice = 0; slice < plan->slices; slice++) {
        int top = block * plan->tiles / plan->tiles_wide * tile, left = block * plan->tiles % plan->tiles_wide * tile;
        for (int k = 0; k < tiles_of(plan, block); k++) {
            const ptrdiff_t row = (slice + plan->padding) * plan->v_slice + k * plan->v_tile;
            for (int cell = 0; cell < cells; cell++)
                transform_input_tile(plan, slice, cell, top, left,
                                     v + plan->v_bytes * (row + cell * plan->layer->inputs));
            left += tile;
            if (left >= plan->tiles_wide * tile) left = 0, top += tile;
        }
    }
}

/* v times the kernels of some outputs -> m, for each point: [point][slice][tile][outputs]. Returns the next kernels. */
static const char *multiply(const struct plan *plan, int tiles, int vectors, const char *v, const char *kernels,
                            float *m) {
    const struct tweenlet_convolution *layer = plan->layer;
    const int inputs = layer->shrink * layer->shrink * layer->inputs;
    const char *next = kernels;
    for (int point = 0; point < POINTS; point++, kernels = next)
        for (int slice = 0; slice < plan->slices; slice++, m += tiles * vectors * LANES)
            next = gemm(layer->is_bf16, vectors, v + plan->v_bytes * (point * plan->v_point + slice * plan->v_slice),
                        plan->v_tile, plan->v_slice, layer->taps, inputs, kernels, m, vectors * LANES, tiles);
    return kernels;
}

/* Of a tile from ``start`` of ``size`` pixels on. */
static struct range range_of(int start, int tile, int size) {
    return (struct range){start < 0 ? -start : 0, at_most(tile, size - start)};
}

/* Where a vector of outputs goes, in the pixels of its copy of a tile at the top left. */
struct place {
    struct target to;
    int down, right; /* by so many pixels its copy begins before the tile */
};

static struct place place_of(const struct plan *plan, int output) {
    const struct tweenlet_convolution *layer = plan->layer;
    const struct tweenlet_layout *layout = plan->layout;
    const int copy = output / plan->copy, channel = output % plan->copy, part = channel / plan->part;
    const int enlarge = layer->enlarge, down = copy / enlarge, right = copy % enlarge;
    const ptrdiff_t row = plan->y_bytes * layer->shuffle * layout->row, pixel = plan->y_bytes * layout->pixel;
    const ptrdiff_t start = (1 - enlarge) * (down * row + right * pixel) + plan->y_bytes * part * layout->row +
                            plan->y_bytes * (channel % plan->part);
    return (struct place){.to = {.y = plan->y + start,
                                 .residual = plan->residual ? plan->residual + start : NULL,
                                 .row = enlarge * row,
                                 .pixel = enlarge * pixel,
                                 .channels = layer->outputs / layer->shuffle - channel % plan->part,
                                 .bias = layer->bias + channel,
                                 .slope = layer->slope_after ? layer->slope_after + channel : NULL,
                                 .slope_sum = layer->slope_sum ? layer->slope_sum + channel : NULL},
                          .down = down,
                          .right = right};
}

/* Outputs from ``output`` on. */
static void transform_outputs(const struct plan *plan, int block, int output, int vectors, const float *m) {
    const int tile = plan->layer->tile, tiles = tiles_of(plan, block);
    struct place places[AT_ONCE];
    for (int vector = 0; vector < vectors; vector++) places[vector] = place_of(plan, output + vector * LANES);
    for (int slice = 0; slice < plan->slices; slice++) {
        int top = block * plan->tiles / plan->tiles_wide * tile, left = block * plan->tiles % plan->tiles_wide * tile;
        for (int k = 0; k < tiles; k++) {
            for (int vector = 0; vector < vectors; vector++, m += LANES) {
                struct target to = places[vector].to;
                const ptrdiff_t start = plan->y_bytes * slice * plan->layout->slice + top * to.row + left * to.pixel;
                to.y += start;
                if (to.residual) to.residual += start;
                to.rows = range_of(top - places[vector].down, tile, plan->cells_high);
                to.columns = range_of(left - places[vector].right, tile, plan->cells_wide);
                plan->output(m, (ptrdiff_t)plan->slices * tiles * vectors * LANES, &to);
            }
            left += tile;
            if (left >= plan->tiles_wide * tile) left = 0, top += tile;
        }
    }
}

/* x (slices, height, width, inputs), the channels of all inputs -> y (slices, enlarge / shrink of each side, outputs);
   where it is given, + residual, which lies as y. With shuffle 2 outputs are of rows of cells of y, a pixel of which is
   two. Above and below x are so many rows more, which are only looked at (of
   shrink 2: two above at most). x and y are bfloat16 only where the products are. 1: not enough memory; -1: no such
   tiles. */
int tweenlet_winograd(const struct tweenlet_convolution *layer, const struct tweenlet_input *inputs, int count, char *y,
                      const struct tweenlet_layout *layout, const char *residual, int slices, int height, int width,
                      int above, int below, int threads) {
    struct plan plan = {
        layer,
        inputs,
        count,
        y,
        layout,
        residual,
        slices,
        height,
        width,
        above,
        below,
        .cells_high = (height + layer->shrink - 1) / layer->shrink,
        .cells_wide = (width + layer->shrink - 1) / layer->shrink,
        .padding = layer->taps / 2,
        .copies = layer->enlarge * layer->enlarge,
    };
    plan_transforms(&plan);
    if (!plan.inside || !plan.output) return -1;
    plan_blocks(&plan, threads);
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        char *v = allocate_aligned(plan.v_bytes * POINTS * plan.v_point);
        float *m = allocate_aligned(4L * POINTS * slices * plan.tiles * AT_ONCE * LANES);
        if (!v || !m) {
#pragma omp atomic write
            failed = 1;
        } else if (plan.padding) /* slices before the first and after the last */
            memset(v, 0, plan.v_bytes * POINTS * plan.v_point);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int block = 0; block < plan.blocks; block++) {
            if (failed || tiles_of(&plan, block) < 1) continue;
            transform_inputs(&plan, block, v);
            const char *kernels = layer->kernels;
            for (int output = 0, vectors; output < plan.outputs; output += vectors * LANES) {
                vectors = vectors_at_once((plan.outputs - output) / LANES);
                kernels = multiply(&plan, tiles_of(&plan, block), vectors, v, kernels, m);
                transform_outputs(&plan, block, output, vectors, m);
            }
        }
#ifdef __AVX2__
        _mm_sfence(); /* what was stored past the caches is there */
#endif
        free_aligned(v);
        free_aligned(m);
    }
    return failed;
}

/* Residual blocks of one width, one after the other, each x -> layer(x) + x: from x by way of `other` to y, which lie as
   layout says. As tweenlet_winograd else. */
int tweenlet_residual_blocks(const struct tweenlet_convolution *layers, int count, const char *x, char *other, char *y,
                             const struct tweenlet_layout *layout, int batch, int height, int width, int threads) {
    struct tweenlet_input input = {x, layers->inputs, *layout};
    int status = 0;
    for (int k = 0; k < count && !status; k++) {
        char *const to = (count - k) % 2 ? y : other;
        status =
            tweenlet_winograd(layers + k, &input, 1, to, layout, input.values, batch, height, width, 0, 0, threads);
        input.values = to;
    }
    return status;
}
