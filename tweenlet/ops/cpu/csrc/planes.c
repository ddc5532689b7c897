/* Planes of codes: Y'CbCr to RGB and back, a row at a time. ops/cpu/planes.py calls it.

       planes ── offset, two filters of four taps ──> a row at luma's resolution ── matrix ──> RGB
       planes <─ lifting steps ── rows at luma's resolution <─ matrix, offset ── RGB

   Its results are numpy's in video/conversion.py, to the bit: sums are in the same order, and a product is rounded
   before something is added to it, or it is exact, as all are that upsample codes of up to 12 bits. */

#include "tweenlet.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

enum { BEFORE = 1, BEYOND = 3, LIVE = 10 }; /* LIVE: rows that a chroma row depends on, and one more */

static const float TAPS[2][2][4] = {
    {{1 / 8.0f, 1, -1 / 8.0f, 0}, {-1 / 8.0f, 1, 1 / 8.0f, 0}}, /* centred: the first of two luma samples, the second */
    {{0, 1, 0, 0}, {-1 / 16.0f, 9 / 16.0f, 9 / 16.0f, -1 / 16.0f}} /* co-sited */
};
static const float ALONE[4] = {0, 1, 0, 0};

/* A product, which the compiler cannot fuse with a sum. */
INLINE float rounded(float product) { return product > -FLT_MAX ? product : -FLT_MAX; }

INLINE int clamp(int x, int last) { return x < 0 ? 0 : at_most(x, last); }

INLINE float code(const uint8_t *row, const int is_wide, ptrdiff_t x) {
    return is_wide ? ((const uint16_t *)row)[x] : row[x];
}

INLINE void set_code(uint8_t *row, const int is_wide, ptrdiff_t x, float value, float top) {
    value = value > 0 ? value : 0;
    const int nearest = (int)rintf(value < top ? value : top);
    if (is_wide)
        ((uint16_t *)row)[x] = (uint16_t)nearest;
    else
        row[x] = (uint8_t)nearest;
}

INLINE uint8_t *plane_row(const struct tweenlet_ycbcr *picture, const int is_wide, int plane, int row) {
    return picture->planes[plane] + (1 + is_wide) * picture->rows[plane] * row;
}

INLINE void repeat_ends(float *line, int length) {
    line[-1] = line[0];
    line[length] = line[length + 1] = line[length - 1];
}

INLINE float filter(const float *taps, float a, float b, float c, float d) {
    return taps[0] * a + taps[1] * b + taps[2] * c + taps[3] * d;
}

/* Chroma of a luma row: upsampled downwards into line, and from there across into full, or not. Returns which. */
INLINE const float *upsample(const struct tweenlet_ycbcr *picture, const int is_wide, int plane, int y, float offset,
                             float *restrict line, float *restrict full) {
    const int down = picture->halved[0], width = picture->width >> 1,
              length = picture->halved[1] ? width + picture->width % 2 : picture->width;
    const int last = ((picture->height + down) >> down) - 1, row = y >> down, second = y & down;
    const float *taps = down && (second || y + 1 < picture->height) ? TAPS[picture->cosited[0]][second] : ALONE;
    const uint8_t *rows[4];
    for (int tap = 0; tap < 4; tap++) rows[tap] = plane_row(picture, is_wide, plane, clamp(row + tap - 1, last));
    const uint8_t *above = rows[0], *here = rows[1], *below = rows[2], *next = rows[3];
    if (taps == ALONE)
        for (int x = 0; x < length; x++) line[x] = code(here, is_wide, x) - offset;
    else
        for (int x = 0; x < length; x++)
            line[x] = filter(taps, code(above, is_wide, x), code(here, is_wide, x), code(below, is_wide, x),
                             code(next, is_wide, x)) -
                      offset;
    if (!picture->halved[1]) return line;
    repeat_ends(line, length);
    const float *even = TAPS[picture->cosited[1]][0], *odd = TAPS[picture->cosited[1]][1];
    for (int x = 0; x < width; x++) {
        full[2 * x] = filter(even, line[x - 1], line[x], line[x + 1], line[x + 2]);
        full[2 * x + 1] = filter(odd, line[x - 1], line[x], line[x + 1], line[x + 2]);
    }
    if (picture->width % 2) full[2 * width] = line[width];
    return full;
}

