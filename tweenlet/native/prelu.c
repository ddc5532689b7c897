/* The gradient of a leaky activation with learnt slopes, for pixels whose channels lie side by side.

   ops/prelu.py calls it. */

#include "vectors.h"

#define BLOCK 16 /* pixels whose terms are summed in float32, before float64 takes over */

ALWAYS void learn(const int half, const char *gradient, const char *x, const float *slopes, char *for_x,
                  double *for_slopes, long from, long to, int channels) {
    const int bytes = half ? 2 : 4;
    for (long begin = from; begin < to; begin += BLOCK) {
        const long end = begin + BLOCK < to ? begin + BLOCK : to;
        for (int channel = 0; channel < channels; channel += LANES) {
            const some these = first(channels - channel);
            const vec slope = load_floats((const char *)(slopes + channel), these);
            vec sum = {0};
            for (long pixel = begin; pixel < end; pixel++) {
                const long place = bytes * (pixel * channels + channel);
                vec value = load(x + place, these, half), learnt = load(gradient + place, these, half);
                mask positive = value > 0;
                sum += (vec)(~positive & (mask)value) * learnt;
                vec below = (vec)(~positive & (mask)(learnt * slope));
                store(for_x + place, (vec)((positive & (mask)learnt) | (mask)below), these, half);
            }
            for (int lane = 0; lane < at_most(channels - channel, LANES); lane++)
                for_slopes[channel + lane] += sum[lane];
        }
    }
}

/* half: whether gradient, x and for_x are bfloat16, which the processor must know. Each of the parts of the pixels has
   channels of its own in for_slopes, to which it adds. */
void prelu_backward(int half, const char *gradient, const char *x, const float *slopes, char *for_x, double *for_slopes,
                    long pixels, int channels, int parts) {
    #pragma omp parallel for num_threads(parts)
    for (int part = 0; part < parts; part++) {
        const long from = pixels * part / parts, to = pixels * (part + 1) / parts;
        double *sums = for_slopes + (long)part * channels;
        if (half)
            learn(1, gradient, x, slopes, for_x, sums, from, to, channels);
        else
            learn(0, gradient, x, slopes, for_x, sums, from, to, channels);
    }
}
