/* Pictures of twice the size, bilinear, for pixels whose channels lie side by side. ops/enlarge.py calls it. */

#include "vectors.h"

/* Three quarters of the nearer and a quarter of the farther of two pixels. */
ALWAYS vec between(vec near, vec far) { return near + 0.25f * (far - near); }

ALWAYS void double_row(const int half, const char *near, const char *far, char *y, int width, int channels) {
    const long bytes = half ? 2 : 4, pixel = bytes * channels, vector = bytes * LANES;
    for (int channel = 0; channel < channels; channel += LANES, near += vector, far += vector, y += vector) {
        const some these = first(channels - channel);
        vec here = between(load(near, these, half), load(far, these, half)), before = here;
        for (int column = 0; column < width; column++) {
            const long next = (column + 1 < width ? column + 1 : column) * pixel;
            vec after = between(load(near + next, these, half), load(far + next, these, half));
            store(y + 2 * column * pixel, between(here, before), these, half);
            store(y + (2 * column + 1) * pixel, between(here, after), these, half);
            before = here;
            here = after;
        }
    }
}

/* x (pictures, height, width, channels) -> the rows of y (pictures, 2 height, 2 width, channels) from start to end.
   half: whether they are bfloat16, which the processor must know. */
void doubled(int half, const char *x, char *y, int pictures, int height, int width, int channels, int start, int end,
             int threads) {
    const long line = (half ? 2L : 4L) * width * channels;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long number = 0; number < (long)pictures * (end - start); number++) {
        const int row = start + number % (end - start), own = row / 2, beside = row % 2 ? own + 1 : own - 1;
        const char *picture = x + number / (end - start) * height * line;
        const char *near = picture + own * line, *far = beside < 0 || beside == height ? near : picture + beside * line;
        if (half)
            double_row(1, near, far, y + 2 * number * line, width, channels);
        else
            double_row(0, near, far, y + 2 * number * line, width, channels);
    }
}
