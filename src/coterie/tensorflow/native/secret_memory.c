#define _GNU_SOURCE
#include "secret_memory.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* `size`, rounded up to whole pages. */
static size_t whole_pages(size_t size)
{
    size_t page = page_size();
    return (size + page - 1) / page * page;
}

void *secret_allocate(size_t size)
{
    size_t page = page_size();
    size_t room = whole_pages(size);
    unsigned char *start =
        mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return NULL;
    }
    /* Each of these is a further defence; the memory serves without. */
    (void)!madvise(start, room, MADV_DONTDUMP);
    (void)!madvise(start, room, MADV_WIPEONFORK);
    (void)!mlock(start, room);
    (void)!mprotect(start + room, page, PROT_NONE);
    return start + room - size;
}

void secret_release(void *memory, size_t size)
{
    size_t room = whole_pages(size);
    unsigned char *start = (unsigned char *)memory + size - room;
    OPENSSL_cleanse(memory, size);
    munmap(start, room + page_size());
}
