/* Rows and columns of floats exchanged, four by four. */

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int four_places __attribute__((vector_size(16)));

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (four_places){__VA_ARGS__})
#endif

/* [row][column] -> [column][row], rows so far apart before, columns so far apart after. */
static inline void transpose(const float *from, ptrdiff_t from_stride, float *to, ptrdiff_t to_stride, int rows,
                             int columns) {
    const int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int column = 0; column < whole_columns; column += 4)
        for (int row = 0; row < whole_rows; row += 4) {
            const float *here = from + row * from_stride + column;
            float *there = to + column * to_stride + row;
            four a = *(const four *)here, b = *(const four *)(here + from_stride);
            four c = *(const four *)(here + 2 * from_stride), d = *(const four *)(here + 3 * from_stride);
            four ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
            *(four *)there = SHUFFLE(ab, cd, 0, 1, 4, 5);
            *(four *)(there + to_stride) = SHUFFLE(ab, cd, 2, 3, 6, 7);
            ab = SHUFFLE(a, b, 2, 6, 3, 7), cd = SHUFFLE(c, d, 2, 6, 3, 7);
            *(four *)(there + 2 * to_stride) = SHUFFLE(ab, cd, 0, 1, 4, 5);
            *(four *)(there + 3 * to_stride) = SHUFFLE(ab, cd, 2, 3, 6, 7);
        }
    for (int column = 0; column < columns; column++)
        for (int row = column < whole_columns ? whole_rows : 0; row < rows; row++)
            to[column * to_stride + row] = from[row * from_stride + column];
}
