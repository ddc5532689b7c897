/* AdaCoF while a network learns: what taps see, and its gradient for the taps. ops/adacof.py calls it.

    a pixel's taps -> the 2x2 pixels that each looks at, and how far down and right of their first one
    2x2 pixels -> the surface through them -> sums over the taps: a pixel    (bit by bit as PyTorch makes it)
                                           -> slopes times the gradient of the pixel: what each tap learns
*/

#include <math.h>

#define ALWAYS static inline __attribute__((always_inline))

typedef float four __attribute__((vector_size(16), aligned(4), may_alias)); /* colours of a pixel */

/* A product is rounded before it is added. */
#if defined(__x86_64__)
#define ROUNDED(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__)
#define ROUNDED(x) __asm__("" : "+w"(x))
#else
#define ROUNDED(x)
#endif

struct taps {
    int side, dilation, batch, colours, height, width;
    const float *frame; /* (batch, height + 2, width + 2, 4), its border repeated */
    const float *weight, *rows, *columns; /* (batch, height, width, side * side) each */
};

struct picture { /* (batch, colours, height, width) */
    float *values;
    long sample, colour, row, column; /* how far apart, in floats */
};

struct surface { /* first + right * by_column + down * (by_row + right * by_both) */
    four first, by_column, by_row, by_both;
};

/* Where each tap looks from a place in the frame: the row, the column. */
ALWAYS void spread(const struct taps *taps, float *down, float *right) {
    const int reach = (taps->side - 1) * taps->dilation / 2;
    for (int tap = 0; tap < taps->side * taps->side; tap++) {
        down[tap] = tap / taps->side * taps->dilation - reach;
        right[tap] = tap % taps->side * taps->dilation - reach;
    }
}

/* Offsets -> the first row or column of the 2x2, of those of the border too, and how far beyond it a tap looks. */
ALWAYS void look(const float *offsets, const float *from, int count, int place, int size, int *first, float *beyond) {
    for (int tap = 0; tap < count; tap++) {
        float whole = truncf(offsets[tap]), at = from[tap] + (place + 1) + whole;
        beyond[tap] = offsets[tap] - whole;
        at = at > 0 ? at : 0; /* where it is not a number, too */
        first[tap] = at < size ? at : size;
    }
}

ALWAYS struct surface through(const float *upper, long line) {
    four a = *(const four *)upper, b = *(const four *)(upper + 4);
    four c = *(const four *)(upper + line), d = *(const four *)(upper + line + 4);
    return (struct surface){a, b - a, c - a, (d - b) - (c - a)};
}

ALWAYS four seen(const float *upper, long line, float weight, float down, float right) {
    struct surface surface = through(upper, line);
    four bent = right * surface.by_both, across = right * surface.by_column;
    ROUNDED(bent);
    ROUNDED(across);
    four along = down * (surface.by_row + bent);
    ROUNDED(along);
    four value = weight * (surface.first + across + along);
    ROUNDED(value);
    return value;
}

ALWAYS float sum(four x) { return x[0] + x[1] + x[2] + x[3]; }

/* A row of pixels: made, or what their taps learn of the gradient. */
ALWAYS void row_of(const struct taps *taps, const struct picture *picture, float *const *learnt, int sample, int y) {
    const int count = taps->side * taps->side;
    const long line = 4 * (taps->width + 2L);
    const float *frame = taps->frame + sample * (taps->height + 2) * line;
    float *values = picture->values + sample * picture->sample + y * picture->row;
    float from_row[count], from_column[count], down[count], right[count];
    int row[count], column[count];
    spread(taps, from_row, from_column);
    for (int x = 0; x < taps->width; x++, values += picture->column) {
        const long place = (((long)sample * taps->height + y) * taps->width + x) * count;
        const float *weight = taps->weight + place;
        look(taps->rows + place, from_row, count, y, taps->height, row, down);
        look(taps->columns + place, from_column, count, x, taps->width, column, right);
        four pixel = {0};
        if (!learnt) {
            for (int tap = 0; tap < count; tap++)
                pixel += seen(frame + row[tap] * line + column[tap] * 4, line, weight[tap], down[tap], right[tap]);
            for (int colour = 0; colour < taps->colours; colour++) values[colour * picture->colour] = pixel[colour];
            continue;
        }
        for (int colour = 0; colour < taps->colours; colour++) pixel[colour] = values[colour * picture->colour];
        for (int tap = 0; tap < count; tap++) {
            struct surface surface = through(frame + row[tap] * line + column[tap] * 4, line);
            four on_row = surface.by_row + right[tap] * surface.by_both;
            four on_column = surface.by_column + down[tap] * surface.by_both;
            four on_weight = surface.first + right[tap] * surface.by_column + down[tap] * on_row;
            learnt[0][place + tap] = sum(on_weight * pixel);
            learnt[1][place + tap] = sum(on_row * pixel) * weight[tap];
            learnt[2][place + tap] = sum(on_column * pixel) * weight[tap];
        }
    }
}

/* What the taps see, written into the picture. */
void adacof_forward(const struct taps *taps, const struct picture *made, int threads) {
    #pragma omp parallel for num_threads(threads)
    for (int row = 0; row < taps->batch * taps->height; row++)
        row_of(taps, made, 0, row / taps->height, row % taps->height);
}

/* The gradient of the picture -> those of weight, rows and columns, which lie as these do. */
void adacof_backward(const struct taps *taps, const struct picture *gradient, float *const *learnt, int threads) {
    #pragma omp parallel for num_threads(threads)
    for (int row = 0; row < taps->batch * taps->height; row++)
        row_of(taps, gradient, learnt, row / taps->height, row % taps->height);
}
