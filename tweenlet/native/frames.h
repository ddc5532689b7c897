/* Pictures of one channel, read at any place. */

struct frame {
    const float *pixels;
    int height, width;
};

/* What is no number is the least. */
ALWAYS float clamped(float x, float least, float most) {
    x = x > least ? x : least;
    return x > most ? most : x;
}

/* The place, or the nearest that there is. */
ALWAYS int inside(int place, int size) { return place < 0 ? 0 : place < size ? place : size - 1; }

/* Between which pixels of a frame a place lies: the first of them, how far it is to the next ones, and the shares of those. */
struct place {
    int first, right, down;
    float beside, below;
};

/* The place, or the nearest on the border. */
ALWAYS struct place place_at(int height, int width, float y, float x) {
    y = clamped(y, 0, height - 1), x = clamped(x, 0, width - 1);
    const int top = y, left = x;
    return (struct place){top * width + left, left + 1 < width, (top + 1 < height) * width, x - left, y - top};
}

/* What is there, bilinearly. */
ALWAYS float fetched(const float *pixels, struct place at) {
    const float *upper = pixels + at.first, *lower = upper + at.down;
    const float above = upper[0] + at.beside * (upper[at.right] - upper[0]);
    return above + at.below * (lower[0] + at.beside * (lower[at.right] - lower[0]) - above);
}

ALWAYS float sampled(struct frame frame, float y, float x) {
    return fetched(frame.pixels, place_at(frame.height, frame.width, y, x));
}
