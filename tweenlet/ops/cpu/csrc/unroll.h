/* UNROLL(times): the loop that follows, which runs so often at most, is written out, so that the vectors of arrays that it
   goes over lie in registers. Clang passes over GCC's words, and wants to be told only of loops of a known length. */

#define PRAGMA(words) _Pragma(#words)
#ifdef __clang__
#define UNROLL(times) PRAGMA(clang loop unroll(full))
#else
#define UNROLL(times) PRAGMA(GCC unroll times)
#endif
