/* 3x3 convolutions by Winograd's method, for pixels whose channels lie side by side. ops/winograd.py calls it.

    block of tiles:  seen x seen pixels each -> B' d B -> a small matrix product for each point -> A' m A -> tile x tile

    F(4x4, 3x3)  6 seen, a tile of 4
    F(5x5, 2x2)  6 seen, a tile of 5: one of the four 2x2 kernels of a transposed convolution of 4x4; or a convolution
                 of stride 2, 2x2 over cells of 2x2 pixels

A block's matrices stay in the cache of one core. Slices in time, three taps over them, are one longer product.
*/

#include <stdlib.h>

#include "products.h"

#define SEEN 6 /* input pixels of a tile, a side */
#define POINTS (SEEN * SEEN)
#define CACHE (400 * 1024) /* bytes for the matrices of a block, both sides */
#define LARGE (16L << 20) /* bytes of a result that no cache keeps until it is read */

struct layout { /* numbers from one to the next */
    long slice, line, pixel;
    int half; /* whether they are bfloat16 */
};

struct convolution { /* bias, before and after: for each channel, and zeros after the last */
    int inputs, outputs, taps; /* taps: over slices, 1 or 3 */
    int tile; /* output pixels of a tile, a side */
    int half; /* whether the products are of bfloat16, in pairs of inputs; their sums are float32 */
    int enlarge; /* 2: each pixel becomes 2x2, one after the other among the kernels' outputs; else 1 */
    int shrink; /* 2: each cell of 2x2 becomes a pixel, one after the other among the kernels' inputs; else 1 */
    const void *kernels; /* [point][group of outputs][tap][input (pair)][outputs of the group] ([of pair]) */
    const float *bias, *before, *after; /* before, after: what is below zero is multiplied by, or null */
};

/* Points 0, +-sqrt(1/2), +-sqrt(2), infinity: their errors are a third of those of 0, +-1, +-2. */
static const double AT[] = {0.70710678118654752, 1.41421356237309505};

