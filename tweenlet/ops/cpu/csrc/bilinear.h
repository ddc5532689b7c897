/* Bilinear sampling of an image, and clamping. */

/* x limited to least..most; least if x is NaN. */
INLINE float clamp(float x, float least, float most) {
    x = x > least ? x : least;
    return x > most ? most : x;
}

/* The index, or the nearest valid one. */
INLINE int clamp_index(int position, int size) { return position < 0 ? 0 : position < size ? position : size - 1; }

/* A point between four pixels: the index of the top left one, steps to the right and lower ones (0 at the border), and their
   weights. */
struct position {
    int first, right, down;
    float beside, below;
};

/* The point (y, x), or the nearest on the border. */
INLINE struct position locate(int height, int width, float y, float x) {
    y = clamp(y, 0, height - 1), x = clamp(x, 0, width - 1);
    const int top = y, left = x;
    return (struct position){top * width + left, left + 1 < width, (top + 1 < height) * width, x - left, y - top};
}
