/* The search for flow: patches of one frame looked for in another, many at once. ops/search.py calls it. */

#include <stdlib.h>

#include "vectors.h"

#include "frames.h"

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

#define PATCH 8 /* pixels along its side: a vector holds a line of them */
#ifndef TOGETHER
#define TOGETHER 4 /* patches looked for in turn, so that none has to wait for what its own last step said */
#endif

typedef float line __attribute__((vector_size(4 * PATCH), aligned(4), may_alias));
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

/* What is looked for: its pixels and their slopes, the means of pixels taken off, and a Gauss-Newton step's matrix. */
struct patch {
    line pixels[PATCH], x[PATCH], y[PATCH];
    float top, left, xx, xy, yy;
};

struct candidate {
    float u, v, misfit;
};

ALWAYS void better(struct candidate *than, float u, float v, float misfit) {
    const int is = misfit < than->misfit;
    than->u = is ? u : than->u, than->v = is ? v : than->v, than->misfit = is ? misfit : than->misfit;
}

/* How it fits where a vector points: squares of what differs, and what a step takes off the vector. */
struct fit {
    float misfit, u, v;
};

ALWAYS float total(line of) {
    const float *numbers = (const float *)&of;
    four x = *(const four *)numbers + *(const four *)(numbers + 4);
    return (x[0] + x[2]) + (x[1] + x[3]);
}

/* The sum of a patch, in a tree: eight lines one after the other would wait for each other. */
ALWAYS float summed(const line *of) {
    return total(((of[0] + of[1]) + (of[2] + of[3])) + ((of[4] + of[5]) + (of[6] + of[7])));
}

/* The sum of products of two patches. */
ALWAYS float product(const line *a, const line *b) {
    line even = a[0] * b[0], odd = a[1] * b[1];
    UNROLL(3)
    for (int k = 2; k < PATCH; k += 2) even += a[k] * b[k], odd += a[k + 1] * b[k + 1];
    return total(even + odd);
}

ALWAYS line between(const float *from, float right) {
    line here = *(const line *)from;
    return here + right * (*(const line *)(from + 1) - here);
}

ALWAYS struct patch taken(const float *first, const float *x, const float *y, int width, int top, int left, float flattest) {
    struct patch patch = {.top = top, .left = left};
    UNROLL(8)
    for (int row = 0; row < PATCH; row++) {
        const long at = (long)(top + row) * width + left;
        patch.pixels[row] = *(const line *)(first + at);
        patch.x[row] = *(const line *)(x + at), patch.y[row] = *(const line *)(y + at);
    }
    const float mean = summed(patch.pixels) / (PATCH * PATCH);
    UNROLL(8)
    for (int row = 0; row < PATCH; row++) patch.pixels[row] -= mean;
    const float of_xx = product(patch.x, patch.x), of_xy = product(patch.x, patch.y), of_yy = product(patch.y, patch.y);
    const float determinant = of_xx * of_yy - of_xy * of_xy, share = 1 / (determinant > flattest ? determinant : flattest);
    patch.xx = of_xx * share, patch.xy = of_xy * share, patch.yy = of_yy * share;
    return patch;
}

/* The patch where a vector points; steps: whether a step is wanted. */
ALWAYS struct fit fitted(const int steps, const struct patch *patch, struct frame second, float u, float v) {
    const float y = clamped(patch->top + v, 1 - PATCH, second.height - 1);
    const float x = clamped(patch->left + u, 1 - PATCH, second.width - 1);
    const float row = floorf(y), column = floorf(x), down = y - row, right = x - column;
    const int top = row, left = column;
    float around[PATCH + 1][2 * PATCH];
    const float *from = second.pixels + (long)top * second.width + left;
    long width = second.width;
    if (top < 0 || left < 0 || top + PATCH >= second.height || left + PATCH >= second.width) {
        for (int below = 0; below <= PATCH; below++)
            for (int beside = 0; beside <= PATCH; beside++)
                around[below][beside] = second.pixels[(long)inside(top + below, second.height) * second.width +
                                                      inside(left + beside, second.width)];
        from = around[0];
        width = 2 * PATCH;
    }
    line apart[PATCH], above = between(from, right);
    UNROLL(8)
    for (int k = 0; k < PATCH; k++) {
        line below = between(from + (k + 1) * width, right);
        apart[k] = above + down * (below - above) - patch->pixels[k];
        above = below;
    }
    const float mean = summed(apart) / (PATCH * PATCH);
    UNROLL(8)
    for (int k = 0; k < PATCH; k++) apart[k] -= mean;
    struct fit fit = {.misfit = product(apart, apart)};
    if (steps) {
        const float along_x = product(apart, patch->x), along_y = product(apart, patch->y);
        fit.u = patch->yy * along_x - patch->xy * along_y;
        fit.v = patch->xx * along_y - patch->xy * along_x;
    }
    return fit;
}

