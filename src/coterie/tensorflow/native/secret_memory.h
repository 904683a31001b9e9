/* Memory for secrets. */
#ifndef COTERIE_SECRET_MEMORY_H
#define COTERIE_SECRET_MEMORY_H

#include <stddef.h>

/* Gives `size` bytes, all zero; NULL if there are none. `size` is a multiple of the alignment that
   the memory's user needs.

   The memory is in no core dump, in no swap if this user may lock so much, and zeroes in a child
   process. Its last byte is the last one before a page that cannot be read or written, so that
   whoever goes beyond its end faults. The library OS of an enclave may lack any of these. */
void *secret_allocate(size_t size);

/* Overwrites and returns what `secret_allocate` gave for this size. */
void secret_release(void *memory, size_t size);

#endif
