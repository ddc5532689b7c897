/* leaky_relu(x * scale + shift + residual), in place, channels_last.
   ops/cpu/epilogue.py calls it. */

#include "tweenlet.h"

#include "vectors.h"

INLINE void scale_shift_act(const int is_bf16, char *x, const float *scale, const float *shift, const char *residual,
                            float slope, ptrdiff_t pixels, int channels, int threads) {
    const int bytes = is_bf16 ? 2 : 4;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (ptrdiff_t pixel = 0; pixel < pixels; pixel++)
        for (int channel = 0; channel < channels; channel += LANES) {
            const lane_mask active = first_lanes(channels - channel);
            const ptrdiff_t place = bytes * (pixel * channels + channel);
            vec value = load(x + place, active, is_bf16) * load_f32((const char *)(scale + channel), active) +
                        load_f32((const char *)(shift + channel), active);
            if (residual) value += load(residual + place, active, is_bf16);
            store(x + place, leaky_relu(value, (vec){0} + slope), active, is_bf16);
        }
}

void tweenlet_scale_shift_act(int is_bf16, char *x, const float *scale, const float *shift, const char *residual,
                              float slope, ptrdiff_t pixels, int channels, int threads) {
    if (is_bf16)
        scale_shift_act(1, x, scale, shift, residual, slope, pixels, channels, threads);
    else
        scale_shift_act(0, x, scale, shift, residual, slope, pixels, channels, threads);
}
