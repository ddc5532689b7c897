/* Last steps of an AdaCoF head: taps are upsampled, convolved, and sample a frame. ops/cpu/adacof_head.py calls it.

    small taps -- 9 products a pixel --> columns enlarged, summed over the kernel's --> the same with rows --> taps
    taps of some pixels, or given ones --> weights, indices and shares --> sums of the frame's pixels

Enlarging and convolving are linear, so what is large is only two sums of six terms. A task is a block of columns of
a band of rows: its last three enlarged rows of small taps stay in the cache of one core.
*/

#include "aligned.h"
#include "tweenlet.h"

#include "vectors.h"

#define KINDS 3  /* weight, rows, columns */
#define SIDE 3   /* side of the convolution's kernel */
#define SLOTS 3  /* rows of small taps that contribute to a row of large ones */
#define SMALL 32 /* approximate columns of small taps in a block */
#define BAND 64  /* approximate most rows of small taps in a band */
#define ROWS 4   /* rows of a GEMM micro-kernel */
#define CHUNK 8  /* pixels processed together in each step */

typedef float two __attribute__((vector_size(32), aligned(4), may_alias)); /* pixels */
typedef int two_mask __attribute__((vector_size(32), aligned(4), may_alias));
typedef float one __attribute__((vector_size(16), aligned(4), may_alias));

#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

/* Lanes for so many taps: in full vectors, and with padding. */
INLINE int full(int taps) { return taps / LANES * LANES; }
INLINE int lanes(int taps) { return (taps + LANES - 1) / LANES * LANES; }

/* The lane of a tap among three kernel rows: full vectors of all rows first, so that most are aligned. */
INLINE int lane(int taps, int row, int tap) {
    return tap < full(taps) ? row * full(taps) + tap : SIDE * full(taps) + row * (taps - full(taps)) + tap - full(taps);
}

INLINE int at_least(int a, int b) { return a > b ? a : b; }

