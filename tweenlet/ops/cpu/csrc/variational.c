/* Flow made smooth, and true to brightness and slopes, by relaxations. flow/cpu/variational.py calls it.

    frames, flow -> their mean and change -> slopes                                               whole pictures
    as often as weights are found anew, in bands of rows, one for each thread:
        a row of the system -> relaxed; the row above it once more; the one above that, ...       a ring of rows

   Fields lie in planes with zeros around them, a row above and below, and some on either side of each row. */

#include <stdlib.h>
#include <string.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

#define AROUND 32      /* zeros before and after a row: two vectors */
#define FEWEST_ROWS 16 /* of a band: those that others look at are made in both */

/* What lies along x and along y, at the first pixel of a row. */
struct field {
    float *u, *v;
};

struct gradients {
    float *x, *y, *change, *xx, *xy, *yy, *change_x, *change_y;
};

/* A row of what pixels are relaxed by: what the sums for u and v are multiplied with, what one takes off the other, the sums
   without neighbours, and the weights of those to the right and below. */
struct system {
    float *u, *v, *uv, *by_u, *by_v, *right, *below;
};

struct problem {
    int height, width, sor_iterations;
    long line; /* floats from one row of a field to the next */
    struct tweenlet_penalties by;
    struct gradients gradients;
    struct field flow;
};

/* A thread's few rows of systems and of the field, each row where a later one will be. */
struct ring {
    int rows;
    long line;
    float *systems, *fields;
};

INLINE struct field at(struct field field, long place) { return (struct field){field.u + place, field.v + place}; }

INLINE struct system system_at(const struct ring *ring, int row) {
    float *first = ring->systems + (row + ring->rows) % ring->rows * 7 * ring->line + AROUND;
    const long line = ring->line;
    return (struct system){
        first, first + line, first + 2 * line, first + 3 * line, first + 4 * line, first + 5 * line, first + 6 * line};
}

INLINE struct field field_at(const struct ring *ring, int row) {
    float *u = ring->fields + (row + ring->rows) % ring->rows * 2 * ring->line + AROUND;
    return (struct field){u, u + ring->line};
}

INLINE void copy_row(struct field from, struct field to, int width) {
    memcpy(to.u, from.u, sizeof(float) * width);
    memcpy(to.v, from.v, sizeof(float) * width);
}

/* The next number less the one before, along a row; the last goes on beyond the border. */
static void gradient_along_row(const float *row, float *out, int width) {
    const int last = width - 1;
    out[0] = row[at_most(1, last)] - row[0];
    for (int x = 1; x < last; x++) out[x] = row[x + 1] - row[x - 1];
    if (last) out[last] = row[last] - row[last - 1];
}

/* The same down the columns of a plane. */
static void gradient_down(const float *plane, float *out, int row, int height, int width) {
    const float *above = plane + (long)clamp_index(row - 1, height) * width,
                *below = plane + (long)clamp_index(row + 1, height) * width;
    for (int x = 0; x < width; x++) out[x] = below[x] - above[x];
}

/* How much it counts that a pixel's flow differs from that of the next ones, so far away. */
INLINE float smoothness(struct field flow, struct field increment, long beside, long below,
                        struct tweenlet_penalties by) {
    const float u = flow.u[0] + increment.u[0], v = flow.v[0] + increment.v[0];
    const float right_u = flow.u[beside] + increment.u[beside] - u, right_v = flow.v[beside] + increment.v[beside] - v;
    const float below_u = flow.u[below] + increment.u[below] - u, below_v = flow.v[below] + increment.v[below] - v;
    return by.alpha / 2 /
           sqrtf(right_u * right_u + right_v * right_v + below_u * below_u + below_v * below_v + by.epsilon_squared);
}

static void smoothness_row(const struct problem *of, struct field increment, int row, struct system out) {
    const int last = of->width - 1, below = row < of->height - 1 ? of->line : 0;
    struct field flow = at(of->flow, row * of->line);
    increment = at(increment, row * of->line);
#pragma omp simd
    for (int x = 0; x < last; x++) out.right[x] = smoothness(at(flow, x), at(increment, x), 1, below, of->by);
    out.right[last] = smoothness(at(flow, last), at(increment, last), 0, below, of->by);
    for (int x = 0; x <= last; x++) out.below[x] = below ? out.right[x] : 0;
    out.right[last] = 0;
}