ALWAYS void to_points(const vec *d, vec *p) {
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

ALWAYS void from_points(const int tile, const vec *m, vec *y) {
    UNROLL(5)
    for (int k = 0; k < tile; k++) y[k] = k ? (vec){0} : m[0];
    UNROLL(2)
    for (int pair = 0; pair < 2; pair++) {
        vec sum = m[2 * pair + 1] + m[2 * pair + 2], difference = m[2 * pair + 1] - m[2 * pair + 2];
        double power = 1;
        UNROLL(5)
        for (int k = 0; k < tile; k++, power *= AT[pair]) y[k] += (float)power * (k % 2 ? difference : sum);
    }
    y[tile - 1] += m[SEEN - 1];
}

/* Channels of one vector that a tile is made of, and where. */
struct source {
    const char *x;
    long line, pixel; /* bytes */
    int channels, above, height, width, top, left; /* of the picture: rows from above to height, all around is zero */
    const float *slope;
};

ALWAYS void enter(const int inside, const int half_x, const int half_points, struct source from,
                  const float *slope, char *points, long apart) {
    const some these = first(from.channels), all = first(LANES);
    vec half[SEEN][SEEN]; /* [point along columns][row] */
    for (int row = 0; row < SEEN; row++) {
        vec d[SEEN], p[SEEN];
        int there = inside || (from.top + row >= from.above && from.top + row < from.height);
        const char *line = from.x + (from.top + row) * from.line + from.left * from.pixel;
        for (int column = 0; column < SEEN; column++) {
            const char *pixel = line + column * from.pixel;
            if (inside || (there && from.left + column >= 0 && from.left + column < from.width))
                d[column] = load(pixel, these, half_x);
            else
                d[column] = (vec){0};
            if (slope) d[column] = rectified(d[column], *(const vec *)slope);
        }
        to_points(d, p);
        for (int point = 0; point < SEEN; point++) half[point][row] = p[point];
    }
    for (int column = 0; column < SEEN; column++) {
        vec p[SEEN];
        to_points(half[column], p);
        for (int row = 0; row < SEEN; row++) store(points + (row * SEEN + column) * apart, p[row], all, half_points);
    }
}

struct part { int from, to; }; /* of the rows or columns of a tile */

/* Channels of one vector that a tile becomes, and where. */
struct result {
    char *y;
    const char *added;
    long line, pixel; /* bytes */
    int channels;
    struct part rows, columns; /* in the picture */
    const float *bias, *slope;
};

ALWAYS void leave(const int tile, const int half_y, const int large, const float *points, long apart,
                  struct result to, struct part rows, struct part columns, const char *added) {
    const some these = first(to.channels);
    vec half[SEEN][SEEN]; /* [row][point along columns] */
    for (int column = 0; column < SEEN; column++) {
        vec m[SEEN], p[SEEN];
        for (int row = 0; row < SEEN; row++) m[row] = *(const vec *)(points + (row * SEEN + column) * apart);
        from_points(tile, m, p);
        for (int row = 0; row < tile; row++) half[row][column] = p[row];
    }
    #pragma GCC unroll 6
    for (int row = rows.from; row < rows.to; row++) {
        vec made[SEEN];
        from_points(tile, half[row], made);
        #pragma GCC unroll 6
        for (int column = columns.from; column < columns.to; column++) {
            long place = row * to.line + column * to.pixel;
            vec value = made[column] + *(const vec *)to.bias;
            if (to.slope) value = rectified(value, *(const vec *)to.slope);
            if (added) value += load(added + place, these, half_y);
            if (large)
                past_caches(to.y + place, value);
            else
                store(to.y + place, value, these, half_y);
        }
    }
}

/* Each in functions of their own, with all that can be known: inside of larger ones compilers leave the loops, eight
   times slower. */
typedef void entering(const struct source *from, char *points, long apart);
typedef void leaving(const float *points, long apart, const struct result *to);
#define ENTER(name, ...)                                               \
    ALONE void name(const struct source *from, char *points, long apart) {    \
        if (from->slope)                                                \
            enter(__VA_ARGS__, *from, from->slope, points, apart);       \
        else                                                           \
            enter(__VA_ARGS__, *from, NULL, points, apart);             \
    }
#define LEAVE(name, tile, ...)                                                                      \
    ALONE void name(const float *points, long apart, const struct result *to) {                            \
        const struct part all = {0, tile};                                                          \
        if (to->rows.from || to->columns.from || to->rows.to < tile || to->columns.to < tile)           \
            leave(tile, __VA_ARGS__, points, apart, *to, to->rows, to->columns, to->added);       \
        else if (to->added)                                                                          \
            leave(tile, __VA_ARGS__, points, apart, *to, all, all, to->added);                  \
        else                                                                                        \
            leave(tile, __VA_ARGS__, points, apart, *to, all, all, NULL);                      \
    }
ENTER(enter_border, 0, 0, 0)
ENTER(enter_inside, 1, 0, 0)
ENTER(enter_to_halves, 0, 0, 1)
ENTER(enter_inside_to_halves, 1, 0, 1)
ENTER(enter_of_halves, 0, 1, 1)
ENTER(enter_inside_of_halves, 1, 1, 1)
LEAVE(leave_4, 4, 0, 0)
LEAVE(leave_4_large, 4, 0, 1)
LEAVE(leave_4_halves, 4, 1, 0)
LEAVE(leave_5, 5, 0, 0)
LEAVE(leave_5_large, 5, 0, 1)
LEAVE(leave_5_halves, 5, 1, 0)

static entering *way_in(int inside, int half_x, int half_points) {
    if (half_x) return !half_points ? NULL : inside ? enter_inside_of_halves : enter_of_halves;
    if (half_points) return inside ? enter_inside_to_halves : enter_to_halves;
    return inside ? enter_inside : enter_border;
}

static leaving *way_out(int tile, int half_y, int large) {
    switch (tile) {
    case 4: return half_y ? leave_4_halves : large ? leave_4_large : leave_4;
    case 5: return half_y ? leave_5_halves : large ? leave_5_large : leave_5;
    default: return NULL;
    }
}

int lanes(void) { return LANES; }

int has_halves(void) { return HALVES; }

/* Of a tile from ``start`` of ``size`` pixels on. */
static struct part part_of(int start, int tile, int size) {
    return (struct part){start < 0 ? -start : 0, at_most(tile, size - start)};
}

/* Pixels whose channels are some of a layer's inputs. */
struct input {
    const char *x;
    int channels;
    struct layout lies;
};

/* x (slices, height, width, inputs), the inputs those of all sources -> y (slices, enlarge / shrink of each side,
   outputs); where it is given, + added, which lies as y. Above and below x are so many rows more, which are only looked
   at (of shrink 2: two above at most). x and y are bfloat16 only where the products are. 1: not enough memory; -1: no
   such tiles. */
int convolve(const struct convolution *of, const struct input *x, int sources, char *y, const struct layout *of_y,
             const char *added, int slices, int height, int width, int above, int below, int threads) {
    const int inputs = of->inputs, outputs = of->outputs, taps = of->taps, border = taps / 2, half = of->half;
    const int tile = of->tile, enlarge = of->enlarge, copies = enlarge * enlarge;
    const int half_x = x->lies.half;
    const long x_bytes = half_x ? 2 : 4, y_bytes = of_y->half ? 2 : 4, v_bytes = half ? 2 : 4;
    const int shrink = of->shrink, parts = shrink * shrink, all_inputs = parts * inputs;
    const int cells_high = (height + shrink - 1) / shrink, cells_wide = (width + shrink - 1) / shrink;
    const int last = x[sources - 1].channels;
    const long in = in_vectors(all_inputs - last + in_vectors(last)), part = in_vectors(outputs), out = copies * part;
    const int large = 4L * slices * cells_high * cells_wide * copies * outputs > LARGE && outputs % LANES == 0 &&
                      of_y->pixel % LANES == 0 && of_y->line % LANES == 0 && of_y->slice % LANES == 0 &&
                      (long)y % (4 * LANES) == 0;
    entering *const within = way_in(1, half_x, half), *const at_border = way_in(0, half_x, half);
    leaving *const out_of = way_out(tile, of_y->half, large);
    if (!within || !out_of) return -1;
    /* the second of two copies begins one pixel before its tile, where the kernels of both see the same */
    const int tall = (cells_high + enlarge - 1 + tile - 1) / tile, wide = (cells_wide + enlarge - 1 + tile - 1) / tile;
    const long of_tile = POINTS * (v_bytes * (slices + 2 * border) * in + 4 * slices * out);
    int most = at_most(CACHE / of_tile, wide) / ROWS * ROWS;
    if (most < ROWS) most = ROWS;
    const int blocks = (wide + most - 1) / most;
    const int tiles = ((wide + blocks - 1) / blocks + ROWS - 1) / ROWS * ROWS; /* in a block, evenly */
    /* an odd number of cache lines apart, so that the points of a tile do not fight for the same few */
    const long v_slice = tiles * in, v_point = v_slice * (slices + 2 * border) / LANES / 2 * 2 * LANES + LANES * 3;
    const long m_slice = tiles * out, m_point = m_slice * slices / LANES / 2 * 2 * LANES + LANES * 3;
    int failed = 0;
    #pragma omp parallel num_threads(threads)
    {
        char *v = aligned_alloc(64, v_bytes * POINTS * v_point);
        float *m = aligned_alloc(64, 4 * POINTS * m_point);
        if (!v || !m) {
            #pragma omp atomic write
            failed = 1;
        } else
            memset(v, 0, v_bytes * POINTS * v_point); /* slices before the first and after the last, unused rows */
        #pragma omp barrier
        #pragma omp for schedule(dynamic)
        for (int block = 0; block < tall * blocks; block++) {
            if (failed) continue;
            const int top = block / blocks * tile, start = block % blocks * tiles, count = at_most(tiles, wide - start);
            for (int slice = 0; slice < slices; slice++)
                for (int number = 0; number < count; number++)
                    for (int part = 0; part < parts; part++) {
                        const int down = part / shrink, right = part % shrink, left = (start + number) * tile;
                        struct source from = {.above = -above / shrink,
                                              .height = (height + below - down + shrink - 1) / shrink,
                                              .width = (width - right + shrink - 1) / shrink,
                                              .top = top - 1, .left = left - 1};
                        const int inside = from.top >= from.above && from.top + SEEN <= from.height &&
                                           from.left >= 0 && from.left + SEEN <= from.width;
                        entering *const enter = inside ? within : at_border;
                        /* what the last vector of a part or source has too much, the next one overwrites */
                        long row = (slice + border) * v_slice + number * in + part * inputs;
                        const float *slope = of->before;
                        for (const struct input *of_x = x; of_x < x + sources; of_x++) {
                            const long line = of_x->lies.line, pixel = of_x->lies.pixel;
                            from.line = x_bytes * shrink * line;
                            from.pixel = x_bytes * shrink * pixel;
                            const long place = slice * of_x->lies.slice + down * line + right * pixel;
                            const char *here = of_x->x + x_bytes * place;
                            for (int channel = 0; channel < of_x->channels; channel += LANES) {
                                from.x = here + x_bytes * channel;
                                from.channels = of_x->channels - channel;
                                from.slope = slope ? slope + channel : NULL;
                                enter(&from, v + v_bytes * (row + channel), v_bytes * v_point);
                            }
                            row += of_x->channels;
                            if (slope) slope += of_x->channels;
                        }
                    }
            const char *kernels = of->kernels;
            for (int point = 0; point < POINTS; point++)
                for (int output = 0, vectors; output < out; output += vectors * LANES) {
                    const char *after = kernels;
                    vectors = at_once((out - output) / LANES);
                    for (int slice = 0; slice < slices; slice++)
                        after = products(half, vectors, v + v_bytes * (point * v_point + slice * v_slice), in, v_slice, taps,
                                         all_inputs, kernels, m + point * m_point + slice * m_slice + output, out, tiles);
                    kernels = after;
                }
            for (int slice = 0; slice < slices; slice++)
                for (int number = 0; number < count; number++)
                    for (int copy = 0; copy < copies; copy++) {
                        const int down = copy / enlarge, right = copy % enlarge;
                        const int row = top - down, column = (start + number) * tile - right;
                        const float *from = m + slice * m_slice + number * out + copy * part;
                        const long line = enlarge * of_y->line, pixel = enlarge * of_y->pixel;
                        const long place = slice * of_y->slice + row * line + column * pixel + down * of_y->line +
                                           right * of_y->pixel;
                        struct result to = {.line = y_bytes * line, .pixel = y_bytes * pixel,
                                            .rows = part_of(row, tile, cells_high), .columns = part_of(column, tile, cells_wide)};
                        for (int channel = 0; channel < outputs; channel += LANES) {
                            to.y = y + y_bytes * (place + channel);
                            to.added = added ? added + y_bytes * (place + channel) : NULL;
                            to.channels = outputs - channel;
                            to.bias = of->bias + channel;
                            to.slope = of->after ? of->after + channel : NULL;
                            out_of(from + channel, m_point, &to);
                        }
                    }
        }
#ifdef __AVX2__
        _mm_sfence(); /* what went past the caches is there */
#endif
        free(v);
        free(m);
    }
    return failed;
}