/* b if either is NaN, as x86 has it; GCC emits neither single instruction by itself. */
#if LANES == 16
INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec vec_trunc(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO); }
#elif LANES == 8
INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec vec_trunc(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
#else
INLINE vec vec_min(vec a, vec b) { return vec_select(a < b, a, b); }
INLINE vec vec_trunc(vec a) {
    for (int i = 0; i < LANES; i++) a[i] = __builtin_truncf(a[i]);
    return a;
}
#endif

/* Keeps a value in a register instead of reloading it for each use. */
#ifdef __AVX2__
#define HOLD(x) __asm__("" : "+x"(x))
#else
#define HOLD(x)
#endif

/* The maximum over all lanes, in every lane. */
INLINE vec broadcast_max(vec x) {
#if LANES == 16
    x = vec_max(x, SHUFFLE(mask, x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = vec_max(x, SHUFFLE(mask, x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = vec_max(x, SHUFFLE(mask, x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return vec_max(x, SHUFFLE(mask, x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif LANES == 8
    x = vec_max(x, SHUFFLE(mask, x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = vec_max(x, SHUFFLE(mask, x, x, 2, 3, 0, 1, 6, 7, 4, 5));
    return vec_max(x, SHUFFLE(mask, x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#else
    x = vec_max(x, SHUFFLE(mask, x, x, 2, 3, 0, 1));
    return vec_max(x, SHUFFLE(mask, x, x, 1, 0, 3, 2));
#endif
}

/* Stores two vectors interleaved by fours: four of a, four of b, the next four of a, and so on. */
INLINE void store_by_fours(vec a, vec b, float *to) {
#if LANES == 16
    *(vec *)to = SHUFFLE(mask, a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    *(vec *)(to + LANES) = SHUFFLE(mask, a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
#elif LANES == 8
    *(vec *)to = SHUFFLE(mask, a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    *(vec *)(to + LANES) = SHUFFLE(mask, a, b, 4, 5, 6, 7, 12, 13, 14, 15);
#else
    *(vec *)to = a;
    *(vec *)(to + LANES) = b;
#endif
}

/* The inputs that are not zero in all of ROWS pixels: after a ReLU about half. Returns how many. */
INLINE int find_nonzero(const float *x, const int inputs, int *nonzero) {
    int count = 0;
    for (int input = 0; input < inputs; input++) {
        int some = 0;
        for (int i = 0; i < ROWS; i++) some |= x[i * inputs + input] != 0;
        nonzero[count] = input;
        count += some;
    }
    return count;
}

/* Nonzero inputs of ROWS pixels times three vectors of kernels. */
INLINE void multiply_nonzero(const float *x, const int inputs, const int *nonzero, int count, const float *kernels,
                             float *z, ptrdiff_t pixel_stride) {
    vec sum[ROWS * 3];
    UNROLL(12)
    for (int i = 0; i < ROWS * 3; i++) sum[i] = (vec){0};
    for (int n = 0; n < count; n++) {
        const int input = nonzero[n];
        vec kernel[3];
        UNROLL(3)
        for (int j = 0; j < 3; j++) kernel[j] = *(const vec *)(kernels + (3 * input + j) * LANES);
        UNROLL(4)
        for (int i = 0; i < ROWS; i++) {
            vec value = broadcast(x[i * inputs + input]);
            UNROLL(3)
            for (int j = 0; j < 3; j++) sum[i * 3 + j] += value * kernel[j];
        }
    }
    UNROLL(4)
    for (int i = 0; i < ROWS; i++) UNROLL(3)
    for (int j = 0; j < 3; j++) *(vec *)(z + i * pixel_stride + j * LANES) = sum[i * 3 + j];
}

/* One row of small taps -> products with the kernel, upsampled and summed along columns: to[column][kind]. */
INLINE void enlarge_columns(const struct tweenlet_adacof_head *head, const int taps, int row, int left, int right,
                            float *strip, float *z, float *to) {
    const struct tweenlet_positions *columns = &head->columns;
    const int wide = lanes(SIDE * taps), last = columns->small - 1;
    const int from = columns->first[left], count = at_most(columns->first[right + 1] + 1, last) + 1 - from;
    int nonzero[taps];
    for (int kind = 0; kind < KINDS; kind++) {
        memcpy(strip, head->taps[kind] + ((ptrdiff_t)row * columns->small + from) * taps, 4L * count * taps);
        const float *kernels = head->kernels + (ptrdiff_t)kind * SIDE * wide * taps;
        for (int i = 0; i < count; i += ROWS) {
            int some = find_nonzero(strip + i * taps, taps, nonzero);
            for (int lane = 0; lane < SIDE * wide; lane += 3 * LANES)
                multiply_nonzero(strip + i * taps, taps, nonzero, some, kernels + lane * taps,
                                 z + (ptrdiff_t)i * SIDE * wide + lane, SIDE * wide);
        }
        for (int column = left; column < right; column++) {
            const float *a[SIDE], *b[SIDE];
            vec share_a[SIDE], share_b[SIDE];
            for (int k = 0; k < SIDE; k++) {
                int first = columns->first[column + k], second = at_most(first + 1, last);
                a[k] = z + ((ptrdiff_t)(first - from) * SIDE + k) * wide;
                b[k] = z + ((ptrdiff_t)(second - from) * SIDE + k) * wide;
                share_a[k] = broadcast(columns->shares[2 * (column + k)]);
                share_b[k] = broadcast(columns->shares[2 * (column + k) + 1]);
            }
            float *sums = to + ((ptrdiff_t)(column - left) * KINDS + kind) * wide;
            for (int lane = 0; lane < wide; lane += LANES) {
                vec sum = {0};
                for (int k = 0; k < SIDE; k++) {
                    sum += share_a[k] * *(const vec *)(a[k] + lane);
                    sum += share_b[k] * *(const vec *)(b[k] + lane);
                }
                *(vec *)(sums + lane) = sum;
            }
        }
    }
}

struct terms {                               /* addends of a row's taps */
    const float *first[SIDE], *second[SIDE]; /* [pixel][kind]; the first also for each kind, where taps are given */
    vec share_of_first[SIDE], share_of_second[SIDE];
};

/* The addends of a row, from a column of a block on. */
INLINE void enlarge_rows(struct terms *terms, const struct tweenlet_adacof_head *head, const int taps, int row,
                         int column, const float *ring, ptrdiff_t slot) {
    const ptrdiff_t start = (ptrdiff_t)column * KINDS * lanes(SIDE * taps);
    for (int k = 0; k < SIDE; k++) {
        int first = head->rows.first[row + k], second = at_most(first + 1, head->rows.small - 1);
        terms->first[k] = ring + first % SLOTS * slot + start;
        terms->second[k] = ring + second % SLOTS * slot + start;
        terms->share_of_first[k] = broadcast(head->rows.shares[2 * (row + k)]);
        terms->share_of_second[k] = broadcast(head->rows.shares[2 * (row + k) + 1]);
    }
}

/* Loads taps of some pixels of one row that are given at full size, as whole vectors. */
INLINE void load_taps(struct terms *terms, const struct tweenlet_adacof_head *head, const int taps, int row, int column,
                      int count, float *loaded) {
    for (int kind = 0; kind < KINDS; kind++) {
        const float *from = head->taps[kind] + ((ptrdiff_t)row * head->columns.large + column) * taps;
        terms->first[kind] = loaded;
        for (int i = 0; i < count; i++, loaded += lanes(taps)) memcpy(loaded, from + (ptrdiff_t)i * taps, 4 * taps);
    }
}

/* One vector of taps: upsampled and summed along rows, or as given. */
INLINE vec tap_vector(const struct terms *terms, const struct tweenlet_adacof_head *head, const int taps,
                      const int given, int i, int kind, int tap) {
    if (given) return *(const vec *)(terms->first[kind] + i * lanes(taps) + tap);
    const ptrdiff_t start = (ptrdiff_t)(i * KINDS + kind) * lanes(SIDE * taps);
    vec sum = *(const vec *)(head->bias + kind * lanes(taps) + tap);
    for (int k = 0; k < SIDE; k++) {
        sum += terms->share_of_first[k] * *(const vec *)(terms->first[k] + start + lane(taps, k, tap));
        sum += terms->share_of_second[k] * *(const vec *)(terms->second[k] + start + lane(taps, k, tap));
    }
    return sum;
}

/* The weights of some pixels, or powers of two in the place of exponentials. */
INLINE void compute_weights(const struct terms *terms, const struct tweenlet_adacof_head *head, const int taps,
                            const int given, int count, float *weight) {
    const float scale = given ? 1.44269504f : 1; /* kernels are scaled already */
    mask count_up;
    for (int lane = 0; lane < LANES; lane++) count_up[lane] = lane;
    for (int i = 0; i < count; i++, weight += lanes(taps)) {
        vec most = broadcast(-__builtin_inff());
        for (int tap = 0; tap < taps; tap += LANES) {
            vec x = tap_vector(terms, head, taps, given, i, 0, tap);
            *(vec *)(weight + tap) = x;
            if (taps - tap < LANES) x = vec_select(count_up < taps - tap, x, most);
            most = vec_max(x, most);
        }
        if (!head->softmax) continue;
        most = broadcast_max(most) * scale;
        for (int tap = 0; tap < taps; tap += LANES)
            *(vec *)(weight + tap) = exp2_of_negative(*(const vec *)(weight + tap) * scale - most);
    }
}

/* Taps -> the upper left one of each one's four pixels, in eights of bytes, and the shares of the upper and the lower
   two: of four taps for the left ones, then for the right ones. */
INLINE void locate_samples(const struct terms *terms, const struct tweenlet_adacof_head *head, const int taps,
                           const int given, int row, int column, int count, const float *weights, const float *starts,
                           unsigned *index, float *upper, float *lower) {
    const int pitch = 2 * (head->columns.large + 2);
    for (int i = 0; i < count; i++)
        for (int tap = 0; tap < taps; tap += LANES) {
            vec weight = *(const vec *)(weights + i * lanes(taps) + tap);
            vec y = tap_vector(terms, head, taps, given, i, 1, tap),
                x = tap_vector(terms, head, taps, given, i, 2, tap);
            vec top = vec_trunc(y), left = vec_trunc(x);
            y -= top;
            x -= left;
            top += *(const vec *)(starts + tap) + (float)(row + 1);
            left += *(const vec *)(starts + lanes(taps) + tap) + (float)(column + i + 1);
            top = vec_min(vec_max(top, broadcast(0)), broadcast(head->rows.large));
            left = vec_min(vec_max(left, broadcast(0)), broadcast(head->columns.large));
            *(mask *)(index + i * lanes(taps) + tap) =
                __builtin_convertvector(top, mask) * pitch + __builtin_convertvector(left + left, mask);
            vec below = weight * y, above = weight - below, b = above * x, a = above - b, d = below * x, c = below - d;
            store_by_fours(a, b, upper + 2 * (i * lanes(taps) + tap));
            store_by_fours(c, d, lower + 2 * (i * lanes(taps) + tap));
        }
}

#define SAMPLE(n)                                                                                                      \
    if (tap + n < taps) {                                                                                              \
        const float *pixels = head->frame + 2 * (size_t)index[tap + n];                                                \
        sum[n] += SHUFFLE(two_mask, above, above, n, n, n, n, n + 4, n + 4, n + 4, n + 4) * *(const two *)pixels;      \
        sum[n + 4] +=                                                                                                  \
            SHUFFLE(two_mask, below, below, n, n, n, n, n + 4, n + 4, n + 4, n + 4) * *(const two *)(pixels + pitch);  \
    }

/* Weighted sums of samples over the taps. */
INLINE void sum_samples(const struct tweenlet_adacof_head *head, const int taps, int count, const unsigned *index,
                        const float *upper, const float *lower, float *out) {
    const ptrdiff_t pitch = 4 * (head->columns.large + 2L);
    for (int i = 0; i < count; i++, out += head->pixel) {
        two sum[8] = {{0}};
#pragma GCC unroll 8
        for (int tap = 0; tap < taps; tap += 4) {
            two above = *(const two *)(upper + 2 * tap), below = *(const two *)(lower + 2 * tap);
            HOLD(above);
            HOLD(below);
            SAMPLE(0)
            SAMPLE(1)
            SAMPLE(2)
            SAMPLE(3)
        }
        two halves = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
        one total = *(const one *)&halves + *((const one *)&halves + 1);
        if (head->softmax) total /= total[3];
        memcpy(out, &total, 12);
        index += lanes(taps);
        upper += 2 * lanes(taps);
        lower += 2 * lanes(taps);
    }
}

/* All steps for some columns of a row. */
INLINE void synthesize_pixels(const struct tweenlet_adacof_head *head, const int taps, const int given, int row,
                              int left, int right, const float *ring, ptrdiff_t slot, int begin, float *work) {
    const int part = CHUNK * lanes(taps);
    float *starts = work, *loaded = starts + 2 * lanes(taps), *weights = loaded + KINDS * part;
    float *upper = weights + part, *lower = upper + 2 * part;
    unsigned *index = (unsigned *)(lower + 2 * part);
    int count = right - left;
    struct terms terms;
    if (given)
        load_taps(&terms, head, taps, row, left, count, loaded);
    else
        enlarge_rows(&terms, head, taps, row, left - begin, ring, slot);
    compute_weights(&terms, head, taps, given, count, weights);
    locate_samples(&terms, head, taps, given, row, left, count, weights, starts, index, upper, lower);
    sum_samples(head, taps, count, index, upper, lower,
                head->out + ((ptrdiff_t)row * head->columns.large + left) * head->pixel);
}

static int ceiling(int a, int b) { return (a + b - 1) / b; }
static ptrdiff_t whole_lines(ptrdiff_t numbers) { return (numbers + 15) / 16 * 16; } /* of a cache */

/* One task: a block of columns of a band of rows. */
INLINE void run_task(const struct tweenlet_adacof_head *head, const int taps, int top, int bottom, int left, int right,
                     float *strip, float *z, float *ring, float *work) {
    const struct tweenlet_positions *rows = &head->rows;
    const ptrdiff_t slot = (ptrdiff_t)(right - left) * KINDS * lanes(SIDE * taps);
    int done = head->kernels ? rows->first[top] : 0; /* rows of small taps that went through the ring */
    for (int row = top, next; row < bottom; row = next) {
        next = bottom;
        if (head->kernels) {
            int last = at_most(rows->first[row + 2] + 1, rows->small - 1);
            for (; done <= last; done++)
                enlarge_columns(head, taps, done, left, right, strip, z, ring + done % SLOTS * slot);
            for (next = row + 1; next < bottom && rows->first[next + 2] < done - 1; next++) continue;
            if (done == rows->small) next = bottom;
        }
        for (int column = left; column < right; column += CHUNK)
            for (int y = row; y < next; y++)
                if (head->kernels)
                    synthesize_pixels(head, taps, 0, y, column, at_most(column + CHUNK, right), ring, slot, left, work);
                else
                    synthesize_pixels(head, taps, 1, y, column, at_most(column + CHUNK, right), ring, slot, left, work);
    }
}

static void run_task_9(const struct tweenlet_adacof_head *head, int top, int bottom, int left, int right, float *strip,
                       float *z, float *ring, float *work) {
    run_task(head, 9, top, bottom, left, right, strip, z, ring, work);
}

static void run_task_25(const struct tweenlet_adacof_head *head, int top, int bottom, int left, int right, float *strip,
                        float *z, float *ring, float *work) {
    run_task(head, 25, top, bottom, left, right, strip, z, ring, work);
}

static void run_task_any(const struct tweenlet_adacof_head *head, int top, int bottom, int left, int right,
                         float *strip, float *z, float *ring, float *work) {
    run_task(head, head->side * head->side, top, bottom, left, right, strip, z, ring, work);
}

/* A frame by its strides -> (height + 2, width + 2, 4), its border repeated, a one behind each colour. */
void tweenlet_pad_frame(const float *frame, ptrdiff_t by_colour, ptrdiff_t by_row, ptrdiff_t by_column, int height,
                        int width, float *to, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < height + 2; row++) {
        const float *from = frame + at_least(0, at_most(row - 1, height - 1)) * by_row;
        float *line = to + (ptrdiff_t)row * (width + 2) * 4;
        for (int column = 0; column < width; column++) {
            one pixel = {from[column * by_column], from[column * by_column + by_colour],
                         from[column * by_column + 2 * by_colour], 1};
            *(one *)(line + 4 * (column + 1)) = pixel;
        }
        memcpy(line, line + 4, 16);
        memcpy(line + 4 * (width + 1), line + 4 * width, 16);
    }
}

/* 1 where there is too little memory. */
int tweenlet_adacof_head(const struct tweenlet_adacof_head *head, int threads) {
    const int taps = head->side * head->side, enlarged = head->kernels != 0;
    const int height = head->rows.large, width = head->columns.large;
    int most = SMALL * 4;
    if (enlarged) most = at_least((SMALL - 3) * (width / head->columns.small), 1);
    const int blocks = ceiling(width, most), wide = ceiling(width, blocks);
    const int rows = head->rows.small;
    const int bands = at_least(at_most(ceiling(4 * threads, blocks), ceiling(rows, 8)), ceiling(rows, BAND));
    const int tall = ceiling(height, bands);
    int small = 0; /* columns of small taps in the largest block */
    for (int left = 0; enlarged && left < width; left += wide) {
        int right = at_most(left + wide, width);
        small = at_least(small, head->columns.first[right + 1] + 2 - head->columns.first[left]);
    }
    small = ceiling(small, ROWS) * ROWS;
    const ptrdiff_t strip = whole_lines((ptrdiff_t)small * taps),
                    z = whole_lines((ptrdiff_t)small * SIDE * lanes(SIDE * taps));
    const ptrdiff_t ring = enlarged ? whole_lines((ptrdiff_t)SLOTS * wide * KINDS * lanes(SIDE * taps) + LANES) : 0;
    const ptrdiff_t work = whole_lines(lanes(taps) * (2L + CHUNK * (KINDS + 6)));
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *memory = allocate_aligned(4 * (strip + z + ring + work));
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        } else {
            memset(memory, 0, 4 * (strip + z + ring + work));
            float *starts = memory + strip + z + ring;
            for (int tap = 0; tap < taps; tap++) {
                int reach = (head->side - 1) * head->dilation / 2;
                starts[tap] = tap / head->side * head->dilation - reach;
                starts[lanes(taps) + tap] = tap % head->side * head->dilation - reach;
            }
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int i = 0; i < blocks * bands; i++) {
            int top = i / blocks * tall, left = i % blocks * wide;
            int bottom = at_most(top + tall, height), right = at_most(left + wide, width);
            if (failed || top >= bottom || left >= right) continue;
            (taps == 25  ? run_task_25
             : taps == 9 ? run_task_9
                         : run_task_any)(head, top, bottom, left, right, memory, memory + strip, memory + strip + z,
                                         memory + strip + z + ring);
        }
        free_aligned(memory);
    }
    return failed;
}
