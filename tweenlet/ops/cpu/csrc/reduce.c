/* The sum of each channel over all pixels, which are channels_last. ops/cpu/reduce.py calls it. */

#include "tweenlet.h"

#include "vectors.h"

enum { TOGETHER = 8192 }; /* values summed in float32 before float64 takes over */

INLINE void channel_sum(const int is_bf16, const char *x, double *sums, ptrdiff_t pixels, int channels, int threads) {
    const int bytes = is_bf16 ? 2 : 4, together = TOGETHER / channels + 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        double *own = sums + (ptrdiff_t)thread * channels;
        const ptrdiff_t last = pixels * (thread + 1) / threads;
        for (ptrdiff_t start = pixels * thread / threads; start < last; start += together) {
            const ptrdiff_t end = start + together < last ? start + together : last;
            for (int channel = 0; channel < channels; channel += LANES) {
                const lane_mask active = first_lanes(channels - channel);
                vec sum = {0};
                for (ptrdiff_t pixel = start; pixel < end; pixel++)
                    sum += load(x + bytes * (pixel * channels + channel), active, is_bf16);
                for (int lane = 0; lane < at_most(channels - channel, LANES); lane++) own[channel + lane] += sum[lane];
            }
        }
    }
}

/* sums: zeros at first, threads times channels, for each thread its own. */
void tweenlet_channel_sum(int is_bf16, const char *x, double *sums, ptrdiff_t pixels, int channels, int threads) {
    if (is_bf16)
        channel_sum(1, x, sums, pixels, channels, threads);
    else
        channel_sum(0, x, sums, pixels, channels, threads);
}
