/* The record layer alone, for a test in Python. Calls give -errno where those of records.h give -1.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "records.h"
#include "secret_memory.h"

#define EXPORTED __attribute__((visibility("default")))

static const struct record_calls libc_calls = {send, recv};

EXPORTED const char *coterie_source_digest(void)
{
    return SOURCE_DIGEST;
}

EXPORTED struct records *layer_open(const unsigned char *sending, const unsigned char *receiving)
{
    struct records *r = secret_allocate(sizeof *r);
    if (r != NULL && !records_open(r, &libc_calls, sending, receiving)) {
        records_close(r);
        secret_release(r, sizeof *r);
        r = NULL;
    }
    return r;
}

EXPORTED void layer_close(struct records *r)
{
    records_close(r);
    secret_release(r, sizeof *r);
}

EXPORTED ssize_t layer_send(struct records *r, int fd, void *bytes, size_t size)
{
    /* Three vectors, of which one is empty. */
    struct iovec vectors[] = {
        {bytes, size / 3}, {NULL, 0}, {(char *)bytes + size / 3, size - size / 3}};
    ssize_t sent = records_send(r, fd, vectors, 3);
    return sent < 0 ? -errno : sent;
}

EXPORTED ssize_t layer_receive(struct records *r, int fd, void *bytes, size_t size)
{
    struct iovec vectors[] = {
        {bytes, size / 3}, {NULL, 0}, {(char *)bytes + size / 3, size - size / 3}};
    ssize_t got = records_receive(r, fd, vectors, 3);
    return got < 0 ? -errno : got;
}

EXPORTED void layer_close_notify(struct records *r, int fd)
{
    records_close_notify(r, fd);
}
