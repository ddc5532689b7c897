/* Downsampling and upsampling by 2, planar or (bilinear) channels_last. ops/cpu/resample.py calls it. */

#include <stdlib.h>

#include "tweenlet.h"

#include "vectors.h"

#define TAPS 8   /* taps of the filter between pixels */
#define BEFORE 3 /* taps before the pixel itself */
#define SIDE 6   /* side of the kernel that blurs and averages 2x2 */

/* The index that stands for one beyond the border: its reflection, or the last one on a short side. */
INLINE int reflect_index(int place, int size, int reflects) {
    if (place < 0) return reflects ? -place : 0;
    if (place >= size) return reflects ? 2 * size - 2 - place : size - 1;
    return place;
}

/* y = the sum of rows times taps. */
INLINE void filter_rows(const float *const *rows, const float *taps, float *y, int width) {
    for (int column = 0; column < width; column++) {
        float sum = 0;
        UNROLL(8)
        for (int tap = 0; tap < TAPS; tap++) sum += taps[tap] * rows[tap][column];
        y[column] = sum;
    }
}

/* x (planes, height, width) -> y (planes, 2 height, 2 width): the pixels themselves, and filtered by taps (channels, TAPS)
   those between. 1: not enough memory. */
int tweenlet_upsample_8tap(const float *x, const float *taps, float *y, ptrdiff_t planes, int channels, int height,
                           int width, int threads) {
    const ptrdiff_t per_thread = 2L * width + TAPS;
    float *workspace = malloc(sizeof(float) * threads * per_thread);
    if (!workspace) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *row = workspace + omp_get_thread_num() * per_thread, *between = row + width + TAPS;
#pragma omp for schedule(static)
        for (ptrdiff_t line = 0; line < planes * height; line++) {
            const float *from = x + line * width, *rows[TAPS];
            float *to = y + 4 * line * width;
            for (int place = 0; place < width + TAPS - 1; place++)
                row[place] = from[reflect_index(place - BEFORE, width, width > TAPS - 1 - BEFORE)];
            for (int tap = 0; tap < TAPS; tap++) rows[tap] = row + tap;
            filter_rows(rows, taps + line / height % channels * TAPS, between, width);
            for (int column = 0; column < width; column++) {
                to[2 * column] = from[column];
                to[2 * column + 1] = between[column];
            }
        }
#pragma omp for schedule(static)
        for (ptrdiff_t line = 0; line < planes * height; line++) {
            const int own = line % height;
            float *plane = y + 4 * (line - own) * width;
            const float *rows[TAPS];
            for (int tap = 0; tap < TAPS; tap++)
                rows[tap] = plane + 4L * reflect_index(own + tap - BEFORE, height, height > TAPS - 1 - BEFORE) * width;
            filter_rows(rows, taps + line / height % channels * TAPS, plane + (4L * own + 2) * width, 2 * width);
        }
    }
    free(workspace);
    return 0;
}

/* x (planes, height, width) -> y (planes, height / 2, width / 2), by kernels (channels, SIDE, SIDE). 1: not enough memory. */
int tweenlet_downsample(const float *x, const float *kernels, float *y, ptrdiff_t planes, int channels, int height,
                        int width, int threads) {
    const int lines = height / 2, columns = width / 2, reflects = height > 2 && width > 2;
    const ptrdiff_t per_thread = 2L * (columns + SIDE);
    float *workspace = malloc(sizeof(float) * threads * per_thread);
    if (!workspace) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *row = workspace + omp_get_thread_num() * per_thread, *odd = row + columns + SIDE;
#pragma omp for schedule(static)
        for (ptrdiff_t line = 0; line < planes * lines; line++) {
            const ptrdiff_t plane = line / lines;
            float *to = y + line * columns;
            for (int column = 0; column < columns; column++) to[column] = 0;
            for (int down = 0; down < SIDE; down++) {
                const float *kernel = kernels + (plane % channels * SIDE + down) * SIDE;
                const float *from =
                    x + (plane * height + reflect_index(2 * (int)(line % lines) + down - 2, height, reflects)) * width;
                for (int pair = 0; pair < columns + SIDE / 2 - 1; pair++) {
                    row[pair] = from[reflect_index(2 * pair - 2, width, reflects)];
                    odd[pair] = from[reflect_index(2 * pair - 1, width, reflects)];
                }
                for (int column = 0; column < columns; column++) {
                    float sum = to[column];
                    UNROLL(3)
                    for (int pair = 0; pair < SIDE / 2; pair++)
                        sum += kernel[2 * pair] * row[column + pair] + kernel[2 * pair + 1] * odd[column + pair];
                    to[column] = sum;
                }
            }
        }
    }
    free(workspace);
    return 0;
}

