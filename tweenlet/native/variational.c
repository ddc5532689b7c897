/* Flow made smooth, and true to brightness and slopes, by relaxations. ops/variational.py calls it.

    frames, flow -> their mean and change -> slopes                                               whole pictures
    as often as weights are found anew, in bands of rows, one for each thread:
        a row of the system -> relaxed; the row above it once more; the one above that, ...       a ring of rows

   Fields lie in planes with zeros around them, a row above and below, and some on either side of each row. */

#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#include "frames.h"

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

#define AROUND 32      /* zeros before and after a row: two vectors */
#define FEWEST_ROWS 16 /* of a band: those that others look at are made in both */

struct penalties {
    float smooth, bright, slope, over, dull, tiny;
};

/* What lies along x and along y, at the first pixel of a row. */
struct field {
    float *u, *v;
};

struct slopes {
    float *x, *y, *change, *xx, *xy, *yy, *change_x, *change_y;
};

/* A row of what pixels are relaxed by: what the sums for u and v are multiplied with, what one takes off the other, the sums
   without neighbours, and the weights of those to the right and below. */
struct system {
    float *u, *v, *uv, *by_u, *by_v, *right, *below;
};

struct problem {
    int height, width, sweeps;
    long line; /* floats from one row of a field to the next */
    struct penalties by;
    struct slopes slopes;
    struct field flow;
};

/* A thread's few rows of systems and of the field, each row where a later one will be. */
struct ring {
    int rows;
    long line;
    float *systems, *fields;
};

ALWAYS struct field at(struct field field, long place) { return (struct field){field.u + place, field.v + place}; }

ALWAYS struct system system_at(const struct ring *ring, int row) {
    float *first = ring->systems + (row + ring->rows) % ring->rows * 7 * ring->line + AROUND;
    const long line = ring->line;
    return (struct system){first,            first + line,     first + 2 * line, first + 3 * line,
                           first + 4 * line, first + 5 * line, first + 6 * line};
}

ALWAYS struct field field_at(const struct ring *ring, int row) {
    float *u = ring->fields + (row + ring->rows) % ring->rows * 2 * ring->line + AROUND;
    return (struct field){u, u + ring->line};
}

ALWAYS void copy_row(struct field from, struct field to, int width) {
    memcpy(to.u, from.u, sizeof(float) * width);
    memcpy(to.v, from.v, sizeof(float) * width);
}

/* The next number less the one before, along a row; the last goes on beyond the border. */
static void slope_along(const float *row, float *made, int width) {
    const int last = width - 1;
    made[0] = row[at_most(1, last)] - row[0];
    for (int x = 1; x < last; x++) made[x] = row[x + 1] - row[x - 1];
    if (last) made[last] = row[last] - row[last - 1];
}

/* The same down the columns of a plane. */
static void slope_down(const float *plane, float *made, int row, int height, int width) {
    const float *above = plane + (long)inside(row - 1, height) * width, *below = plane + (long)inside(row + 1, height) * width;
    for (int x = 0; x < width; x++) made[x] = below[x] - above[x];
}

/* How much it counts that a pixel's flow differs from that of the next ones, so far away. */
ALWAYS float smoothness(struct field flow, struct field more, long beside, long below, struct penalties by) {
    const float u = flow.u[0] + more.u[0], v = flow.v[0] + more.v[0];
    const float right_u = flow.u[beside] + more.u[beside] - u, right_v = flow.v[beside] + more.v[beside] - v;
    const float below_u = flow.u[below] + more.u[below] - u, below_v = flow.v[below] + more.v[below] - v;
    return by.smooth / 2 / sqrtf(right_u * right_u + right_v * right_v + below_u * below_u + below_v * below_v + by.tiny);
}

static void weights_of_row(const struct problem *of, struct field more, int row, struct system made) {
    const int last = of->width - 1, below = row < of->height - 1 ? of->line : 0;
    struct field flow = at(of->flow, row * of->line);
    more = at(more, row * of->line);
    #pragma omp simd
    for (int x = 0; x < last; x++) made.right[x] = smoothness(at(flow, x), at(more, x), 1, below, of->by);
    made.right[last] = smoothness(at(flow, last), at(more, last), 0, below, of->by);
    for (int x = 0; x <= last; x++) made.below[x] = below ? made.right[x] : 0;
    made.right[last] = 0;
}

