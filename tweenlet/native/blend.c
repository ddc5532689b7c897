/* Four views of two frames averaged, and how each differs from that. ops/views.py calls it.

    places, said (half the size) -> a row of the frame's size, even and odd pixels apart -> four views, weights
                                 -> their average, a frame; what differs, the four pixels of 2x2 side by side    */

#include <stdlib.h>

#include "vectors.h"

#include "frames.h"
#include "turn.h"

int omp_get_thread_num(void); /* not every Clang comes with omp.h */

#define VIEWS 4
#define COLOURS 3
#define MAPS (2 * VIEWS + VIEWS)          /* two numbers for each place, and what is said of it */
#define MADE (COLOURS * VIEWS + COLOURS)  /* what differs, and the frame */
#define AROUND 16                         /* numbers before and after a row: a vector */

/* Maps of half the size: how far it is in floats from one map to the next, and from one pixel of a row. Rows lie close. */
struct maps {
    const float *values;
    long map, pixel;
};

/* A row of maps between two rows of theirs, three quarters of the nearer; the outermost pixels go on. */
static void mixed(const struct maps *maps, int count, long near, long far, float *to, long line, int width) {
    for (int map = 0; map < count; map++, to += line) {
        const float *own = maps->values + map * maps->map + near * width * maps->pixel;
        const float *other = maps->values + map * maps->map + far * width * maps->pixel;
        for (int x = 0; x < width; x++)
            to[x] = 0.75f * own[x * maps->pixel] + 0.25f * other[x * maps->pixel];
        to[-1] = to[0], to[width] = to[width - 1];
    }
}

/* One in two pixels of a row of double size: three quarters of a pixel, and one of that beside it. */
ALWAYS float widened(const float *row, int x, int beside) { return 0.75f * row[x] + 0.25f * row[x + beside]; }

/* What is said of each view -> its weight: in place. */
static void softmax(float *rows, long line, int width) {
    for (int x = 0; x < width; x += LANES) {
        vec most = *(vec *)(rows + x), sum = {0};
        for (int view = 1; view < VIEWS; view++) most = larger(most, *(vec *)(rows + view * line + x));
        for (int view = 0; view < VIEWS; view++) {
            vec *said = (vec *)(rows + view * line + x);
            *said = power(1.44269504f * (*said - most));
            sum += *said;
        }
        for (int view = 0; view < VIEWS; view++) *(vec *)(rows + view * line + x) /= sum;
    }
}

/* frames: before, after (COLOURS, 2 height, 2 width); places (2 VIEWS), said (VIEWS maps of height x width) -> average, such a
   frame, and made (height, width, MADE, 2, 2). 1: not enough memory. */
int blend(const float *before, const float *after, const struct maps *places, const struct maps *said, float *average,
          float *made, int height, int width, int threads) {
    const long line = (width + 3 * AROUND - 1) / AROUND * AROUND, plane = 4L * height * width;
    const int rows = MAPS + VIEWS + 4 * MADE;
    float *room = malloc(sizeof(float) * threads * rows * line);
    if (!room) return 1;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int y = 0; y < height; y++) {
        float *maps = room + omp_get_thread_num() * rows * line + AROUND, *weights = maps + MAPS * line;
        float *values = weights + VIEWS * line; /* (MADE, 4), of the pixels of a row */
        for (int below = 0; below < 2; below++) {
            const int row = 2 * y + below, far = inside(below ? y + 1 : y - 1, height);
            mixed(places, 2 * VIEWS, y, far, maps, line, width);
            mixed(said, VIEWS, y, far, maps + 2 * VIEWS * line, line, width);
            for (int right = 0; right < 2; right++) {
                const int beside = right ? 1 : -1;
                float *to = values + (2 * below + right) * line;
                for (int view = 0; view < VIEWS; view++) {
                    const float *u = maps + 2 * view * line, *v = u + line, *frame = view % 2 ? after : before;
                    const float *what = maps + (2 * VIEWS + view) * line;
                    float *weight = weights + view * line;
                    for (int x = 0; x < width; x++) weight[x] = widened(what, x, beside);
                    float *red = to + 4 * COLOURS * view * line, *green = red + 4 * line, *blue = green + 4 * line;
                    #pragma omp simd
                    for (int x = 0; x < width; x++) {
                        const struct place place = place_at(2 * height, 2 * width, row + 2 * widened(v, x, beside),
                                                            2 * x + right + 2 * widened(u, x, beside));
                        red[x] = fetched(frame, place);
                        green[x] = fetched(frame + plane, place);
                        blue[x] = fetched(frame + 2 * plane, place);
                    }
                }
                softmax(weights, line, width);
                for (int colour = 0; colour < COLOURS; colour++) {
                    float *mean = to + 4 * (COLOURS * VIEWS + colour) * line, *whole = average + colour * plane + (long)row * 2 * width + right;
                    for (int x = 0; x < width; x++) {
                        float sum = 0;
                        UNROLL(4)
                        for (int view = 0; view < VIEWS; view++)
                            sum += weights[view * line + x] * to[4 * (COLOURS * view + colour) * line + x];
                        mean[x] = sum;
                    }
                    for (int view = 0; view < VIEWS; view++) {
                        float *shown = to + 4 * (COLOURS * view + colour) * line;
                        for (int x = 0; x < width; x++) shown[x] -= mean[x];
                    }
                    for (int x = 0; x < width; x++) whole[2 * x] = mean[x];
                    for (int x = 0; x < width; x++) mean[x] -= 0.5f;
                }
            }
        }
        turn(values, line, made + (long)y * width * 4 * MADE, 4 * MADE, 4 * MADE, width);
    }
    free(room);
    return 0;
}
