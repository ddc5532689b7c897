/* Frames of half and of twice the size, plane by plane. ops/pyramid.py calls it. */

#include <stdlib.h>

#include "vectors.h"

#include "frames.h"

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

#define TAPS 8 /* of the filter between pixels */
#define BEFORE 3 /* of them, before the pixel's own place */
#define SIDE 6 /* of the kernel that blurs and takes the mean of 2x2 */

/* Which pixel stands for one beyond the border: its reflection, or the last one where a side is too short. */
ALWAYS int reflected(int place, int size, int reflects) {
    if (place < 0) return reflects ? -place : 0;
    if (place >= size) return reflects ? 2 * size - 2 - place : size - 1;
    return place;
}

/* y[place] = the sum of x's rows, times taps. */
ALWAYS void mixed(const float *const *rows, const float *taps, float *y, int width) {
    for (int column = 0; column < width; column++) {
        float sum = 0;
        UNROLL(8)
        for (int tap = 0; tap < TAPS; tap++) sum += taps[tap] * rows[tap][column];
        y[column] = sum;
    }
}

/* x (planes, height, width) -> y (planes, 2 height, 2 width): the pixels themselves, and filtered by taps (channels, TAPS)
   those between. 1: not enough memory. */
int double_frame(const float *x, const float *taps, float *y, long planes, int channels, int height, int width, int threads) {
    const long of_thread = 2L * width + TAPS;
    float *room = malloc(sizeof(float) * threads * of_thread);
    if (!room) return 1;
    #pragma omp parallel num_threads(threads)
    {
        float *row = room + omp_get_thread_num() * of_thread, *between = row + width + TAPS;
        #pragma omp for schedule(static)
        for (long line = 0; line < planes * height; line++) {
            const float *from = x + line * width, *rows[TAPS];
            float *to = y + 4 * line * width;
            for (int place = 0; place < width + TAPS - 1; place++)
                row[place] = from[reflected(place - BEFORE, width, width > TAPS - 1 - BEFORE)];
            for (int tap = 0; tap < TAPS; tap++) rows[tap] = row + tap;
            mixed(rows, taps + line / height % channels * TAPS, between, width);
            for (int column = 0; column < width; column++) {
                to[2 * column] = from[column];
                to[2 * column + 1] = between[column];
            }
        }
        #pragma omp for schedule(static)
        for (long line = 0; line < planes * height; line++) {
            const int own = line % height;
            float *plane = y + 4 * (line - own) * width;
            const float *rows[TAPS];
            for (int tap = 0; tap < TAPS; tap++)
                rows[tap] = plane + 4L * reflected(own + tap - BEFORE, height, height > TAPS - 1 - BEFORE) * width;
            mixed(rows, taps + line / height % channels * TAPS, plane + (4L * own + 2) * width, 2 * width);
        }
    }
    free(room);
    return 0;
}

/* x (planes, height, width) -> y (planes, height / 2, width / 2), by kernels (channels, SIDE, SIDE). 1: not enough memory. */
int half_frame(const float *x, const float *kernels, float *y, long planes, int channels, int height, int width, int threads) {
    const int lines = height / 2, columns = width / 2, reflects = height > 2 && width > 2;
    const long of_thread = 2L * (columns + SIDE);
    float *room = malloc(sizeof(float) * threads * of_thread);
    if (!room) return 1;
    #pragma omp parallel num_threads(threads)
    {
        float *row = room + omp_get_thread_num() * of_thread, *odd = row + columns + SIDE;
        #pragma omp for schedule(static)
        for (long line = 0; line < planes * lines; line++) {
            const long plane = line / lines;
            float *to = y + line * columns;
            for (int column = 0; column < columns; column++) to[column] = 0;
            for (int down = 0; down < SIDE; down++) {
                const float *kernel = kernels + (plane % channels * SIDE + down) * SIDE;
                const float *from = x + (plane * height +
                                            reflected(2 * (int)(line % lines) + down - 2, height, reflects)) * width;
                for (int pair = 0; pair < columns + SIDE / 2 - 1; pair++) {
                    row[pair] = from[reflected(2 * pair - 2, width, reflects)];
                    odd[pair] = from[reflected(2 * pair - 1, width, reflects)];
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
    free(room);
    return 0;
}

/* x (planes, height, width) -> y, its means of 2x2 pixels, of fewer at the end of odd sides. */
void pool(const float *x, float *y, long planes, int height, int width, int threads) {
    const int lines = (height + 1) / 2, columns = (width + 1) / 2;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long line = 0; line < planes * lines; line++) {
        const int row = line % lines * 2;
        const float *upper = x + (line / lines * height + row) * width, *lower = row + 1 < height ? upper + width : upper;
        float *to = y + line * columns;
        pool_row(upper, lower, 1, to, width / 2);
        if (width % 2) to[columns - 1] = (upper[width - 1] + lower[width - 1]) / 2;
    }
}
