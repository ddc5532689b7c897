/* x * factor + shift + added, then what is below zero times slope; in place, for pixels whose channels lie side by side.

   ops/affine.py calls it. */

#include "vectors.h"

ALWAYS void affine_by(const int half, char *x, const float *factors, const float *shifts, const char *added, float slope,
                      long pixels, int channels, int threads) {
    const int bytes = half ? 2 : 4;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long pixel = 0; pixel < pixels; pixel++)
        for (int channel = 0; channel < channels; channel += LANES) {
            const some these = first(channels - channel);
            const long place = bytes * (pixel * channels + channel);
            vec value = load(x + place, these, half) * load_floats((const char *)(factors + channel), these) +
                        load_floats((const char *)(shifts + channel), these);
            if (added) value += load(added + place, these, half);
            store(x + place, rectified(value, (vec){0} + slope), these, half);
        }
}

/* half: whether x and added are bfloat16, which the processor must know. */
void affine(int half, char *x, const float *factors, const float *shifts, const char *added, float slope, long pixels,
           int channels, int threads) {
    if (half)
        affine_by(1, x, factors, shifts, added, slope, pixels, channels, threads);
    else
        affine_by(0, x, factors, shifts, added, slope, pixels, channels, threads);
}
