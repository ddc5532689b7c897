/* A ResNeXt bottleneck in one pass, for channels_last pixels. ops/cpu/bottleneck.py calls it.

    x --1x1, ReLU--> some rows of it --grouped kernel, ReLU--> one row --1x1--+
    x --1x1------------------------------------------------------------------ + -> ReLU -> y

    scale 1: the kernel sees every ``stride``-th pixel and what lies around it
    scale 2: a transposed one: each pixel becomes 2x2; each of them (a phase) is a convolution with its share of the taps

What lies between is never whole. The inner channels are laid out so that groups do not share a vector by halves: either
a vector holds some whole groups, or a larger group takes some whole vectors.
*/

#include "aligned.h"
#include "tweenlet.h"

#include "gemm.h"

#define COLUMNS 8    /* output columns of the grouped kernel computed at once */
#define PIXELS 24    /* pixels of the 1x1 kernels computed at once */
#define MAX_GROUP 16 /* most inputs of a group */
#define TAPS 7       /* most taps of a side */

INLINE int bytes(int is_bf16) { return is_bf16 ? 2 : 4; }

/* For COLUMNS pixels one vector of what the grouped kernel makes. rows: by tap down, where the first pixel's first tap
   lies, and so the first vector of its group; a pixel is so many numbers from the next. */
INLINE void convolve_group(const int taps, const int stride, const float *const *rows, int pixel, int group,
                           const mask *order, const float *kernel, vec bias, vec *sum) {
    UNROLL(8)
    for (int i = 0; i < COLUMNS; i++) sum[i] = bias;
    for (int down = 0; down < taps; down++)
        for (int input = 0; input < group; input++, kernel += taps * LANES) {
            const float *x = rows[down] + input / LANES * LANES;
            const mask from = order[input];
            vec weight[TAPS];
            UNROLL(7)
            for (int tap = 0; tap < taps; tap++) weight[tap] = *(const vec *)(kernel + tap * LANES);
            UNROLL(24)
            for (int column = 0; column < stride * (COLUMNS - 1) + taps; column++) {
                const vec value = permute_lanes(x + column * pixel, from);
                UNROLL(8)
                for (int i = 0; i < COLUMNS; i++)
                    if (column >= stride * i && column < stride * i + taps)
                        sum[i] += value * weight[column - stride * i];
            }
        }
}

/* Each variant is a function of its own, so that all loops are unrolled. */
typedef void group_function(const float *const *rows, int pixel, int group, const mask *order, const float *kernel,
                            const float *bias, vec *sum);
#define GROUPED(taps, stride)                                                                                          \
    NOINLINE void grouped_##taps##_##stride(const float *const *rows, int pixel, int group, const mask *order,         \
                                            const float *kernel, const float *bias, vec *sum) {                        \
        vec made[COLUMNS];                                                                                             \
        convolve_group(taps, stride, rows, pixel, group, order, kernel, *(const vec *)bias, made);                     \
        for (int i = 0; i < COLUMNS; i++) sum[i] = relu(made[i]);                                                      \
    }
GROUPED(2, 1)
GROUPED(3, 1)
GROUPED(4, 1)
GROUPED(5, 1)
GROUPED(3, 2)
GROUPED(5, 2)
GROUPED(7, 2)

static group_function *select_group_function(int taps, int stride) {
    switch (10 * taps + stride) {
    case 21: return grouped_2_1;
    case 31: return grouped_3_1;
    case 41: return grouped_4_1;
    case 51: return grouped_5_1;
    case 32: return grouped_3_2;
    case 52: return grouped_5_2;
    case 72: return grouped_7_2;
    default: return NULL;
    }
}

/* pixels x inputs -> m, pixels x outputs; numbers of v from one pixel to the next. */
static void multiply(int is_bf16, const void *v, ptrdiff_t pixel_stride, int inputs, const char *kernels, float *m,
                     int outputs, int pixels) {
    for (int output = 0, vectors; output < outputs; output += vectors * LANES) {
        vectors = vectors_at_once((outputs - output) / LANES);
        kernels = gemm(is_bf16, vectors, v, pixel_stride, 0, 1, inputs, kernels, m + output, outputs, pixels);
    }
}

