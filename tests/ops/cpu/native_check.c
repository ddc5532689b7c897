/* A few ops of the native library beside loops in plain C, for processors that no Python is at hand for: scripts/
   cross_compile.py. Exits with 1 where one is off. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tweenlet.h"

enum { HEIGHT = 13, WIDTH = 22, PIXELS = HEIGHT * WIDTH, CHANNELS = 5 };

int omp_get_thread_num(void) { return 0; }
int omp_get_num_threads(void) { return 1; }

static float numbers[8 * PIXELS], x[CHANNELS * PIXELS], out[CHANNELS * PIXELS];
static int failures = 0;

static void expect(const char *name, double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance)) {
        printf("%s: got %g, expected %g\n", name, got, wanted);
        failures++;
    }
}

static void fill(float *values, int count) {
    unsigned state = 1;
    for (int i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / (1 << 24);
    }
}

static void check_epilogue(void) {
    float scale[CHANNELS], shift[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) scale[c] = 2 * numbers[c] - 1, shift[c] = numbers[CHANNELS + c] - 0.7f;
    fill(x, CHANNELS * PIXELS);
    fill(out, CHANNELS * PIXELS);
    tweenlet_scale_shift_act(0, (char *)out, scale, shift, NULL, 0.25f, PIXELS, CHANNELS, 1);
    for (int i = 0; i < CHANNELS * PIXELS; i++) {
        const float y = x[i] * scale[i % CHANNELS] + shift[i % CHANNELS];
        expect("scale_shift_act", out[i], y > 0 ? y : 0.25f * y, 1e-6);
    }
}

static void check_channel_sum(void) {
    double sums[CHANNELS] = {0}, wanted[CHANNELS] = {0};
    fill(x, CHANNELS * PIXELS);
    tweenlet_channel_sum(0, (char *)x, sums, PIXELS, CHANNELS, 1);
    for (int i = 0; i < CHANNELS * PIXELS; i++) wanted[i % CHANNELS] += x[i];
    for (int c = 0; c < CHANNELS; c++) expect("channel_sum", sums[c], wanted[c], 1e-3);
}

static void check_avg_pool(void) {
    fill(x, PIXELS);
    tweenlet_avg_pool2(x, out, 1, HEIGHT - 1, WIDTH, 1);
    for (int row = 0; row < (HEIGHT - 1) / 2; row++)
        for (int column = 0; column < WIDTH / 2; column++) {
            const float *at = x + 2 * row * WIDTH + 2 * column;
            expect("avg_pool2", out[row * (WIDTH / 2) + column], (at[0] + at[1] + at[WIDTH] + at[WIDTH + 1]) / 4, 1e-6);
        }
}

static void check_backwarp(void) {
    static float flow[2 * PIXELS];
    fill(x, PIXELS);
    for (int i = 0; i < 2 * PIXELS; i++) flow[i] = 4 * numbers[i] - 2;
    if (tweenlet_backwarp(x, flow, out, 0, 1, 1, 1, PIXELS, 1, HEIGHT, WIDTH, 1)) failures++;
    for (int row = 0; row < HEIGHT; row++)
        for (int column = 0; column < WIDTH; column++) {
            const int i = row * WIDTH + column;
            const float a = fminf(fmaxf(column + flow[i], 0), WIDTH - 1),
                        b = fminf(fmaxf(row + flow[PIXELS + i], 0), HEIGHT - 1);
            const int left = a, top = b, right = left + (left + 1 < WIDTH), under = top + (top + 1 < HEIGHT);
            const float u = a - left, v = b - top;
            const float above = x[top * WIDTH + left] * (1 - u) + x[top * WIDTH + right] * u;
            const float below = x[under * WIDTH + left] * (1 - u) + x[under * WIDTH + right] * u;
            expect("backwarp", out[i], above * (1 - v) + below * v, 1e-5);
        }
}

int main(void) {
    fill(numbers, 8 * PIXELS);
    check_epilogue();
    check_channel_sum();
    check_avg_pool();
    check_backwarp();
    printf("%d lanes: %s\n", tweenlet_vector_lanes(), failures ? "wrong" : "as plain loops");
    return failures > 0;
}
