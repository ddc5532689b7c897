/* All that the library exports: ops/cpu/bindings.py declares the same functions and structs to Python.

   Functions that may fail return 0, 1 for too little memory, or -1 for what they do not implement. Strides and other
   distances are in numbers, not bytes. char * points to float32 or, where is_bf16 says so, to bfloat16, which the processor
   must know. channels_last: the channels of a pixel lie next to each other. threads: of the OpenMP pool, at most. */

#ifndef TWEENLET_H
#define TWEENLET_H

#include <stddef.h>
#include <stdint.h>

/* A tensor (batch, channels, height, width) by its strides. */
struct tweenlet_strided {
    float *values;
    ptrdiff_t sample, channel, row, pixel;
};

/* Pixels of one image, channels_last. */
struct tweenlet_image {
    char *values;
    ptrdiff_t row, pixel;
};

/* Slices of pixels, channels_last. */
struct tweenlet_layout {
    ptrdiff_t slice, row, pixel;
    int is_bf16;
};

/* Some of a layer's input channels. */
struct tweenlet_input {
    const char *values;
    int channels;
    struct tweenlet_layout layout;
};

/* A frame, and for each of its pixels side * side samples of it. */
struct tweenlet_taps {
    int side, dilation, batch, channels, height, width;
    const float *frame;                   /* (batch, height + 2, width + 2, 4), its border repeated */
    const float *weight, *rows, *columns; /* (batch, height, width, side * side) each */
};

/* Between which of the small rows (or columns) each of the large ones lies, one before and one after them included. */
struct tweenlet_positions {
    int small, large;
    const int *first;    /* of the two */
    const float *shares; /* of both */
};

/* The last steps of an AdaCoF head. */
struct tweenlet_adacof_head {
    int side, dilation;
    int softmax;          /* whether the weights are logits, in powers of two */
    const float *taps[3]; /* weight, rows, columns: (small rows, small columns, side * side) each */
    const float *kernels; /* [kind][three vectors][input][lanes]; null: the taps are those of the pixels */
    const float *bias;    /* [kind][lanes of taps] */
    struct tweenlet_positions rows, columns;
    const float *frame; /* (rows + 2, columns + 2, 4), its border repeated, a one after each colour */
    float *out;         /* (rows, columns, pixel) */
    int pixel;
};

/* A ResNeXt bottleneck's weights: those of 1x1 as the GEMM micro-kernels read them, zeros after the last bias. */
struct tweenlet_bottleneck {
    int inputs, inner, outputs; /* inner: as laid out, in whole vectors */
    int group;                  /* channels of a group */
    int taps;                   /* of the grouped kernel, a side (scale 2: of a phase) */
    int stride, scale;
    int first[2]; /* of even and of odd output pixels: where the first tap lies, from the pixel; zero or less */
    int is_bf16;  /* x, y and the products of the 1x1 kernels; those of the grouped kernel are float32 */
    const void *reduce, *expand, *shortcut;         /* shortcut: by phase */
    const float *grouped;                           /* [phase][vector][tap down][input of a group][tap right][LANES] */
    const float *reduce_bias, *grouped_bias, *bias; /* bias: of expand and shortcut together */
};

/* A convolution's weights in the Winograd domain. bias and slopes: for each channel, zeros after the last. */
struct tweenlet_convolution {
    int inputs, outputs, taps; /* taps: over slices, 1 or 3 */
    int tile;                  /* output pixels of a tile, a side */
    int is_bf16;               /* products of bfloat16, in pairs of inputs; their sums are float32 */
    int enlarge;               /* 2: each pixel becomes 2x2, one after the other among the kernels' outputs; else 1 */
    int shrink;  /* 2: each cell of 2x2 becomes a pixel, one after the other among the kernels' inputs; else 1 */
    int shuffle; /* 2: half of the outputs are of each row of a cell of 2x2; bias and slopes in whole vectors; else 1 */
    const void *kernels; /* [group of outputs][point][tap][input (pair)][outputs of the group] ([of pair]) */
    const float *bias;
    const float *slope_before, *slope_after; /* of leaky activations around the convolution, or null */
    const float *slope_sum;                  /* of one after the residual is added, or null */
};

/* What a level of an intermediate-flow network estimated: (height / scale, width / scale, channels). */
struct tweenlet_estimate {
    const float *values;
    int channels, scale;
};

/* The first layer of a level: 3x3 kernels of stride 2, as the GEMM micro-kernels read them, [row][column, input]. */
struct tweenlet_entry {
    const float *kernels;
    const float *bias; /* zeros after the last */
    int outputs;
    float slope; /* of the leaky activation after it */
};

/* A planar Y'CbCr picture: luma, blue, red. */
struct tweenlet_ycbcr {
    uint8_t *planes[3];
    ptrdiff_t rows[3]; /* codes from one row to the next */
    int is_wide;       /* codes of two bytes, else of one */
    int height, width; /* of luma */
    int halved[2];     /* 1: chroma has half as many rows, columns; else 0 */
    int cosited[2];    /* 1: a chroma sample lies on the first of its two rows, columns of luma; 0: between them */
};

/* A plane of three pictures, in blocks: of a new one, and of those before and after it. */
struct tweenlet_blocks {
    uint8_t *planes[3];
    ptrdiff_t rows[3];          /* codes from one row to the next */
    int is_wide, height, width; /* as above, of this plane */
    int down, across;           /* rows and columns of a block */
};

/* The name and sizeof of each struct above; a null name after the last. */
struct tweenlet_size {
    const char *name;
    ptrdiff_t size;
};
extern const struct tweenlet_size tweenlet_sizes[];

