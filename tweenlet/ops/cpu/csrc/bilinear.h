/* Pictures of one channel, read at any place, and what lands at one. */

#include <math.h>

struct frame {
    const float *pixels;
    int height, width;
};

/* What is no number is the least. */
INLINE float clamp(float x, float least, float most) {
    x = x > least ? x : least;
    return x > most ? most : x;
}

/* The place, or the nearest that there is. */
INLINE int clamp_index(int position, int size) { return position < 0 ? 0 : position < size ? position : size - 1; }

/* Between which pixels of a frame a place lies: the first of them, how far it is to the next ones, and the shares of those. */
struct position {
    int first, right, down;
    float beside, below;
};

/* The place, or the nearest on the border. */
INLINE struct position locate(int height, int width, float y, float x) {
    y = clamp(y, 0, height - 1), x = clamp(x, 0, width - 1);
    const int top = y, left = x;
    return (struct position){top * width + left, left + 1 < width, (top + 1 < height) * width, x - left, y - top};
}

/* What is there, bilinearly. */
INLINE float bilinear(const float *pixels, struct position at) {
    const float *upper = pixels + at.first, *lower = upper + at.down;
    const float above = upper[0] + at.beside * (upper[at.right] - upper[0]);
    return above + at.below * (lower[0] + at.beside * (lower[at.right] - lower[0]) - above);
}

INLINE float bilinear_at(struct frame frame, float y, float x) {
    return bilinear(frame.pixels, locate(frame.height, frame.width, y, x));
}

/* The means of 2x2 pixels of two rows, times a share: so many. */
INLINE void avg_pool2_row(const float *upper, const float *lower, float share, float *to, int count) {
    share /= 4;
    for (int x = 0; x < count; x++)
        to[x] = share * ((upper[2 * x] + upper[2 * x + 1]) + (lower[2 * x] + lower[2 * x + 1]));
}

/* The pixels of rows from start to end that something lands on at a place: their numbers and shares. Returns how many. */
INLINE int splat_targets(float y, float x, int start, int end, int width, long *pixels, float *shares) {
    if (!(y > start - 1 && y < end && x > -1 && x < width)) return 0; /* nor is what is no number anywhere */
    const int top = floorf(y), left = floorf(x);
    int count = 0;
    for (int below = 0; below < 2; below++)
        for (int beside = 0; beside < 2; beside++) {
            const int row = top + below, column = left + beside;
            if (row < start || row >= end || column < 0 || column >= width) continue;
            pixels[count] = (long)row * width + column;
            shares[count++] = (below ? y - top : 1 - (y - top)) * (beside ? x - left : 1 - (x - left));
        }
    return count;
}