static void system_of_row(const struct problem *of, struct field more, int row, const float *weights_above,
                          struct system made) {
    const long place = (long)row * of->width, line = of->line;
    const struct penalties by = of->by;
    const struct slopes s = of->slopes;
    const struct field flow = at(of->flow, row * line);
    weights_of_row(of, more, row, made);
    more = at(more, row * line);
    #pragma omp simd
    for (int column = 0; column < of->width; column++) {
        const long p = place + column;
        const float x = s.x[p], y = s.y[p], t = s.change[p], xx = s.xx[p], xy = s.xy[p], yy = s.yy[p];
        const float xt = s.change_x[p], yt = s.change_y[p], more_u = more.u[column], more_v = more.v[column];
        const float squares = x * x + y * y + by.dull, changed = t + x * more_u + y * more_v;
        const float bright = by.bright / 2 / (sqrtf(changed * changed / squares + by.tiny) * squares);
        const float of_x = xx * xx + xy * xy + by.dull, of_y = yy * yy + xy * xy + by.dull;
        const float changed_x = xt + xx * more_u + xy * more_v, changed_y = yt + xy * more_u + yy * more_v;
        const float along = by.slope / 2 / sqrtf(changed_x * changed_x / of_x + changed_y * changed_y / of_y + by.tiny);
        const float by_x = along / of_x, by_y = along / of_y;
        const float right = made.right[column], left = made.right[column - 1], below = made.below[column];
        const float above = weights_above[column], held = by.dull + right + left + below + above;
        const float u = flow.u[column], v = flow.v[column];
        made.u[column] = by.over / (bright * x * x + by_x * xx * xx + by_y * xy * xy + held);
        made.v[column] = by.over / (bright * y * y + by_x * xy * xy + by_y * yy * yy + held);
        made.uv[column] = bright * x * y + by_x * xx * xy + by_y * xy * yy;
        made.by_u[column] = right * (flow.u[column + 1] - u) - left * (u - flow.u[column - 1]) +
                            below * (flow.u[column + line] - u) - above * (u - flow.u[column - line]) -
                            bright * t * x - by_x * xx * xt - by_y * xy * yt;
        made.by_v[column] = right * (flow.v[column + 1] - v) - left * (v - flow.v[column - 1]) +
                            below * (flow.v[column + line] - v) - above * (v - flow.v[column - line]) -
                            bright * t * y - by_x * xy * xt - by_y * yy * yt;
    }
}

ALWAYS vec from(const float *row) { return *(const vec *)row; }

/* Every other pixel of a row relaxed, whose neighbours are those between: the first of them, or if odd the second. */
static void relax(struct system by, const float *weights_above, struct field above, struct field row, struct field below,
                  int odd, float over, int width) {
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
        const vec new_u = u - over * u + from(by.u + x) * (sum_u - v * uv);
        const vec new_v = v - over * v + from(by.v + x) * (sum_v - new_u * uv);
        left_u = from(row.u + x + LANES - 1), left_v = from(row.v + x + LANES - 1); /* once written it would be waited for */
        *(vec *)(row.u + x) = chosen(kept, u, new_u);
        *(vec *)(row.v + x) = chosen(kept, v, new_v);
    }
}