static void assemble_row(const struct problem *of, struct field increment, int row, const float *weights_above,
                         struct system out) {
    const long place = (long)row * of->width, line = of->line;
    const struct tweenlet_penalties by = of->by;
    const struct gradients s = of->gradients;
    const struct field flow = at(of->flow, row * line);
    smoothness_row(of, increment, row, out);
    increment = at(increment, row * line);
#pragma omp simd
    for (int column = 0; column < of->width; column++) {
        const long p = place + column;
        const float x = s.x[p], y = s.y[p], t = s.change[p], xx = s.xx[p], xy = s.xy[p], yy = s.yy[p];
        const float xt = s.change_x[p], yt = s.change_y[p], more_u = increment.u[column], more_v = increment.v[column];
        const float squares = x * x + y * y + by.zeta_squared, changed = t + x * more_u + y * more_v;
        const float bright = by.delta / 2 / (sqrtf(changed * changed / squares + by.epsilon_squared) * squares);
        const float of_x = xx * xx + xy * xy + by.zeta_squared, of_y = yy * yy + xy * xy + by.zeta_squared;
        const float changed_x = xt + xx * more_u + xy * more_v, changed_y = yt + xy * more_u + yy * more_v;
        const float along =
            by.gamma / 2 / sqrtf(changed_x * changed_x / of_x + changed_y * changed_y / of_y + by.epsilon_squared);
        const float by_x = along / of_x, by_y = along / of_y;
        const float right = out.right[column], left = out.right[column - 1], below = out.below[column];
        const float above = weights_above[column], held = by.zeta_squared + right + left + below + above;
        const float u = flow.u[column], v = flow.v[column];
        out.u[column] = by.omega / (bright * x * x + by_x * xx * xx + by_y * xy * xy + held);
        out.v[column] = by.omega / (bright * y * y + by_x * xy * xy + by_y * yy * yy + held);
        out.uv[column] = bright * x * y + by_x * xx * xy + by_y * xy * yy;
        out.by_u[column] = right * (flow.u[column + 1] - u) - left * (u - flow.u[column - 1]) +
                           below * (flow.u[column + line] - u) - above * (u - flow.u[column - line]) - bright * t * x -
                           by_x * xx * xt - by_y * xy * yt;
        out.by_v[column] = right * (flow.v[column + 1] - v) - left * (v - flow.v[column - 1]) +
                           below * (flow.v[column + line] - v) - above * (v - flow.v[column - line]) - bright * t * y -
                           by_x * xy * xt - by_y * yy * yt;
    }
}

INLINE vec from(const float *row) { return *(const vec *)row; }

/* Every other pixel of a row relaxed, whose neighbours are those between: the first of them, or if odd the second. */
static void relax_row(struct system by, const float *weights_above, struct field above, struct field row,
                      struct field below, int odd, float omega, int width) {
    mask kept;
    for (int lane = 0; lane < LANES; lane++) kept[lane] = -((lane + odd) & 1);
    vec left_u = from(row.u - 1), left_v = from(row.v - 1);
    for (int x = 0; x < width; x += LANES) {
        const vec u = from(row.u + x), v = from(row.v + x), right = from(by.right + x), left = from(by.right + x - 1);
        const vec lower = from(by.below + x), upper = from(weights_above + x), uv = from(by.uv + x);
        const vec sum_u = from(by.by_u + x) + right * from(row.u + x + 1) + left * left_u + lower * from(below.u + x) +
                          upper * from(above.u + x);
        const vec sum_v = from(by.by_v + x) + right * from(row.v + x + 1) + left * left_v + lower * from(below.v + x) +
                          upper * from(above.v + x);
        const vec new_u = u - omega * u + from(by.u + x) * (sum_u - v * uv);
        const vec new_v = v - omega * v + from(by.v + x) * (sum_v - new_u * uv);
        left_u = from(row.u + x + LANES - 1),
        left_v = from(row.v + x + LANES - 1); /* once written it would be waited for */
        *(vec *)(row.u + x) = vec_select(kept, u, new_u);
        *(vec *)(row.v + x) = vec_select(kept, v, new_v);
    }
}

