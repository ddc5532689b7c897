/* Memory from a multiple of 64 bytes on, to be freed by free_aligned; bytes are rounded up to such a multiple. */
#ifdef _WIN32
#include <malloc.h>
static inline void *allocate_aligned(size_t bytes) { return _aligned_malloc(bytes, 64); }
static inline void free_aligned(void *memory) { _aligned_free(memory); }
#else
#include <stdlib.h>
static inline void *allocate_aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }
static inline void free_aligned(void *memory) { free(memory); }
#endif
