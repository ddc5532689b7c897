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

/* One in two pixels of a row of a frame (COLOURS, 2 height, 2 width), the even or the odd ones, fetched from where u and v
   point; the colours so far apart. */
static void view_row(const float *frame, const float *u, const float *v, int row, int odd, float *to, long apart, int height,
                     int width) {
    const long plane = 4L * height * width;
    const int beside = odd ? 1 : -1;
    float *red = to, *green = red + apart, *blue = green + apart;
    #pragma omp simd
    for (int x = 0; x < width; x++) {
        const struct place place =
            place_at(2 * height, 2 * width, row + 2 * widened(v, x, beside), 2 * x + odd + 2 * widened(u, x, beside));
        red[x] = fetched(frame, place);
        green[x] = fetched(frame + plane, place);
        blue[x] = fetched(frame + 2 * plane, place);
    }
}

/* One colour of the views of such a row, so far apart: their mean is taken off them, and written to every other pixel of
   average; what is left of it goes to grey. */
static void average_row(const float *weights, long line, float *views, long apart, float *average, float *grey, int width) {
    #pragma omp simd
    for (int x = 0; x < width; x++) {
        float mean = 0;
        UNROLL(4)
        for (int view = 0; view < VIEWS; view++) mean += weights[view * line + x] * views[view * apart + x];
        UNROLL(4)
        for (int view = 0; view < VIEWS; view++) views[view * apart + x] -= mean;
        average[2 * x] = mean;
        grey[x] = mean - 0.5f;
    }
}

/* before, after (COLOURS, 2 height, 2 width); places (2 VIEWS) and said (VIEWS maps of height x width), their maps and pixels
   so far apart -> average, such a frame, and made (height, width, MADE, 2, 2). 1: not enough memory. */
int blend(const float *before, const float *after, const float *places, const float *said, float *average, float *made,
          long place_map, long place_pixel, long said_map, long said_pixel, int height, int width, int threads) {
    const struct maps all_places = {places, place_map, place_pixel}, all_said = {said, said_map, said_pixel};
    const long line = (width + 3 * AROUND - 1) / AROUND * AROUND, of_thread = (MAPS + VIEWS + 4 * MADE) * line;
    float *room = malloc(sizeof(float) * threads * of_thread);
    if (!room) return 1;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int y = 0; y < height; y++) {
        float *maps = room + omp_get_thread_num() * of_thread + AROUND, *weights = maps + MAPS * line;
        float *values = weights + VIEWS * line; /* (MADE, 2, 2), of each pixel */
        for (int pixel = 0; pixel < 4; pixel++) {
            const int row = 2 * y + pixel / 2, odd = pixel % 2, far = inside(pixel / 2 ? y + 1 : y - 1, height);
            if (!odd) {
                mixed(&all_places, 2 * VIEWS, y, far, maps, line, width);
                mixed(&all_said, VIEWS, y, far, maps + 2 * VIEWS * line, line, width);
            }
            float *to = values + pixel * line;
            for (int view = 0; view < VIEWS; view++) {
                const float *u = maps + 2 * view * line, *what = maps + (2 * VIEWS + view) * line;
                view_row(view % 2 ? after : before, u, u + line, row, odd, to + 4 * COLOURS * view * line, 4 * line, height,
                         width);
                for (int x = 0; x < width; x++) weights[view * line + x] = widened(what, x, odd ? 1 : -1);
            }
            softmax(weights, line, width);
            for (int colour = 0; colour < COLOURS; colour++)
                average_row(weights, line, to + 4 * colour * line, 4 * COLOURS * line,
                            average + ((long)(colour * height + y) * 2 + pixel / 2) * 2 * width + odd,
                            to + 4 * (COLOURS * VIEWS + colour) * line, width);
        }
        turn(values, line, made + (long)y * width * 4 * MADE, 4 * MADE, 4 * MADE, width);
    }
    free(room);
    return 0;
}
