/* Makes the calls of a file again, and compares what they do to memory: scripts/native_calls.py, which writes both the
   file and functions.h. Exits with 1 where a call does otherwise, or a function is not called. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tweenlet.h"

int omp_get_thread_num(void) { return 0; }
int omp_get_num_threads(void) { return 1; }

struct argument {
    void *p;
    long i;
    double f;
};
struct block {
    long size, kind;
    char *memory, *before, *after;
};
static long failures;

static void fail(const char *format, const char *name, double got, double expected) {
    printf(format, name, got, expected);
    failures++;
}

#include "functions.h" /* COUNT, names, and call(), by which a function is called */

static long number(FILE *file) {
    long value;
    if (fread(&value, 8, 1, file) != 1) exit(2);
    return value;
}

static char *bytes(FILE *file, long size) {
    char *memory = aligned_alloc(64, size / 64 * 64 + 64);
    if (!memory || (size && fread(memory, size, 1, file) != 1)) exit(2);
    return memory;
}

static double value(const char *memory, long kind, long at) {
    float narrow;
    double wide;
    if (kind == 3) return memcpy(&wide, memory + 8 * at, 8), wide;
    unsigned bits = 0;
    if (kind == 2)
        memcpy((char *)&bits + 2, memory + 2 * at, 2);
    else
        memcpy(&bits, memory + 4 * at, 4);
    return memcpy(&narrow, &bits, 4), narrow;
}

/* How far memory is from what it should be, as a share of the largest number that was written. */
static double error(const struct block *b) {
    if (!memcmp(b->memory, b->after, b->size)) return 0;
    if (!b->kind) return INFINITY;
    double written = 0, all = 0, worst = 0;
    const long width = b->kind == 3 ? 8 : b->kind == 2 ? 2 : 4;
    for (long k = 0; k < b->size / width; k++) {
        const double size = fabs(value(b->after, b->kind, k));
        if (!isfinite(size)) continue;
        all = fmax(all, size);
        if (memcmp(b->before + width * k, b->after + width * k, width)) written = fmax(written, size);
    }
    for (long k = 0; k < b->size / width; k++) {
        if (!memcmp(b->memory + width * k, b->after + width * k, width)) continue;
        const double got = value(b->memory, b->kind, k), wanted = value(b->after, b->kind, k);
        if (isnan(got) && isnan(wanted)) continue;
        if (!isfinite(got) || !isfinite(wanted)) return INFINITY;
        worst = fmax(worst, fabs(got - wanted));
    }
    return worst > 0 ? worst / (written > 0 ? written : all) : 0; /* what was written may have been there before */
}

int main(int count, char **arguments) {
    static long calls[COUNT];
    FILE *file = fopen(arguments[count - 1], "rb");
    long function;
    while (file && fread(&function, 8, 1, file) == 1) {
        const long blocks = number(file);
        struct block block[64];
        for (long k = 0; k < blocks; k++) {
            block[k].size = number(file), block[k].kind = number(file);
            block[k].before = bytes(file, block[k].size), block[k].after = bytes(file, block[k].size);
            block[k].memory = aligned_alloc(64, block[k].size / 64 * 64 + 64);
            memcpy(block[k].memory, block[k].before, block[k].size);
        }
        const long places = number(file);
        for (long k = 0; k < places; k++) {
            const long in = number(file), at = number(file), to = number(file);
            char *pointer = block[to].memory + number(file);
            memcpy(block[in].memory + at, &pointer, 8), memcpy(block[in].after + at, &pointer, 8);
        }
        struct argument a[32];
        const long values = number(file);
        for (long k = 0; k < values; k++) {
            const long in = number(file);
            a[k].i = number(file);
            a[k].p = in < 0 ? NULL : block[in].memory + a[k].i;
            if (fread(&a[k].f, 8, 1, file) != 1) exit(2);
        }
        const int status = call(function, a), wanted = (int)number(file);
        if (status != wanted) fail("%s: returned %g, expected %g\n", names[function], status, wanted);
        for (long k = 0; k < blocks; k++) {
            const double off = error(&block[k]), most = block[k].kind == 2 ? 0.02 : 1e-5;
            if (!(off <= most)) fail("%s: off by %g, expected %g at most\n", names[function], off, most);
            free(block[k].memory), free(block[k].before), free(block[k].after);
        }
        calls[function]++;
    }
    for (long k = 0; k < COUNT; k++) {
        if (!calls[k])
            printf("%s: not called\n", names[k]), failures++;
        else
            printf("%s: %ld calls\n", names[k], calls[k]);
    }
    return failures > 0;
}