/* All sweeps over the rows from top to bottom, and over as many around them as these depend on: from more to made. */
static void sweep_band(const struct problem *of, const struct ring *ring, struct field increment, struct field out,
                       int top, int bottom) {
    const int halves = 2 * of->sor_iterations, start = top > halves - 1 ? top - halves + 1 : 0;
    if (start)
        smoothness_row(of, increment, start - 1, system_at(ring, start - 1));
    else
        memset(system_at(ring, -1).below, 0, sizeof(float) * of->width);
    for (int row = start - 1; row <= start; row++)
        copy_row(at(increment, row * of->line), field_at(ring, row), of->width);
    for (int front = start; front < bottom + halves - 1; front++) {
        if (front < of->height) {
            copy_row(at(increment, (front + 1) * of->line), field_at(ring, front + 1), of->width);
            assemble_row(of, increment, front, system_at(ring, front - 1).below, system_at(ring, front));
        }
        for (int half = 0; half < halves; half++) {
            const int row = front - half, around = halves - 1 - half;
            if (row >= 0 && row < of->height && row >= top - around && row < bottom + around)
                relax_row(system_at(ring, row), system_at(ring, row - 1).below, field_at(ring, row - 1),
                          field_at(ring, row), field_at(ring, row + 1), (row + half) & 1, of->by.omega, of->width);
        }
        const int done = front - halves + 1;
        if (done >= top) copy_row(field_at(ring, done), at(out, done * of->line), of->width);
    }
}

/* flow (2, height, width) between two frames (height, width) -> made, refined. 1: not enough memory. */
int tweenlet_refine_flow(const float *first, const float *second, const float *flow, float *out, int height, int width,
                         int fixed_point_iterations, int sor_iterations, const struct tweenlet_penalties *by,
                         int threads) {
    /* an odd number of times AROUND apart, so that rows do not fight for the same lines of the cache */
    const long plane = (long)height * width, line = ((width + 3 * AROUND - 1) / AROUND | 1) * AROUND;
    const int rows = 2 * sor_iterations + 2,
              bands = height / FEWEST_ROWS < 1 ? 1 : at_most(threads, height / FEWEST_ROWS);
    const long padded = (height + 2) * line, per_thread = (long)rows * 9 * line;
    const size_t bytes = sizeof(float) * (6 * padded + threads * per_thread);
    float *planes = malloc(sizeof(float) * 9 * plane), *workspace = aligned_alloc(64, bytes);
    if (!planes || !workspace) {
        free(planes), free(workspace);
        return 1;
    }
    memset(workspace, 0, bytes);
    float *mean = planes + 8 * plane, *field = workspace + line + AROUND;
    const struct gradients s = {planes,
                                planes + plane,
                                planes + 2 * plane,
                                planes + 3 * plane,
                                planes + 4 * plane,
                                planes + 5 * plane,
                                planes + 6 * plane,
                                planes + 7 * plane};
    struct field increment[] = {{field, field + padded}, {field + 2 * padded, field + 3 * padded}};
    const struct problem problem = {
        height, width, sor_iterations, line, *by, s, {field + 4 * padded, field + 5 * padded}};
    const struct frame other = {second, height, width};
#pragma omp parallel num_threads(threads)
    {
        float *own = workspace + 6 * padded + omp_get_thread_num() * per_thread;
        const struct ring ring = {rows, line, own, own + 7 * rows * line};
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            copy_row((struct field){(float *)flow + place, (float *)flow + plane + place}, at(problem.flow, row * line),
                     width);
#pragma omp simd
            for (int x = 0; x < width; x++) {
                const float here = first[place + x],
                            there = bilinear_at(other, row + flow[plane + place + x], x + flow[place + x]);
                mean[place + x] = (here + there) / 2;
                s.change[place + x] = there - here;
            }
        }
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            gradient_along_row(mean + place, s.x + place, width);
            gradient_down(mean, s.y + place, row, height, width);
            gradient_along_row(s.change + place, s.change_x + place, width);
            gradient_down(s.change, s.change_y + place, row, height, width);
        }
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            gradient_along_row(s.x + place, s.xx + place, width);
            gradient_down(s.x, s.xy + place, row, height, width);
            gradient_down(s.y, s.yy + place, row, height, width);
        }
        for (int time = 0; time < fixed_point_iterations; time++)
#pragma omp for schedule(static)
            for (int band = 0; band < bands; band++)
                sweep_band(&problem, &ring, increment[time % 2], increment[(time + 1) % 2], (long)height * band / bands,
                           (long)height * (band + 1) / bands);
#pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const struct field added = at(increment[fixed_point_iterations % 2], row * line);
            for (int x = 0; x < width; x++) {
                out[(long)row * width + x] = flow[(long)row * width + x] + added.u[x];
                out[plane + (long)row * width + x] = flow[plane + (long)row * width + x] + added.v[x];
            }
        }
    }
    free(planes), free(workspace);
    return 0;
}
