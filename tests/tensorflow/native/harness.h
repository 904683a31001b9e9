/* What all parts of the harness use: the library under other names, checks, and random numbers. */
#ifndef COTERIE_HARNESS_H
#define COTERIE_HARNESS_H

#define _GNU_SOURCE
#include <sys/mman.h>
static int unmap_zeroes(void *at, size_t len);
#define munmap unmap_zeroes
#define INTERPOSED(name) wrapped_##name
#define SOURCE_DIGEST "harness"
#define RECORDS_PER_KEY 5 /* so that keys are changed all the time */
#define DATA_RECORDS_PER_ALLOWANCE 4
#define RECORDS_PER_CALL 40
#include "interface.c"
#include "links.c"
#include "real_calls.c"
#include "records.c"
#include "secret_memory.c"
#include "sockets.c"
#undef munmap

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/sockios.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool zeroes(const void *at, size_t len)
{
    const unsigned char *bytes = at;
    while (len && !*bytes) {
        bytes++;
        len--;
    }
    return !len;
}

static int unmap_zeroes(void *at, size_t len)
{ /* the last page is there for who goes too far */
    CHECK(zeroes(at, len - (size_t)sysconf(_SC_PAGESIZE)));
    return munmap(at, len);
}

/* splitmix64. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Byte `i` of the stream of a seed. */
static unsigned char byte_at(uint64_t seed, uint64_t i)
{
    uint64_t word = seed + i / 8;
    return (unsigned char)(next(&word) >> (8 * (i % 8)));
}

/* The traffic secrets of a connection. */
struct secrets {
    unsigned char client[RECORD_SECRET], server[RECORD_SECRET];
};

/* How many descriptors this process has open. */
static int descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(folder)) {
        n++;
    }
    closedir(folder);
    return n;
}

static bool wait_now(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, 0) > 0;
}

static bool wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, 20000) > 0;
}

/* A TCP connection with small buffers for sending, so that writes are short. */
static void pair(int of[2], uint64_t *random)
{
    int server = socket(AF_INET, SOCK_STREAM, 0), small = 4096 + (int)(next(random) % 30000);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    CHECK(!bind(server, (void *)&at, len) && !listen(server, 1) &&
          !getsockname(server, (void *)&at, &len));
    of[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(!connect(of[0], (void *)&at, len) && (of[1] = accept(server, NULL, NULL)) >= 0);
    for (int i = 0; i < 2; i++) {
        setsockopt(of[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small); /* short writes */
    }
    close(server);
}

/* What TensorFlow reads, up to 100 bytes. */
static ssize_t hear(int fd)
{
    unsigned char buffer[100];
    struct iovec v = {buffer, sizeof buffer};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    return wrapped_recvmsg(fd, &m, 0);
}

/* Waits until the kernel holds so many bytes for a descriptor. */
static void fill(int fd, int waiting)
{
    for (int n = 0; n < waiting; ioctl(fd, FIONREAD, &n)) {
        usleep(100);
    }
}

#endif
