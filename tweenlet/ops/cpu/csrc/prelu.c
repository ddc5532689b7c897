/* The gradient of a leaky activation with learnt slopes, for channels_last pixels. ops/cpu/prelu.py calls it. */

#include "tweenlet.h"

#include "vectors.h"

#define BLOCK 16 /* pixels whose terms are summed in float32, before float64 takes over */

INLINE void prelu_backward(const int is_bf16, const char *gradient, const char *x, const float *slopes, char *for_x,
                           double *for_slopes, ptrdiff_t from, ptrdiff_t to, int channels) {
    const int bytes = is_bf16 ? 2 : 4;
    for (ptrdiff_t begin = from; begin < to; begin += BLOCK) {
        const ptrdiff_t end = begin + BLOCK < to ? begin + BLOCK : to;
        for (int channel = 0; channel < channels; channel += LANES) {
            const lane_mask active = first_lanes(channels - channel);
            const vec slope = load_f32((const char *)(slopes + channel), active);
            vec sum = {0};
            for (ptrdiff_t pixel = begin; pixel < end; pixel++) {
                const ptrdiff_t place = bytes * (pixel * channels + channel);
                vec value = load(x + place, active, is_bf16), term = load(gradient + place, active, is_bf16);
                mask positive = value > 0;
                sum += (vec)(~positive & (mask)value) * term;
                vec below = (vec)(~positive & (mask)(term * slope));
                store(for_x + place, (vec)((positive & (mask)term) | (mask)below), active, is_bf16);
            }
            for (int lane = 0; lane < at_most(channels - channel, LANES); lane++)
                for_slopes[channel + lane] += sum[lane];
        }
    }
}

/* Each of the parts of the pixels has
   channels of its own in for_slopes, to which it adds. */
void tweenlet_prelu_backward(int is_bf16, const char *gradient, const char *x, const float *slopes, char *for_x,
                             double *for_slopes, ptrdiff_t pixels, int channels, int parts) {
#pragma omp parallel for num_threads(parts)
    for (int part = 0; part < parts; part++) {
        const ptrdiff_t from = pixels * part / parts, to = pixels * (part + 1) / parts;
        double *sums = for_slopes + (ptrdiff_t)part * channels;
        if (is_bf16)
            prelu_backward(1, gradient, x, slopes, for_x, sums, from, to, channels);
        else
            prelu_backward(0, gradient, x, slopes, for_x, sums, from, to, channels);
    }
}
