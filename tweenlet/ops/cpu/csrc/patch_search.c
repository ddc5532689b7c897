/* The search for flow: patches of one image looked for in another, many at once. flow/cpu/patch_search.py calls it. */

#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"
#include "bilinear.h"

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

INLINE void keep_better(struct candidate *best, float u, float v, float misfit) {
    const int is = misfit < best->misfit;
    best->u = is ? u : best->u, best->v = is ? v : best->v, best->misfit = is ? misfit : best->misfit;
}

/* How it fits where a vector points: squares of what differs, and what a step takes off the vector. */
struct fit {
    float misfit, u, v;
};

INLINE float line_sum(line of) {
    const float *numbers = (const float *)&of;
    four x = *(const four *)numbers + *(const four *)(numbers + 4);
    return (x[0] + x[2]) + (x[1] + x[3]);
}

/* The sum of a patch, in a tree: eight lines one after the other would wait for each other. */
INLINE float patch_sum(const line *of) {
    return line_sum(((of[0] + of[1]) + (of[2] + of[3])) + ((of[4] + of[5]) + (of[6] + of[7])));
}

/* The sum of products of two patches. */
INLINE float patch_dot(const line *a, const line *b) {
    line even = a[0] * b[0], odd = a[1] * b[1];
    UNROLL(3)
    for (int k = 2; k < PATCH; k += 2) even += a[k] * b[k], odd += a[k + 1] * b[k + 1];
    return line_sum(even + odd);
}

INLINE line lerp_line(const float *from, float right) {
    line here = *(const line *)from;
    return here + right * (*(const line *)(from + 1) - here);
}

INLINE struct patch extract_patch(const float *first, const float *x, const float *y, int width, int top, int left,
                                  float least_determinant) {
    struct patch patch = {.top = top, .left = left};
    UNROLL(8)
    for (int row = 0; row < PATCH; row++) {
        const long at = (long)(top + row) * width + left;
        patch.pixels[row] = *(const line *)(first + at);
        patch.x[row] = *(const line *)(x + at), patch.y[row] = *(const line *)(y + at);
    }
    const float mean = patch_sum(patch.pixels) / (PATCH * PATCH);
    UNROLL(8)
    for (int row = 0; row < PATCH; row++) patch.pixels[row] -= mean;
    const float of_xx = patch_dot(patch.x, patch.x), of_xy = patch_dot(patch.x, patch.y),
                of_yy = patch_dot(patch.y, patch.y);
    const float determinant = of_xx * of_yy - of_xy * of_xy,
                share = 1 / (determinant > least_determinant ? determinant : least_determinant);
    patch.xx = of_xx * share, patch.xy = of_xy * share, patch.yy = of_yy * share;
    return patch;
}

/* The patch where a vector points; steps: whether a step is wanted. */
INLINE struct fit fit_patch(const int steps, const struct patch *patch, struct frame second, float u, float v) {
    const float y = clamp(patch->top + v, 1 - PATCH, second.height - 1);
    const float x = clamp(patch->left + u, 1 - PATCH, second.width - 1);
    const float row = floorf(y), column = floorf(x), down = y - row, right = x - column;
    const int top = row, left = column;
    float around[PATCH + 1][2 * PATCH];
    const float *from = second.pixels + (long)top * second.width + left;
    long width = second.width;
    if (top < 0 || left < 0 || top + PATCH >= second.height || left + PATCH >= second.width) {
        for (int below = 0; below <= PATCH; below++)
            for (int beside = 0; beside <= PATCH; beside++)
                around[below][beside] = second.pixels[(long)clamp_index(top + below, second.height) * second.width +
                                                      clamp_index(left + beside, second.width)];
        from = around[0];
        width = 2 * PATCH;
    }
    line difference[PATCH], above = lerp_line(from, right);
    UNROLL(8)
    for (int k = 0; k < PATCH; k++) {
        line below = lerp_line(from + (k + 1) * width, right);
        difference[k] = above + down * (below - above) - patch->pixels[k];
        above = below;
    }
    const float mean = patch_sum(difference) / (PATCH * PATCH);
    UNROLL(8)
    for (int k = 0; k < PATCH; k++) difference[k] -= mean;
    struct fit fit = {.misfit = patch_dot(difference, difference)};
    if (steps) {
        const float along_x = patch_dot(difference, patch->x), along_y = patch_dot(difference, patch->y);
        fit.u = patch->yy * along_x - patch->xy * along_y;
        fit.v = patch->xx * along_y - patch->xy * along_x;
    }
    return fit;
}

/* Gradients (2, height, width) along x and y of an image; reflected beyond the borders. 0. */
int tweenlet_sobel(const float *image, float *gradients, int height, int width, int threads) {
    const long plane = (long)height * width;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *own = image + (long)row * width, *above = row ? own - width : own + width;
        const float *below = row + 1 < height ? own + width : own - width;
        float *x = gradients + (long)row * width, *y = x + plane;
        for (int column = 0; column < width; column++) {
            const int left = column ? column - 1 : 1, right = column + 1 < width ? column + 1 : column - 1;
            x[column] =
                ((above[right] - above[left]) + 2 * (own[right] - own[left]) + (below[right] - below[left])) / 8;
            y[column] =
                ((below[left] - above[left]) + 2 * (below[column] - above[column]) + (below[right] - above[right])) / 8;
        }
    }
    return 0;
}