/* All sweeps over the rows from top to bottom, and over as many around them as these depend on: from more to made. */
static void sweep_band(const struct problem *of, const struct ring *ring, struct field more, struct field made, int top,
                       int bottom) {
    const int halves = 2 * of->sweeps, start = top > halves - 1 ? top - halves + 1 : 0;
    if (start)
        weights_of_row(of, more, start - 1, system_at(ring, start - 1));
    else
        memset(system_at(ring, -1).below, 0, sizeof(float) * of->width);
    for (int row = start - 1; row <= start; row++) copy_row(at(more, row * of->line), field_at(ring, row), of->width);
    for (int front = start; front < bottom + halves - 1; front++) {
        if (front < of->height) {
            copy_row(at(more, (front + 1) * of->line), field_at(ring, front + 1), of->width);
            system_of_row(of, more, front, system_at(ring, front - 1).below, system_at(ring, front));
        }
        for (int half = 0; half < halves; half++) {
            const int row = front - half, around = halves - 1 - half;
            if (row >= 0 && row < of->height && row >= top - around && row < bottom + around)
                relax(system_at(ring, row), system_at(ring, row - 1).below, field_at(ring, row - 1), field_at(ring, row),
                      field_at(ring, row + 1), (row + half) & 1, of->by.over, of->width);
        }
        const int done = front - halves + 1;
        if (done >= top) copy_row(field_at(ring, done), at(made, done * of->line), of->width);
    }
}

/* flow (2, height, width) between two frames (height, width) -> made, refined. 1: not enough memory. */
int refine(const float *first, const float *second, const float *flow, float *made, int height, int width, int fixed,
           int sweeps, const struct penalties *by, int threads) {
    /* an odd number of times AROUND apart, so that rows do not fight for the same lines of the cache */
    const long plane = (long)height * width, line = ((width + 3 * AROUND - 1) / AROUND | 1) * AROUND;
    const int rows = 2 * sweeps + 2, bands = height / FEWEST_ROWS < 1 ? 1 : at_most(threads, height / FEWEST_ROWS);
    const long padded = (height + 2) * line, of_thread = (long)rows * 9 * line;
    const size_t bytes = sizeof(float) * (6 * padded + threads * of_thread);
    float *planes = malloc(sizeof(float) * 9 * plane), *room = aligned_alloc(64, bytes);
    if (!planes || !room) {
        free(planes), free(room);
        return 1;
    }
    memset(room, 0, bytes);
    float *mean = planes + 8 * plane, *field = room + line + AROUND;
    const struct slopes s = {planes,             planes + plane,     planes + 2 * plane, planes + 3 * plane,
                             planes + 4 * plane, planes + 5 * plane, planes + 6 * plane, planes + 7 * plane};
    struct field more[] = {{field, field + padded}, {field + 2 * padded, field + 3 * padded}};
    const struct problem problem = {height, width, sweeps, line, *by, s, {field + 4 * padded, field + 5 * padded}};
    const struct frame other = {second, height, width};
    #pragma omp parallel num_threads(threads)
    {
        float *own = room + 6 * padded + omp_get_thread_num() * of_thread;
        const struct ring ring = {rows, line, own, own + 7 * rows * line};
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            copy_row((struct field){(float *)flow + place, (float *)flow + plane + place}, at(problem.flow, row * line), width);
            #pragma omp simd
            for (int x = 0; x < width; x++) {
                const float here = first[place + x], there = sampled(other, row + flow[plane + place + x], x + flow[place + x]);
                mean[place + x] = (here + there) / 2;
                s.change[place + x] = there - here;
            }
        }
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            slope_along(mean + place, s.x + place, width);
            slope_down(mean, s.y + place, row, height, width);
            slope_along(s.change + place, s.change_x + place, width);
            slope_down(s.change, s.change_y + place, row, height, width);
        }
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const long place = (long)row * width;
            slope_along(s.x + place, s.xx + place, width);
            slope_down(s.x, s.xy + place, row, height, width);
            slope_down(s.y, s.yy + place, row, height, width);
        }
        for (int time = 0; time < fixed; time++)
            #pragma omp for schedule(static)
            for (int band = 0; band < bands; band++)
                sweep_band(&problem, &ring, more[time % 2], more[(time + 1) % 2], (long)height * band / bands,
                           (long)height * (band + 1) / bands);
        #pragma omp for schedule(static)
        for (int row = 0; row < height; row++) {
            const struct field added = at(more[fixed % 2], row * line);
            for (int x = 0; x < width; x++) {
                made[(long)row * width + x] = flow[(long)row * width + x] + added.u[x];
                made[plane + (long)row * width + x] = flow[plane + (long)row * width + x] + added.v[x];
            }
        }
    }
    free(planes), free(room);
    return 0;
}
