/* What Python checks before it calls anything: how large the structs are, and what the processor has. */

#include "tweenlet.h"

#include "vectors.h"

#define SIZE(name)                                                                                                     \
    { #name, sizeof(struct tweenlet_##name) }

const struct tweenlet_size tweenlet_sizes[] = {
    SIZE(strided),    SIZE(image),       SIZE(layout),   SIZE(input), SIZE(taps),  SIZE(positions), SIZE(adacof_head),
    SIZE(bottleneck), SIZE(convolution), SIZE(estimate), SIZE(entry), SIZE(ycbcr), SIZE(blocks),    {0, 0},
};

int tweenlet_vector_lanes(void) { return LANES; }

int tweenlet_has_bf16(void) { return HAS_BF16; }