int tweenlet_vector_lanes(void); /* floats of a vector, to whose multiples channels are padded */
int tweenlet_has_bf16(void);     /* whether this processor computes with bfloat16 */

/* adacof.c */
void tweenlet_adacof_forward(const struct tweenlet_taps *taps, const struct tweenlet_strided *out, int threads);
void tweenlet_adacof_backward(const struct tweenlet_taps *taps, const struct tweenlet_strided *gradient,
                              float *for_weight, float *for_rows, float *for_columns, int threads);

/* adacof_head.c */
void tweenlet_pad_frame(const float *frame, ptrdiff_t channel, ptrdiff_t row, ptrdiff_t pixel, int height, int width,
                        float *padded, int threads);
int tweenlet_adacof_head(const struct tweenlet_adacof_head *head, int threads);

/* blocks.c */
int tweenlet_equal_blocks(const struct tweenlet_blocks *blocks, int *grid);
int tweenlet_close_blocks(const struct tweenlet_blocks *blocks, float mean, float mean_share, float most,
                          float most_share, int *grid);
void tweenlet_copy_blocks(const struct tweenlet_blocks *blocks, const int *grid);

/* bottleneck.c */
int tweenlet_bottleneck(const struct tweenlet_bottleneck *weights, const struct tweenlet_image *x,
                        const struct tweenlet_image *y, int height, int width, int threads);

/* correlation.c */
int tweenlet_correlation(const struct tweenlet_strided *first, const struct tweenlet_strided *second, float *out,
                         int batch, int channels, int height, int width, int threads);

/* epilogue.c */
void tweenlet_scale_shift_act(int is_bf16, char *x, const float *scale, const float *shift, const char *residual,
                              float slope, ptrdiff_t pixels, int channels, int threads);

/* levels.c */
int tweenlet_pooled_level_inputs(const float *before, const float *after, const struct tweenlet_estimate *estimates,
                                 int count, float *out, float time, int channels, int pixel, int known, int height,
                                 int width, int scale, int threads);
int tweenlet_level_entry(const float *before, const float *after, const struct tweenlet_estimate *estimates, int count,
                         const struct tweenlet_entry *layer, float *out, float *flows, float time, float unit,
                         int channels, int pixel, int known, int height, int width, int scale, int threads);
int tweenlet_merge_warped(const float *before, const float *after, const struct tweenlet_estimate *estimates, int count,
                          float *out, int pixel, int height, int width, int threads);

/* mix.c */
int tweenlet_fetch_both(const float *before, const float *after, const float *flows, float *out, ptrdiff_t flow_row,
                        ptrdiff_t flow_pixel, ptrdiff_t flow_channel, int height, int width, int threads);
int tweenlet_mix(const float *before, const float *after, const float *fetched, const float *mask,
                 const float *correction, const float *still, float *out, ptrdiff_t mask_row, ptrdiff_t mask_pixel,
                 int height, int width, int threads);

/* overlay.c */
int tweenlet_static_overlay(const float *frames, const int *duplicates, float *persistence, float *changes, int height,
                            int width, float noise, float no_shape, float full_shape, float no_shade, float full_shade,
                            int threads);

/* planes.c */
int tweenlet_ycbcr_to_rgb(const struct tweenlet_ycbcr *picture, const float *matrix, const float *offset, int clip,
                          float *rgb);
int tweenlet_rgb_to_ycbcr(const float *rgb, const float *matrix, const float *offset, float top,
                          const struct tweenlet_ycbcr *picture);

/* prelu.c */
void tweenlet_prelu_backward(int is_bf16, const char *gradient, const char *x, const float *slopes, char *for_x,
                             double *for_slopes, ptrdiff_t pixels, int channels, int parts);

/* reduce.c */
void tweenlet_channel_sum(int is_bf16, const char *x, double *sums, ptrdiff_t pixels, int channels, int threads);

/* resample.c */
int tweenlet_downsample(const float *x, const float *kernels, float *y, ptrdiff_t planes, int channels, int height,
                        int width, int threads);
int tweenlet_upsample_8tap(const float *x, const float *taps, float *y, ptrdiff_t planes, int channels, int height,
                           int width, int threads);
void tweenlet_avg_pool2(const float *x, float *y, ptrdiff_t images, int height, int width, int channels, int threads);
int tweenlet_box_blur(const float *x, float *y, ptrdiff_t planes, int side, int height, int width, int threads);
void tweenlet_upsample_rows(int is_bf16, const char *x, char *y, int batch, int height, int width, int channels,
                            int start, int end, int threads);

/* splat.c */
int tweenlet_splat_sum(const float *values, const float *flow, float *total, int planes, int height, int width,
                       int threads);

/* warp.c */
int tweenlet_backwarp(const float *source, const float *flow, float *out, int channels_last, ptrdiff_t source_pixel,
                      ptrdiff_t out_pixel, ptrdiff_t flow_pixel, ptrdiff_t flow_channel, int channels, int height,
                      int width, int threads);

/* winograd.c */
int tweenlet_winograd(const struct tweenlet_convolution *layer, const struct tweenlet_input *inputs, int count, char *y,
                      const struct tweenlet_layout *layout, const char *residual, int slices, int height, int width,
                      int above, int below, int threads);
int tweenlet_residual_blocks(const struct tweenlet_convolution *layers, int count, const char *x, char *other, char *y,
                             const struct tweenlet_layout *layout, int batch, int height, int width, int threads);

#endif
