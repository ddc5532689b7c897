/* A ResNeXt bottleneck in one pass, for pixels whose channels lie side by side. ops/bottleneck.py calls it.

    x --1x1, ReLU--> some rows of it --grouped kernel, ReLU--> one row --1x1--+
    x --1x1------------------------------------------------------------------ + -> ReLU -> y

    scale 1: the kernel sees every ``step``-th pixel and what lies around it
    scale 2: a transposed one: each pixel becomes 2x2; each of them (a phase) is a convolution with its share of the taps

What lies between is never whole. The inner channels are laid out so that groups do not share a vector by halves: either
a vector holds some whole groups, or a larger group takes some whole vectors.
*/

#include <stdlib.h>

#include "products.h"

#define COLUMNS 8 /* of the grouped kernel's, made at once */
#define PIXELS (4 * ROWS) /* of the 1x1 kernels', made at once */
#define MOST 16 /* inputs of a group, at most */
#define TAPS 7 /* of a side, at most */

struct bottleneck { /* kernels of 1x1: as products read them; biases: zeros after the last */
    int inputs, inner, outputs; /* inner: as laid out, in whole vectors */
    int group; /* channels of a group */
    int taps; /* of the grouped kernel, a side (scale 2: of a phase) */
    int step, scale;
    int first[2]; /* of even and of odd output pixels: where the first tap lies, from the pixel; zero or less */
    int half; /* whether x, y and the products of the 1x1 kernels are bfloat16; the grouped kernel's are float32 */
    const void *reduce, *expand, *shortcut; /* shortcut: by phase */
    const float *grouped; /* [phase][vector][tap down][input of a group][tap right][LANES] */
    const float *reduce_bias, *grouped_bias, *bias; /* bias: what expand and shortcut add */
};

struct picture {
    char *x;
    long line, pixel; /* numbers from one to the next */
};

ALWAYS int bytes(int half) { return half ? 2 : 4; }

/* For COLUMNS pixels one vector of what the grouped kernel makes. rows: by tap down, where the first pixel's first tap
   lies, and so the first vector of its group; a pixel is so many numbers from the next. */
ALWAYS void grouped(const int taps, const int step, const float *const *rows, int pixel, int group, const mask *order,
                    const float *kernel, vec bias, vec *sum) {
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
            for (int column = 0; column < step * (COLUMNS - 1) + taps; column++) {
                const vec seen = gathered(x + column * pixel, from);
                UNROLL(8)
                for (int i = 0; i < COLUMNS; i++)
                    if (column >= step * i && column < step * i + taps) sum[i] += seen * weight[column - step * i];
            }
        }
}

/* Each in a function of its own, where all loops are unrolled. */
typedef void grouping(const float *const *rows, int pixel, int group, const mask *order, const float *kernel,
                      const float *bias, vec *sum);
#define GROUPED(taps, step)                                                                                       \
    ALONE void grouped_##taps##_##step(const float *const *rows, int pixel, int group, const mask *order,          \
                                       const float *kernel, const float *bias, vec *sum) {                         \
        vec made[COLUMNS];                                                                                        \
        grouped(taps, step, rows, pixel, group, order, kernel, *(const vec *)bias, made);                          \
        for (int i = 0; i < COLUMNS; i++) sum[i] = positive(made[i]);                                             \
    }
GROUPED(2, 1)
GROUPED(3, 1)
GROUPED(4, 1)
GROUPED(5, 1)
GROUPED(3, 2)
GROUPED(5, 2)
GROUPED(7, 2)