INLINE float clipped(float x) {
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

INLINE void mix(const int is_wide, const int clip, const uint8_t *restrict codes, const float *restrict blue,
                const float *restrict red, const float *matrix, float offset, float *restrict r, float *restrict g,
                float *restrict b, int width) {
    const float scale = matrix[0], red_r = matrix[2], blue_g = matrix[4], red_g = matrix[5], blue_b = matrix[7];
    for (int x = 0; x < width; x++) {
        const float luma = rounded((code(codes, is_wide, x) - offset) * scale);
        const float own[3] = {rounded(red[x] * red_r) + luma,
                              rounded(blue[x] * blue_g) + rounded(red[x] * red_g) + luma,
                              rounded(blue[x] * blue_b) + luma};
        r[x] = clip ? clipped(own[0]) : own[0];
        g[x] = clip ? clipped(own[1]) : own[1];
        b[x] = clip ? clipped(own[2]) : own[2];
    }
}

INLINE int to_rgb(const int is_wide, const struct tweenlet_ycbcr *picture, const float *matrix, const float *offset,
                  int clip, float *rgb) {
    const int width = picture->width, height = picture->height, room = width + BEFORE + BEYOND;
    float *lines = malloc(sizeof(float) * 4 * room);
    if (!lines) return 1;
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    for (int y = 0; y < height; y++, rgb += width) {
        const uint8_t *codes = plane_row(picture, is_wide, 0, y);
        const float *chroma[2];
        for (int k = 0; k < 2; k++) {
            float *line = lines + 2 * k * room + BEFORE;
            chroma[k] = upsample(picture, is_wide, 1 + k, y, offset[1 + k], line, line + room);
        }
        if (clip)
            mix(is_wide, 1, codes, chroma[0], chroma[1], matrix, *offset, rgb, rgb + plane, rgb + 2 * plane, width);
        else
            mix(is_wide, 0, codes, chroma[0], chroma[1], matrix, *offset, rgb, rgb + plane, rgb + 2 * plane, width);
    }
    free(lines);
    return 0;
}

/* rgb: (3, height, width), filled. matrix: (3, 3), of which the zeros are not read; offset: of each plane. */
int tweenlet_ycbcr_to_rgb(const struct tweenlet_ycbcr *picture, const float *matrix, const float *offset, int clip,
                          float *rgb) {
    return picture->is_wide ? to_rgb(1, picture, matrix, offset, clip, rgb)
                            : to_rgb(0, picture, matrix, offset, clip, rgb);
}

/* A row of RGB to codes of luma, and to chroma that is not yet rounded. */
INLINE void separate(const int is_wide, const float *restrict r, const float *restrict g, const float *restrict b,
                     const float *matrix, const float *offset, float top, uint8_t *restrict codes, float *restrict blue,
                     float *restrict red, int width) {
#define ROW(k)                                                                                                         \
    rounded(matrix[3 * k] * r[x]) + rounded(matrix[3 * k + 1] * g[x]) + rounded(matrix[3 * k + 2] * b[x]) + offset[k]
    for (int x = 0; x < width; x++) set_code(codes, is_wide, x, ROW(0), top);
    for (int x = 0; x < width; x++) blue[x] = ROW(1), red[x] = ROW(2);
#undef ROW
}

/* A quarter of what the second of two samples differs by from the cubic between the first ones around it. */
INLINE float detail(float second, float before, float first, float after, float next) {
    return (second - (rounded((first + after) * (9 / 16.0f)) - (before + next) * (1 / 16.0f))) * 0.25f;
}

/* A chroma row from rows at luma's resolution, of which rows holds the last LIVE. */
INLINE const float *downsample_down(const struct tweenlet_ycbcr *picture, const float *rows, int room, int row,
                                    float *restrict line) {
#define FIRST(k) (rows + room * (2 * clamp(k, last) % LIVE))
#define SECOND(k) (rows + room * ((2 * (k) + 1) % LIVE))
    const int width = picture->width, pairs = picture->height / 2, last = (picture->height + 1) / 2 - 1;
    const float *first = FIRST(row);
    if (!picture->halved[0]) return rows + room * (row % LIVE);
    if (!pairs || (!picture->cosited[0] && row >= pairs)) return first;
    if (!picture->cosited[0]) {
        const float *second = SECOND(row);
        for (int x = 0; x < width; x++) line[x] = (first[x] + second[x]) * 0.5f;
        return line;
    }
    const int own = at_most(row, pairs - 1), before = row ? row - 1 : 0;
    const float *second = SECOND(own), *a = FIRST(own - 1), *b = FIRST(own), *c = FIRST(own + 1), *d = FIRST(own + 2);
    for (int x = 0; x < width; x++) line[x] = first[x] + detail(second[x], a[x], b[x], c[x], d[x]);
    second = SECOND(before), a = FIRST(before - 1), b = FIRST(before), c = FIRST(before + 1), d = FIRST(before + 2);
    for (int x = 0; x < width; x++) line[x] += detail(second[x], a[x], b[x], c[x], d[x]);
    return line;
#undef FIRST
#undef SECOND
}

/* The codes of a chroma row from a line at luma's resolution. */
INLINE void downsample_across(const struct tweenlet_ycbcr *picture, const int is_wide, const float *restrict line,
                              float *restrict first, float *restrict details, float top, uint8_t *restrict codes) {
    const int width = picture->width, pairs = width / 2, length = width - pairs;
    if (!picture->halved[1]) {
        for (int x = 0; x < width; x++) set_code(codes, is_wide, x, line[x], top);
    } else if (!picture->cosited[1] || !pairs) {
        for (int x = 0; x < pairs; x++) set_code(codes, is_wide, x, (line[2 * x] + line[2 * x + 1]) * 0.5f, top);
        if (length > pairs) set_code(codes, is_wide, pairs, line[width - 1], top);
    } else {
        for (int x = 0; x < pairs; x++) first[x] = line[2 * x];
        if (length > pairs) first[pairs] = line[width - 1];
        repeat_ends(first, length);
        for (int x = 0; x < pairs; x++)
            details[x] = detail(line[2 * x + 1], first[x - 1], first[x], first[x + 1], first[x + 2]);
        repeat_ends(details, pairs);
        for (int x = 0; x < length; x++) set_code(codes, is_wide, x, first[x] + details[x] + details[x - 1], top);
    }
}

INLINE int from_rgb(const int is_wide, const float *rgb, const float *matrix, const float *offset, float top,
                    const struct tweenlet_ycbcr *picture) {
    const int width = picture->width, height = picture->height, room = width + BEFORE + BEYOND;
    const int down = picture->halved[0], ahead = down ? picture->cosited[0] ? 4 : 1 : 0;
    float *rows = malloc(sizeof(float) * (2 * LIVE + 3) * room), *lines = rows + 2 * LIVE * room + BEFORE;
    if (!rows) return 1;
    const ptrdiff_t plane = (ptrdiff_t)height * width;
    for (int row = 0, y = 0; row < (height + down) >> down; row++) {
        for (; y <= at_most((row << down) + ahead, height - 1); y++, rgb += width) {
            float *blue = rows + room * (y % LIVE);
            separate(is_wide, rgb, rgb + plane, rgb + 2 * plane, matrix, offset, top, plane_row(picture, is_wide, 0, y),
                     blue, blue + LIVE * room, width);
        }
        for (int k = 0; k < 2; k++) {
            const float *line = downsample_down(picture, rows + k * LIVE * room, room, row, lines);
            downsample_across(picture, is_wide, line, lines + room, lines + 2 * room, top,
                              plane_row(picture, is_wide, 1 + k, row));
        }
    }
    free(rows);
    return 0;
}

/* rgb: (3, height, width). matrix: (3, 3); offset: of each plane; top: the largest code. The planes are filled. */
int tweenlet_rgb_to_ycbcr(const float *rgb, const float *matrix, const float *offset, float top,
                          const struct tweenlet_ycbcr *picture) {
    return picture->is_wide ? from_rgb(1, rgb, matrix, offset, top, picture)
                            : from_rgb(0, rgb, matrix, offset, top, picture);
}