/* One round: vectors out (2, rows, columns) from those given, for frames (height, width), slopes of the first along x and y
   (2, height, width). Patches lie stride pixels apart. 0. */
int tweenlet_search_round(const float *first, const float *second, const float *gradients, const float *vectors,
                          float *out, int height, int width, int rows, int columns, int stride, int distance, int steps,
                          float least_determinant, int threads) {
    const long plane_of_vectors = (long)rows * columns;
    const struct frame other = {second, height, width};
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < rows; row++)
        for (int start = 0; start < columns; start += TOGETHER) {
            const int count = at_most(TOGETHER, columns - start);
            struct patch patch[TOGETHER];
            struct candidate best[TOGETHER], start_of[TOGETHER];
            for (int k = 0; k < count; k++) {
                const int column = start + k, own = row * columns + column;
                patch[k] = extract_patch(first, gradients, gradients + (long)height * width, width, row * stride,
                                         column * stride, least_determinant);
                best[k].u = vectors[own], best[k].v = vectors[plane_of_vectors + own];
                best[k].misfit = fit_patch(0, &patch[k], other, best[k].u, best[k].v).misfit;
            }
            for (int side = 0; side < 4; side++)
                for (int k = 0; k < count; k++) {
                    const int across = side & 1 ? distance : -distance, column = start + k;
                    const int other_patch = side < 2 ? row * columns + clamp_index(column + across, columns)
                                                     : clamp_index(row + across, rows) * columns + column;
                    const float u = vectors[other_patch], v = vectors[plane_of_vectors + other_patch];
                    keep_better(&best[k], u, v, fit_patch(0, &patch[k], other, u, v).misfit);
                }
            struct candidate now[TOGETHER];
            for (int k = 0; k < count; k++) start_of[k] = now[k] = best[k], best[k].misfit = INFINITY;
            for (int step = 0; step < steps; step++)
                for (int k = 0; k < count; k++) {
                    const struct fit fit = fit_patch(1, &patch[k], other, now[k].u, now[k].v);
                    keep_better(&best[k], now[k].u, now[k].v, fit.misfit);
                    now[k].u -= fit.u, now[k].v -= fit.v;
                }
            for (int k = 0; k < count; k++) {
                const float far_u = best[k].u - start_of[k].u, far_v = best[k].v - start_of[k].v;
                const int near = far_u * far_u + far_v * far_v <= PATCH * PATCH, own = row * columns + start + k;
                out[own] = near ? best[k].u : start_of[k].u;
                out[plane_of_vectors + own] = near ? best[k].v : start_of[k].v;
            }
        }
    return 0;
}

/* One of the patches that cover each place along a side, the last but so many; -1: there are not so many. Places past the
   last patch are its own. */
INLINE int patch_covering(int place, int before, int patches, int stride) {
    const int last = at_most(place / stride, patches - 1), patch = last - before;
    return before == 0 || (patch >= 0 && patch * stride + PATCH > place) ? patch : -1;
}

/* Flow (2, height, width): of each pixel the mean of its patches' vectors, those that fit it before others. 1: not enough
   memory. */
int tweenlet_densify(const float *first, const float *second, const float *vectors, float *flow, int height, int width,
                     int rows, int columns, int stride, int threads) {
    const long plane = (long)height * width, plane_of_vectors = (long)rows * columns;
    const int most = (PATCH + stride - 1) / stride;
    const struct frame other = {second, height, width};
    int *of_column = malloc(sizeof(int) * most * width);
    float *workspace = malloc(sizeof(float) * threads * width);
    if (!of_column || !workspace) {
        free(of_column), free(workspace);
        return 1;
    }
    for (int before = 0; before < most; before++)
        for (int column = 0; column < width; column++)
            of_column[before * width + column] = patch_covering(column, before, columns, stride);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int row = 0; row < height; row++) {
        const float *here = first + (long)row * width;
        float *u = flow + (long)row * width, *v = u + plane, *weights = workspace + omp_get_thread_num() * (long)width;
        for (int column = 0; column < width; column++) u[column] = v[column] = weights[column] = 0;
        for (int above = 0; above < most; above++) {
            const int of_row = patch_covering(row, above, rows, stride);
            if (of_row < 0) continue;
            const float *patch_u_of = vectors + (long)of_row * columns, *patch_v_of = patch_u_of + plane_of_vectors;
            for (int before = 0; before < most; before++) {
                const int *other_patch = of_column + before * width;
#pragma omp simd
                for (int column = 0; column < width; column++) {
                    const int patch = other_patch[column] < 0 ? 0 : other_patch[column];
                    const float patch_u = patch_u_of[patch], patch_v = patch_v_of[patch];
                    const float difference = fabsf(bilinear_at(other, row + patch_v, column + patch_u) - here[column]);
                    const float weight = (other_patch[column] >= 0) / (difference > 1 ? difference : 1);
                    u[column] += weight * patch_u, v[column] += weight * patch_v, weights[column] += weight;
                }
            }
        }
        for (int column = 0; column < width; column++) u[column] /= weights[column], v[column] /= weights[column];
    }
    free(of_column), free(workspace);
    return 0;
}