/* ReLU of the sum of m, a residual if given, and a bias. */
INLINE void add_relu_store(const int is_bf16, const float *m, const float *residual, const float *bias, char *y,
                           ptrdiff_t pixel_stride, int outputs, int pixels) {
    const int padded = round_to_vectors(outputs);
    for (int channel = 0; channel < outputs; channel += LANES) {
        const lane_mask active = first_lanes(outputs - channel);
        const vec shift = *(const vec *)(bias + channel);
        for (int pixel = 0; pixel < pixels; pixel++) {
            vec value = *(const vec *)(m + pixel * padded + channel) + shift;
            if (residual) value += *(const vec *)(residual + pixel * padded + channel);
            store(y + bytes(is_bf16) * (pixel * pixel_stride + channel), relu(value), active, is_bf16);
        }
    }
}

/* Buffers of a thread. */
struct workspace {
    float *ring, *zeros;   /* the last few rows of inner channels; a row outside of the image */
    char *row;             /* output of the grouped kernel */
    float *m, *m_shortcut; /* products */
};

/* Allocates so many floats. */
static void *allocate_floats(ptrdiff_t numbers) { return allocate_aligned(4 * numbers); }

/* Computes one row of inner channels. */
static void reduce_row(const struct tweenlet_bottleneck *weights, const char *x, ptrdiff_t pixel_stride, int width,
                       const struct workspace *in, float *to) {
    for (int start = 0; start < width; start += PIXELS) {
        const int pixels = at_most(PIXELS, width - start);
        multiply(weights->is_bf16, x + bytes(weights->is_bf16) * start * pixel_stride, pixel_stride, weights->inputs,
                 weights->reduce, in->m, weights->inner, pixels);
        add_relu_store(0, in->m, NULL, weights->reduce_bias, (char *)(to + (ptrdiff_t)start * weights->inner),
                       weights->inner, weights->inner, pixels);
    }
}

/* One output row of a phase of the grouped kernel. */
static void convolve_row(const struct tweenlet_bottleneck *weights, group_function *grouped, const float *const *rows,
                         const mask *order, int phase, int columns, char *row) {
    const int spread = (weights->group + LANES - 1) / LANES; /* vectors of a group, at least one */
    const ptrdiff_t size = (ptrdiff_t)weights->taps * weights->taps * weights->group * LANES; /* of a vector's kernel */
    const float *kernel = weights->grouped + phase * size * (weights->inner / LANES);
    for (int vector = 0; vector < weights->inner / LANES; vector++, kernel += size)
        for (int column = 0; column < columns; column += COLUMNS) {
            const float *there[TAPS];
            for (int tap = 0; tap < weights->taps; tap++)
                there[tap] =
                    rows[tap] + (ptrdiff_t)weights->stride * column * weights->inner + vector / spread * spread * LANES;
            vec sum[COLUMNS];
            grouped(there, weights->inner, weights->group, order, kernel, weights->grouped_bias + vector * LANES, sum);
            for (int i = 0; i < COLUMNS; i++) {
                const ptrdiff_t place = (ptrdiff_t)(column + i) * weights->inner + vector * LANES;
                store(row + bytes(weights->is_bf16) * place, sum[i], first_lanes(LANES), weights->is_bf16);
            }
        }
}

/* x (height, width, inputs) -> y (scale height, scale width, outputs), or every stride-th of it. 1: not enough memory; -1:
   no such kernel. */
