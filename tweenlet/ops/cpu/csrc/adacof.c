/* AdaCoF in training: forward, and the gradient for the taps. ops/cpu/adacof.py calls it.

    a pixel's taps -> the 2x2 pixels that each looks at, and how far down and right of their first one
    2x2 pixels -> the surface through them -> sums over the taps: a pixel    (bit by bit as PyTorch makes it)
                                           -> slopes times the gradient of the pixel: what each tap learns
*/

#include <math.h>

#include "tweenlet.h"

#define INLINE static inline __attribute__((always_inline))

typedef float four __attribute__((vector_size(16), aligned(4), may_alias)); /* colours of a pixel */

/* No fused multiply-add: products are rounded first, as PyTorch's are. */
#if defined(__x86_64__)
#define ROUNDED(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__)
#define ROUNDED(x) __asm__("" : "+w"(x))
#else
#define ROUNDED(x)
#endif

struct surface { /* first + right * by_column + down * (by_row + right * by_both) */
    four first, by_column, by_row, by_both;
};

/* Where a tap samples the frame: row and column. */
INLINE void tap_positions(const struct tweenlet_taps *taps, float *down, float *right) {
    const int reach = (taps->side - 1) * taps->dilation / 2;
    for (int tap = 0; tap < taps->side * taps->side; tap++) {
        down[tap] = tap / taps->side * taps->dilation - reach;
        right[tap] = tap % taps->side * taps->dilation - reach;
    }
}

/* Offsets -> the first row or column of the 2x2, of those of the border too, and how far beyond it a tap looks. */
INLINE void locate_taps(const float *offsets, const float *from, int count, int place, int size, int *first,
                        float *beyond) {
    for (int tap = 0; tap < count; tap++) {
        float whole = truncf(offsets[tap]), at = from[tap] + (place + 1) + whole;
        beyond[tap] = offsets[tap] - whole;
        at = at > 0 ? at : 0; /* NaN becomes 0, too */
        first[tap] = at < size ? at : size;
    }
}

INLINE struct surface fit_surface(const float *upper, ptrdiff_t line) {
    four a = *(const four *)upper, b = *(const four *)(upper + 4);
    four c = *(const four *)(upper + line), d = *(const four *)(upper + line + 4);
    return (struct surface){a, b - a, c - a, (d - b) - (c - a)};
}

INLINE four sample_tap(const float *upper, ptrdiff_t line, float weight, float down, float right) {
    struct surface surface = fit_surface(upper, line);
    four bent = right * surface.by_both, across = right * surface.by_column;
    ROUNDED(bent);
    ROUNDED(across);
    four along = down * (surface.by_row + bent);
    ROUNDED(along);
    four value = weight * (surface.first + across + along);
    ROUNDED(value);
    return value;
}

INLINE float sum(four x) { return x[0] + x[1] + x[2] + x[3]; }

/* A row of pixels: their values, or the gradients of their taps. */
INLINE void run_row(const struct tweenlet_taps *taps, const struct tweenlet_strided *image, float *const *gradients,
                    int sample, int y) {
    const int count = taps->side * taps->side;
    const ptrdiff_t line = 4 * (taps->width + 2L);
    const float *frame = taps->frame + sample * (taps->height + 2) * line;
    float *values = image->values + sample * image->sample + y * image->row;
    float from_row[count], from_column[count], down[count], right[count];
    int row[count], column[count];
    tap_positions(taps, from_row, from_column);
    for (int x = 0; x < taps->width; x++, values += image->pixel) {
        const ptrdiff_t place = (((ptrdiff_t)sample * taps->height + y) * taps->width + x) * count;
        const float *weight = taps->weight + place;
        locate_taps(taps->rows + place, from_row, count, y, taps->height, row, down);
        locate_taps(taps->columns + place, from_column, count, x, taps->width, column, right);
        four pixel = {0};
        if (!gradients) {
            for (int tap = 0; tap < count; tap++)
                pixel +=
                    sample_tap(frame + row[tap] * line + column[tap] * 4, line, weight[tap], down[tap], right[tap]);
            for (int channel = 0; channel < taps->channels; channel++)
                values[channel * image->channel] = pixel[channel];
            continue;
        }
        for (int channel = 0; channel < taps->channels; channel++) pixel[channel] = values[channel * image->channel];
        for (int tap = 0; tap < count; tap++) {
            struct surface surface = fit_surface(frame + row[tap] * line + column[tap] * 4, line);
            four on_row = surface.by_row + right[tap] * surface.by_both;
            four on_column = surface.by_column + down[tap] * surface.by_both;
            four on_weight = surface.first + right[tap] * surface.by_column + down[tap] * on_row;
            gradients[0][place + tap] = sum(on_weight * pixel);
            gradients[1][place + tap] = sum(on_row * pixel) * weight[tap];
            gradients[2][place + tap] = sum(on_column * pixel) * weight[tap];
        }
    }
}

/* The image that the taps synthesise. */
void tweenlet_adacof_forward(const struct tweenlet_taps *taps, const struct tweenlet_strided *out, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < taps->batch * taps->height; row++)
        run_row(taps, out, 0, row / taps->height, row % taps->height);
}

/* The gradient of the image -> those of weight, rows and columns, with their layout. */
void tweenlet_adacof_backward(const struct tweenlet_taps *taps, const struct tweenlet_strided *gradient,
                              float *for_weight, float *for_rows, float *for_columns, int threads) {
    float *const gradients[] = {for_weight, for_rows, for_columns};
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < taps->batch * taps->height; row++)
        run_row(taps, gradient, gradients, row / taps->height, row % taps->height);
}