INLINE void average_row(const float *upper, const float *lower, float *to, int width, const int channels) {
    for (int pixel = 0; pixel < width / 2; pixel++, upper += 2 * channels, lower += 2 * channels, to += channels)
        for (int k = 0; k < channels; k++)
            to[k] = ((upper[k] + upper[channels + k]) + (lower[k] + lower[channels + k])) / 4;
    if (width % 2)
        for (int k = 0; k < channels; k++) to[k] = (upper[k] + lower[k]) / 2;
}

/* x (images, height, width, channels) -> y, means of 2x2 pixels, of fewer at the end of odd sides. */
void tweenlet_avg_pool2(const float *x, float *y, ptrdiff_t images, int height, int width, int channels, int threads) {
    const int lines = (height + 1) / 2, columns = (width + 1) / 2;
    const ptrdiff_t row_size = (ptrdiff_t)width * channels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (ptrdiff_t line = 0; line < images * lines; line++) {
        const int row = line % lines * 2;
        const float *upper = x + (line / lines * height + row) * row_size,
                    *lower = row + 1 < height ? upper + row_size : upper;
        float *to = y + line * columns * channels;
        if (channels == 1)
            average_row(upper, lower, to, width, 1);
        else
            average_row(upper, lower, to, width, channels);
    }
}

/* x (planes, height, width) -> y, means over the side x side pixels around each, those inside. 1: not enough memory. */
int tweenlet_box_blur(const float *x, float *y, ptrdiff_t planes, int side, int height, int width, int threads) {
    const int reach = side / 2, line = width + 2 * reach;
    const ptrdiff_t per_thread = line + width;
    float *workspace = malloc(sizeof(float) * threads * per_thread);
    if (!workspace) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *sums = workspace + omp_get_thread_num() * per_thread, *shares = sums + line;
        for (int column = 0; column < width; column++)
            shares[column] = 1.0f / (at_most(column + reach, width - 1) - (column > reach ? column - reach : 0) + 1);
        for (int column = 0; column < line; column++) sums[column] = 0;
#pragma omp for schedule(static)
        for (ptrdiff_t number = 0; number < planes * height; number++) {
            const int row = number % height, first = row > reach ? row - reach : 0,
                      end = at_most(row + reach + 1, height);
            const float *from = x + (number - row + first) * width;
            float *middle = sums + reach, *to = y + number * width;
            for (int column = 0; column < width; column++) middle[column] = from[column];
            for (int other = first + 1; other < end; other++) {
                from += width;
                for (int column = 0; column < width; column++) middle[column] += from[column];
            }
            for (int column = 0; column < width; column++) to[column] = sums[column];
            for (int tap = 1; tap < 2 * reach + 1; tap++)
                for (int column = 0; column < width; column++) to[column] += sums[column + tap];
            const float share = 1.0f / (end - first);
            for (int column = 0; column < width; column++) to[column] *= share * shares[column];
        }
    }
    free(workspace);
    return 0;
}

/* Three quarters of the nearer and a quarter of the farther of two pixels. */
INLINE vec three_to_one(vec near, vec far) { return near + 0.25f * (far - near); }

INLINE void upsample_row(const int is_bf16, const char *near, const char *far, char *y, int width, int channels) {
    const ptrdiff_t bytes = is_bf16 ? 2 : 4, pixel = bytes * channels, vector = bytes * LANES;
    for (int channel = 0; channel < channels; channel += LANES, near += vector, far += vector, y += vector) {
        const lane_mask active = first_lanes(channels - channel);
        vec here = three_to_one(load(near, active, is_bf16), load(far, active, is_bf16)), before = here;
        for (int column = 0; column < width; column++) {
            const ptrdiff_t next = (column + 1 < width ? column + 1 : column) * pixel;
            vec after = three_to_one(load(near + next, active, is_bf16), load(far + next, active, is_bf16));
            store(y + 2 * column * pixel, three_to_one(here, before), active, is_bf16);
            store(y + (2 * column + 1) * pixel, three_to_one(here, after), active, is_bf16);
            before = here;
            here = after;
        }
    }
}

/* x (batch, height, width, channels) -> the rows of y (batch, 2 height, 2 width, channels) from start to end. */
void tweenlet_upsample_rows(int is_bf16, const char *x, char *y, int batch, int height, int width, int channels,
                            int start, int end, int threads) {
    const ptrdiff_t line = (is_bf16 ? 2L : 4L) * width * channels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (ptrdiff_t number = 0; number < (ptrdiff_t)batch * (end - start); number++) {
        const int row = start + number % (end - start), own = row / 2, beside = row % 2 ? own + 1 : own - 1;
        const char *image = x + number / (end - start) * height * line;
        const char *near = image + own * line, *far = beside < 0 || beside == height ? near : image + beside * line;
        if (is_bf16)
            upsample_row(1, near, far, y + 2 * number * line, width, channels);
        else
            upsample_row(0, near, far, y + 2 * number * line, width, channels);
    }
}
