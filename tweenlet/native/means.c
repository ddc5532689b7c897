/* The sum of each channel over all pixels, whose channels lie side by side. ops/means.py calls it. */

#include "vectors.h"

enum { TOGETHER = 8192 }; /* numbers that are summed as floats, before all of them are as doubles */

ALWAYS void sums_of(const int half, const char *x, double *sums, long pixels, int channels, int threads) {
    const int bytes = half ? 2 : 4, together = TOGETHER / channels + 1;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        double *own = sums + (long)thread * channels;
        const long last = pixels * (thread + 1) / threads;
        for (long start = pixels * thread / threads; start < last; start += together) {
            const long end = start + together < last ? start + together : last;
            for (int channel = 0; channel < channels; channel += LANES) {
                const some these = first(channels - channel);
                vec sum = {0};
                for (long pixel = start; pixel < end; pixel++)
                    sum += load(x + bytes * (pixel * channels + channel), these, half);
                for (int lane = 0; lane < at_most(channels - channel, LANES); lane++) own[channel + lane] += sum[lane];
            }
        }
    }
}

/* sums: zeros at first, threads times channels, for each thread its own. half: whether x is bfloat16, which the
   processor must know. */
void sums(int half, const char *x, double *sums, long pixels, int channels, int threads) {
    if (half)
        sums_of(1, x, sums, pixels, channels, threads);
    else
        sums_of(0, x, sums, pixels, channels, threads);
}
