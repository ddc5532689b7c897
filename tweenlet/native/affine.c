/* x * factor + shift + added, then what is below zero times slope; in place, for pixels whose channels lie side by side.

   ops/affine.py calls it. */

#include <stddef.h>

int affine(float *x, const float *factors, const float *shifts, const float *added, float slope, long pixels, int channels,
           int threads) {
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long pixel = 0; pixel < pixels; pixel++) {
        float *here = x + pixel * channels;
        const float *more = added ? added + pixel * channels : NULL;
        for (int channel = 0; channel < channels; channel++) {
            float value = here[channel] * factors[channel] + shifts[channel] + (more ? more[channel] : 0);
            here[channel] = value > 0 ? value : slope * value;
        }
    }
    return 0;
}
