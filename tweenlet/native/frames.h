/* Pictures of one channel, read at any place. */

struct frame {
    const float *pixels;
    int height, width;
};

ALWAYS float clamped(float x, float least, float most) {
    x = x < least ? least : x;
    return x > most ? most : x;
}

/* The place, or the nearest that there is. */
ALWAYS int inside(int place, int size) { return place < 0 ? 0 : place < size ? place : size - 1; }

/* A picture between its pixels, bilinearly; its border goes on beyond it. */
ALWAYS float sampled(struct frame frame, float y, float x) {
    y = clamped(y, 0, frame.height - 1), x = clamped(x, 0, frame.width - 1);
    const int top = y, left = x, here = top * frame.width + left;
    const int right = here + (left + 1 < frame.width), down = (top + 1 < frame.height) * frame.width;
    const float *pixels = frame.pixels, beside = x - left, below = y - top;
    const float upper = pixels[here] + beside * (pixels[right] - pixels[here]);
    const float lower = pixels[here + down] + beside * (pixels[right + down] - pixels[here + down]);
    return upper + below * (lower - upper);
}