int tweenlet_bottleneck(const struct tweenlet_bottleneck *weights, const struct tweenlet_image *x,
                        const struct tweenlet_image *y, int height, int width, int threads) {
    group_function *const grouped = select_group_function(weights->taps, weights->stride);
    if (!grouped || weights->group > MAX_GROUP) return -1;
    const int size = bytes(weights->is_bf16), phases = weights->scale * weights->scale,
              outputs = round_to_vectors(weights->outputs);
    const int lines = (height + weights->stride - 1) / weights->stride,
              columns = (width + weights->stride - 1) / weights->stride;
    const int all_columns = (columns + COLUMNS - 1) / COLUMNS * COLUMNS;
    const int start = at_most(weights->first[0], weights->first[1]); /* where taps begin, above and left of a pixel */
    const int ring_rows =
        weights->taps + (weights->first[0] != weights->first[1]); /* rows that the taps of all phases see */
    const ptrdiff_t of_row = (ptrdiff_t)(weights->stride * all_columns + ring_rows - start) *
                             weights->inner; /* numbers of a row of the ring */
    const ptrdiff_t of_m = (ptrdiff_t)PIXELS * (weights->inner > outputs ? weights->inner : outputs);
    const ptrdiff_t shortcut = (ptrdiff_t)size * (weights->is_bf16 ? (weights->inputs + 1) / 2 * 2 : weights->inputs) *
                               outputs; /* of a phase */
    mask order[MAX_GROUP];              /* by input of a group: where in a vector each lane finds it */
    for (int input = 0; input < weights->group; input++)
        for (int lane = 0; lane < LANES; lane++)
            order[input][lane] = weights->group > LANES
                                     ? input % LANES
                                     : at_most(lane / weights->group * weights->group + input, LANES - 1);
    /* As many chunks of lines for each thread. A chunk first makes rows that the one before it makes too, so it has 16
       lines or more unless there are too few. */
    const int chunks = threads * (1 + at_most(lines / threads / 32, 3));
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        struct workspace in = {allocate_floats(ring_rows * of_row), allocate_floats(of_row),
                               allocate_floats((ptrdiff_t)all_columns * weights->inner), allocate_floats(of_m),
                               allocate_floats(of_m)};
        if (!in.ring || !in.zeros || !in.row || !in.m || !in.m_shortcut) {
#pragma omp atomic write
            failed = 1;
        } else {
            memset(in.ring, 0, 4 * ring_rows * of_row); /* stays zero left and right of the image */
            memset(in.zeros, 0, 4 * of_row);
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < chunks; chunk++) {
            if (failed) continue;
            int next = 0; /* the next row that the ring needs */
            for (int line = chunk * lines / chunks; line < (chunk + 1) * lines / chunks; line++) {
                const int top = weights->stride * line + start, end = at_most(top + ring_rows, height);
                if (next < top) next = top;
                for (; next < end; next++)
                    reduce_row(weights, x->values + size * next * x->row, x->pixel, width, &in,
                               in.ring + next % ring_rows * of_row - (ptrdiff_t)start * weights->inner);
                const char *shortcuts = weights->shortcut;
                for (int phase = 0; phase < phases; phase++, shortcuts += shortcut) {
                    const int down = phase / weights->scale, right = phase % weights->scale;
                    const float *rows[TAPS];
                    for (int tap = 0; tap < weights->taps; tap++) {
                        const int row = weights->stride * line + weights->first[down] + tap;
                        rows[tap] = (row < 0 || row >= height ? in.zeros : in.ring + row % ring_rows * of_row) +
                                    (ptrdiff_t)(weights->first[right] - start) * weights->inner;
                    }
                    convolve_row(weights, grouped, rows, order, phase, all_columns, in.row);
                    for (int column = 0; column < columns; column += PIXELS) {
                        const int pixels = at_most(PIXELS, columns - column);
                        const ptrdiff_t from = weights->stride * (line * x->row + column * x->pixel);
                        const ptrdiff_t to =
                            (weights->scale * line + down) * y->row + (weights->scale * column + right) * y->pixel;
                        multiply(weights->is_bf16, in.row + size * (ptrdiff_t)column * weights->inner, weights->inner,
                                 weights->inner, weights->expand, in.m, outputs, pixels);
                        multiply(weights->is_bf16, x->values + size * from, weights->stride * x->pixel, weights->inputs,
                                 shortcuts, in.m_shortcut, outputs, pixels);
                        add_relu_store(weights->is_bf16, in.m, in.m_shortcut, weights->bias, y->values + size * to,
                                       weights->scale * y->pixel, weights->outputs, pixels);
                    }
                }
            }
        }
        free_aligned(in.ring), free_aligned(in.zeros), free_aligned(in.row), free_aligned(in.m),
            free_aligned(in.m_shortcut);
    }
    return failed;
}