static grouping *grouping_of(int taps, int step) {
    switch (10 * taps + step) {
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
static void matrix(int half, const void *v, long apart, int inputs, const char *kernels, float *m, int outputs, int pixels) {
    for (int output = 0, vectors; output < outputs; output += vectors * LANES) {
        vectors = at_once((outputs - output) / LANES);
        kernels = products(half, vectors, v, apart, 0, 1, inputs, kernels, m + output, outputs, pixels);
    }
}

/* The sum of m, of what is added if given, and of a bias, without what is below zero. */
ALWAYS void finish(const int half, const float *m, const float *added, const float *bias, char *y, long apart, int outputs,
                   int pixels) {
    const int padded = in_vectors(outputs);
    for (int channel = 0; channel < outputs; channel += LANES) {
        const some these = first(outputs - channel);
        const vec shift = *(const vec *)(bias + channel);
        for (int pixel = 0; pixel < pixels; pixel++) {
            vec value = *(const vec *)(m + pixel * padded + channel) + shift;
            if (added) value += *(const vec *)(added + pixel * padded + channel);
            store(y + bytes(half) * (pixel * apart + channel), positive(value), these, half);
        }
    }
}

/* What a thread works in. */
struct room {
    float *ring, *nothing; /* rows of inner channels, the last few; one outside of the picture */
    char *row; /* what the grouped kernel makes of them */
    float *m, *also; /* products */
};

/* For so many floats. */
static void *space(long numbers) { return aligned_alloc(64, (4 * numbers + 63) / 64 * 64); }

/* One row of inner channels. */
static void reduced(const struct bottleneck *of, const char *x, long apart, int width, const struct room *in, float *to) {
    for (int start = 0; start < width; start += PIXELS) {
        const int pixels = at_most(PIXELS, width - start);
        matrix(of->half, x + bytes(of->half) * start * apart, apart, of->inputs, of->reduce, in->m, of->inner, pixels);
        finish(0, in->m, NULL, of->reduce_bias, (char *)(to + (long)start * of->inner), of->inner, of->inner, pixels);
    }
}

/* One row of what a phase of the grouped kernel makes. */
static void convolved(const struct bottleneck *of, grouping *made, const float *const *rows, const mask *order, int phase,
                      int columns, char *row) {
    const int spread = (of->group + LANES - 1) / LANES; /* vectors of a group, at least one */
    const long size = (long)of->taps * of->taps * of->group * LANES; /* of a vector's kernel */
    const float *kernel = of->grouped + phase * size * (of->inner / LANES);
    for (int vector = 0; vector < of->inner / LANES; vector++, kernel += size)
        for (int column = 0; column < columns; column += COLUMNS) {
            const float *there[TAPS];
            for (int tap = 0; tap < of->taps; tap++)
                there[tap] = rows[tap] + (long)of->step * column * of->inner + vector / spread * spread * LANES;
            vec sum[COLUMNS];
            made(there, of->inner, of->group, order, kernel, of->grouped_bias + vector * LANES, sum);
            for (int i = 0; i < COLUMNS; i++) {
                const long place = (long)(column + i) * of->inner + vector * LANES;
                store(row + bytes(of->half) * place, sum[i], first(LANES), of->half);
            }
        }
}

/* x (height, width, inputs) -> y (scale height, scale width, outputs), or every step-th of it. 1: not enough memory; -1:
   no such kernel. */
int bottleneck(const struct bottleneck *of, const struct picture *x, const struct picture *y, int height, int width,
               int threads) {
    grouping *const made = grouping_of(of->taps, of->step);
    if (!made || of->group > MOST) return -1;
    const int size = bytes(of->half), phases = of->scale * of->scale, outputs = in_vectors(of->outputs);
    const int lines = (height + of->step - 1) / of->step, columns = (width + of->step - 1) / of->step;
    const int all_columns = (columns + COLUMNS - 1) / COLUMNS * COLUMNS;
    const int start = at_most(of->first[0], of->first[1]); /* where taps begin, above and left of a pixel */
    const int kept = of->taps + (of->first[0] != of->first[1]); /* rows that the taps of all phases see */
    const long of_row = (long)(of->step * all_columns + kept - start) * of->inner; /* numbers of a row of the ring */
    const long of_m = (long)PIXELS * (of->inner > outputs ? of->inner : outputs);
    const long shortcut = (long)size * (of->half ? (of->inputs + 1) / 2 * 2 : of->inputs) * outputs; /* of a phase */
    mask order[MOST]; /* by input of a group: where in a vector each lane finds it */
    for (int input = 0; input < of->group; input++)
        for (int lane = 0; lane < LANES; lane++)
            order[input][lane] =
                of->group > LANES ? input % LANES : at_most(lane / of->group * of->group + input, LANES - 1);
    /* As many chunks of lines for each thread. A chunk first makes rows that the one before it makes too, so it has 16
       lines or more unless there are too few. */
    const int chunks = threads * (1 + at_most(lines / threads / 32, 3));
    int failed = 0;
    #pragma omp parallel num_threads(threads)
    {
        struct room in = {space(kept * of_row), space(of_row), space((long)all_columns * of->inner), space(of_m), space(of_m)};
        if (!in.ring || !in.nothing || !in.row || !in.m || !in.also) {
            #pragma omp atomic write
            failed = 1;
        } else {
            memset(in.ring, 0, 4 * kept * of_row); /* left and right of the picture it stays so */
            memset(in.nothing, 0, 4 * of_row);
        }
        #pragma omp barrier
        #pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < chunks; chunk++) {
            if (failed) continue;
            int next = 0; /* the row that the ring lacks */
            for (int line = chunk * lines / chunks; line < (chunk + 1) * lines / chunks; line++) {
                const int top = of->step * line + start, end = at_most(top + kept, height);
                if (next < top) next = top;
                for (; next < end; next++)
                    reduced(of, x->x + size * next * x->line, x->pixel, width, &in,
                            in.ring + next % kept * of_row - (long)start * of->inner);
                const char *shortcuts = of->shortcut;
                for (int phase = 0; phase < phases; phase++, shortcuts += shortcut) {
                    const int down = phase / of->scale, right = phase % of->scale;
                    const float *rows[TAPS];
                    for (int tap = 0; tap < of->taps; tap++) {
                        const int row = of->step * line + of->first[down] + tap;
                        rows[tap] = (row < 0 || row >= height ? in.nothing : in.ring + row % kept * of_row) +
                                    (long)(of->first[right] - start) * of->inner;
                    }
                    convolved(of, made, rows, order, phase, all_columns, in.row);
                    for (int column = 0; column < columns; column += PIXELS) {
                        const int pixels = at_most(PIXELS, columns - column);
                        const long from = of->step * (line * x->line + column * x->pixel);
                        const long to = (of->scale * line + down) * y->line + (of->scale * column + right) * y->pixel;
                        matrix(of->half, in.row + size * (long)column * of->inner, of->inner, of->inner, of->expand, in.m,
                               outputs, pixels);
                        matrix(of->half, x->x + size * from, of->step * x->pixel, of->inputs, shortcuts, in.also, outputs,
                               pixels);
                        finish(of->half, in.m, in.also, of->bias, y->x + size * to, of->scale * y->pixel, of->outputs, pixels);
                    }
                }
            }
        }
        free(in.ring), free(in.nothing), free(in.row), free(in.m), free(in.also);
    }
    return failed;
}