/* Slopes (2, height, width) along x and y of a picture; reflected beyond the borders. 0. */
int sobel(const float *picture, float *slopes, int height, int width, int threads) {
    const long plane = (long)height * width;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *own = picture + (long)row * width, *above = row ? own - width : own + width;
        const float *below = row + 1 < height ? own + width : own - width;
        float *x = slopes + (long)row * width, *y = x + plane;
        for (int column = 0; column < width; column++) {
            const int left = column ? column - 1 : 1, right = column + 1 < width ? column + 1 : column - 1;
            x[column] = ((above[right] - above[left]) + 2 * (own[right] - own[left]) + (below[right] - below[left])) / 8;
            y[column] = ((below[left] - above[left]) + 2 * (below[column] - above[column]) + (below[right] - above[right])) / 8;
        }
    }
    return 0;
}

/* One round: vectors made (2, rows, columns) from those found, for frames (height, width), slopes of the first along x and y
   (2, height, width). Patches lie stride pixels apart. 0. */
int search_round(const float *first, const float *second, const float *slopes, const float *found, float *made, int height,
                  int width, int rows, int columns, int stride, int away, int steps, float flattest, int threads) {
    const long vectors = (long)rows * columns;
    const struct frame other = {second, height, width};
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < rows; row++)
        for (int start = 0; start < columns; start += TOGETHER) {
            const int count = at_most(TOGETHER, columns - start);
            struct patch patch[TOGETHER];
            struct candidate best[TOGETHER], begun[TOGETHER];
            for (int k = 0; k < count; k++) {
                const int column = start + k, own = row * columns + column;
                patch[k] = taken(first, slopes, slopes + (long)height * width, width, row * stride, column * stride, flattest);
                best[k].u = found[own], best[k].v = found[vectors + own];
                best[k].misfit = fitted(0, &patch[k], other, best[k].u, best[k].v).misfit;
            }
            for (int side = 0; side < 4; side++)
                for (int k = 0; k < count; k++) {
                    const int across = side & 1 ? away : -away, column = start + k;
                    const int its = side < 2 ? row * columns + inside(column + across, columns)
                                             : inside(row + across, rows) * columns + column;
                    const float u = found[its], v = found[vectors + its];
                    better(&best[k], u, v, fitted(0, &patch[k], other, u, v).misfit);
                }
            struct candidate now[TOGETHER];
            for (int k = 0; k < count; k++) begun[k] = now[k] = best[k], best[k].misfit = INFINITY;
            for (int step = 0; step < steps; step++)
                for (int k = 0; k < count; k++) {
                    const struct fit fit = fitted(1, &patch[k], other, now[k].u, now[k].v);
                    better(&best[k], now[k].u, now[k].v, fit.misfit);
                    now[k].u -= fit.u, now[k].v -= fit.v;
                }
            for (int k = 0; k < count; k++) {
                const float far_u = best[k].u - begun[k].u, far_v = best[k].v - begun[k].v;
                const int near = far_u * far_u + far_v * far_v <= PATCH * PATCH, own = row * columns + start + k;
                made[own] = near ? best[k].u : begun[k].u;
                made[vectors + own] = near ? best[k].v : begun[k].v;
            }
        }
    return 0;
}

/* One of the patches that cover each place along a side, the last but so many; -1: there are not so many. Places past the
   last patch are its own. */
ALWAYS int covering(int place, int before, int patches, int stride) {
    const int last = at_most(place / stride, patches - 1), patch = last - before;
    return before == 0 || (patch >= 0 && patch * stride + PATCH > place) ? patch : -1;
}

/* Flow (2, height, width): of each pixel the mean of its patches' vectors, those that fit it before others. 1: not enough
   memory. */
int densify(const float *first, const float *second, const float *found, float *flow, int height, int width, int rows,
            int columns, int stride, int threads) {
    const long plane = (long)height * width, vectors = (long)rows * columns;
    const int most = (PATCH + stride - 1) / stride;
    const struct frame other = {second, height, width};
    int *of_column = malloc(sizeof(int) * most * width);
    float *room = malloc(sizeof(float) * threads * width);
    if (!of_column || !room) {
        free(of_column), free(room);
        return 1;
    }
    for (int before = 0; before < most; before++)
        for (int column = 0; column < width; column++)
            of_column[before * width + column] = covering(column, before, columns, stride);
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *here = first + (long)row * width;
        float *u = flow + (long)row * width, *v = u + plane, *weights = room + omp_get_thread_num() * (long)width;
        for (int column = 0; column < width; column++) u[column] = v[column] = weights[column] = 0;
        for (int above = 0; above < most; above++) {
            const int of_row = covering(row, above, rows, stride);
            if (of_row < 0) continue;
            const float *of_u = found + (long)of_row * columns, *of_v = of_u + vectors;
            for (int before = 0; before < most; before++) {
                const int *its = of_column + before * width;
                #pragma omp simd
                for (int column = 0; column < width; column++) {
                    const int patch = its[column] < 0 ? 0 : its[column];
                    const float its_u = of_u[patch], its_v = of_v[patch];
                    const float apart = fabsf(sampled(other, row + its_v, column + its_u) - here[column]);
                    const float weight = (its[column] >= 0) / (apart > 1 ? apart : 1);
                    u[column] += weight * its_u, v[column] += weight * its_v, weights[column] += weight;
                }
            }
        }
        for (int column = 0; column < width; column++) u[column] /= weights[column], v[column] /= weights[column];
    }
    free(of_column), free(room);
    return 0;
}
