/* Blocks of a plane of codes in which two pictures are equal and a new one is close to them. ops/cpu/planes.py calls it.

       rows of a block ── sample by sample ──> one line ── across each block ──> an entry of the grid

   The grid has an int for each block, which is set or not. The last row and column are repeated to complete blocks. */

#include "tweenlet.h"

#include <stdlib.h>
#include <string.h>

#include "vectors.h"

enum { NEW, FIRST, SECOND };

INLINE int code(const uint8_t *row, const int is_wide, ptrdiff_t x) {
    return is_wide ? ((const uint16_t *)row)[x] : row[x];
}

/* A row of a plane, from the first of a row of blocks. */
INLINE uint8_t *row_of(const struct tweenlet_blocks *blocks, int picture, int down, int row) {
    row = at_most(down * blocks->down + row, blocks->height - 1);
    return blocks->planes[picture] + (1 + blocks->is_wide) * blocks->rows[picture] * row;
}

INLINE int ceiling(int length, int by) { return (length + by - 1) / by; }

INLINE int any(const int *flags, int count) {
    int sum = 0;
    for (int k = 0; k < count; k++) sum |= flags[k];
    return sum;
}

INLINE void clear_unequal(const int size, const uint8_t *restrict differs, int columns, int *restrict grid) {
    for (int column = 0; column < columns; column++, differs += size) {
        int different = 0;
        for (int k = 0; k < size; k++) different |= differs[k];
        grid[column] &= !different;
    }
}

/* Blocks of which the pictures before and after are not equal are cleared. */
int tweenlet_equal_blocks(const struct tweenlet_blocks *blocks, int *grid) {
    const int columns = ceiling(blocks->width, blocks->across), bytes = 1 + blocks->is_wide;
    const int size = bytes * blocks->across; /* of a row of a block */
    uint8_t *differs = calloc((size_t)columns, (size_t)size);
    if (!differs) return 1;
    for (int down = 0; down < ceiling(blocks->height, blocks->down); down++, grid += columns) {
        memset(differs, 0, (size_t)(bytes * blocks->width));
        for (int row = 0; row < blocks->down && any(grid, columns); row++) {
            const uint8_t *restrict first = row_of(blocks, FIRST, down, row);
            const uint8_t *restrict second = row_of(blocks, SECOND, down, row);
            for (int x = 0; x < bytes * blocks->width; x++) differs[x] |= first[x] ^ second[x];
            if (row && row < blocks->down - 1) continue; /* most that move differ in the first */
            if (size == 8)
                clear_unequal(8, differs, columns, grid);
            else if (size == 4)
                clear_unequal(4, differs, columns, grid);
            else
                clear_unequal(size, differs, columns, grid);
        }
    }
    free(differs);
    return 0;
}

/* The end of the run of blocks that are set, or are not, as that of a column. */
INLINE int end_of_run(const int *grid, int column, int columns) {
    int end = column + 1;
    while (end < columns && !grid[end] == !grid[column]) end++;
    return end;
}

/* What is known of each column of samples: the first picture's largest and least code, and how far the new one is from it,
   at most and in all. */
struct line {
    int *restrict highest, *restrict lowest, *restrict most, *restrict sum;
};

INLINE void add_row(const int is_wide, const struct line line, const uint8_t *restrict new,
                    const uint8_t *restrict first, int begin, int end) {
    for (int x = begin; x < end; x++) {
        const int here = code(first, is_wide, x), apart = abs(code(new, is_wide, x) - here);
        line.highest[x] = line.highest[x] > here ? line.highest[x] : here;
        line.lowest[x] = line.lowest[x] < here ? line.lowest[x] : here;
        line.most[x] = line.most[x] > apart ? line.most[x] : apart;
        line.sum[x] += apart;
    }
}

/* Whether a block, from a column of samples on, is close enough. */
INLINE int is_close(const struct tweenlet_blocks *blocks, const struct line line, int begin, const float *limits) {
    int highest = 0, lowest = UINT16_MAX, most = 0, sum = 0;
    for (int k = 0; k < blocks->across; k++) {
        const int x = at_most(begin + k, blocks->width - 1);
        highest = line.highest[x] > highest ? line.highest[x] : highest;
        lowest = at_most(line.lowest[x], lowest);
        most = line.most[x] > most ? line.most[x] : most;
        sum += line.sum[x];
    }
    const float contrast = highest - lowest, mean = (float)sum / (blocks->down * blocks->across);
    return mean <= limits[0] + limits[1] * contrast && most <= limits[2] + limits[3] * contrast;
}

/* Blocks of which the new picture is farther from the first than this are cleared: in the mean and in any sample, in codes,
   plus shares of the block's contrast. */
int tweenlet_close_blocks(const struct tweenlet_blocks *blocks, float mean, float mean_share, float most,
                          float most_share, int *grid) {
    const float limits[] = {mean, mean_share, most, most_share};
    const int width = blocks->width, columns = ceiling(width, blocks->across);
    int *room = malloc(sizeof(int) * 4 * width);
    if (!room) return 1;
    const struct line line = {room, room + width, room + 2 * width, room + 3 * width};
    for (int down = 0; down < ceiling(blocks->height, blocks->down); down++, grid += columns)
        for (int column = 0, end; column < columns; column = end) {
            end = end_of_run(grid, column, columns);
            if (!grid[column]) continue;
            const int begin = column * blocks->across, stop = at_most(end * blocks->across, width);
            for (int x = begin; x < stop; x++) {
                line.highest[x] = line.most[x] = line.sum[x] = 0;
                line.lowest[x] = UINT16_MAX;
            }
            for (int row = 0; row < blocks->down; row++) {
                const uint8_t *new = row_of(blocks, NEW, down, row), *first = row_of(blocks, FIRST, down, row);
                if (blocks->is_wide)
                    add_row(1, line, new, first, begin, stop);
                else
                    add_row(0, line, new, first, begin, stop);
            }
            for (int k = column; k < end; k++) grid[k] = is_close(blocks, line, k * blocks->across, limits);
        }
    free(room);
    return 0;
}

/* The blocks that are set are copied from the first picture into the new one. */
void tweenlet_copy_blocks(const struct tweenlet_blocks *blocks, const int *grid) {
    const int columns = ceiling(blocks->width, blocks->across), bytes = 1 + blocks->is_wide;
    for (int down = 0; down < ceiling(blocks->height, blocks->down); down++, grid += columns)
        for (int column = 0, end; column < columns; column = end) {
            end = end_of_run(grid, column, columns);
            if (!grid[column]) continue;
            const int begin = column * blocks->across, stop = at_most(end * blocks->across, blocks->width);
            for (int row = 0; row < at_most(blocks->down, blocks->height - down * blocks->down); row++)
                memcpy(row_of(blocks, NEW, down, row) + bytes * begin, row_of(blocks, FIRST, down, row) + bytes * begin,
                       (size_t)(bytes * (stop - begin)));
        }
}
