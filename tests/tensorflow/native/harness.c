/* Drives the native part under sanitizers, as TensorFlow and Python would, through a peer that
   fuzzes.

     harness ROUNDS SEED MAX_BYTES

   Every round is a connection: both ends handed over with secrets, dialled and accepted by the
   virtual address, and a stream of pseudo-random bytes each way, written and read by two threads
   per end with random vectors. A relay between the ends cuts the bytes into random pieces, holds
   them back, lets them run together, and in some rounds resets, half-closes or changes a byte.
   Whatever it does: what is read is a prefix of what was written; an orderly end comes only after
   all of it; and no descriptor or link is left, and nothing in a link's memory when it is given
   back. Before the rounds, OpenSSL itself is the peer, after its own handshake: what one seals the
   other opens; or a liar is, who has the keys. */
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

enum fault { NONE, RESET, HALF_CLOSE, CHANGE, CUT, FAULTS };

struct stream {
    uint64_t seed, total;
};

struct end {
    int fd;
    struct stream out, in;
    enum fault fault;
    uint64_t random;
};

struct relay {
    int a, b;
    enum fault fault;
    uint64_t random, after;
};

static uint64_t next(uint64_t *state)
{ /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static unsigned char byte_at(uint64_t seed, uint64_t i)
{
    uint64_t word = seed + i / 8;
    return (unsigned char)(next(&word) >> (8 * (i % 8)));
}

struct secrets {
    unsigned char client[RECORD_SECRET], server[RECORD_SECRET];
};

static void note_secret(const SSL *ssl, const char *line)
{
    struct secrets *of = SSL_get_app_data(ssl);
    bool client = !strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24),
         server = !strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24);
    size_t len = 0;
    if (!client && !server) {
        return;
    }
    CHECK(OPENSSL_hexstr2buf_ex(client ? of->client : of->server, RECORD_SECRET, &len,
                                strrchr(line, ' ') + 1, '\0') &&
          len == RECORD_SECRET);
}

static SSL_CTX *context(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    CHECK(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ctx, 0));
    CHECK(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256"));
    SSL_CTX_set_keylog_callback(ctx, note_secret);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

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

static void *relay(void *argument)
{
    struct relay *r = argument;
    unsigned char buffer[70000];
    struct pollfd fds[2] = {{.fd = r->a, .events = POLLIN}, {.fd = r->b, .events = POLLIN}};
    uint64_t passed = 0;
    for (bool open[2] = {true, true}; open[0] || open[1];) {
        for (int i = 0; i < 2; i++) {
            fds[i].events = open[i] ? POLLIN : 0;
            fds[i].fd = open[i] ? (i ? r->b : r->a) : -1;
        }
        poll(fds, 2, 1000);
        for (int i = 0; i < 2; i++) {
            if (!open[i] || !(fds[i].revents & (POLLIN | POLLHUP | POLLERR))) {
                continue;
            }
            int from = i ? r->b : r->a, to = i ? r->a : r->b;
            size_t most = next(&r->random) % 4 ? 1 + next(&r->random) % 300
                                               : sizeof buffer; /* fragments, or all at once */
            if (next(&r->random) % 16 == 0) {
                usleep((useconds_t)(next(&r->random) % 300)); /* later bytes run together */
            }
            ssize_t n = recv(from, buffer, most, 0);
            if (n <= 0) {
                open[i] = false;
                shutdown(to, SHUT_WR);
                continue;
            }
            passed += (uint64_t)n;
            if (r->fault != NONE && passed > r->after) {
                if (r->fault == RESET) {
                    struct linger now = {.l_onoff = 1};
                    setsockopt(to, SOL_SOCKET, SO_LINGER, &now, sizeof now);
                    setsockopt(from, SOL_SOCKET, SO_LINGER, &now, sizeof now);
                    goto out;
                }
                if (r->fault == HALF_CLOSE) {
                    open[i] = false;
                    shutdown(to, SHUT_WR);
                    continue;
                }
                if (r->fault == CHANGE) {
                    buffer[next(&r->random) % (size_t)n] ^=
                        (unsigned char)(1 + next(&r->random) % 255);
                    r->fault = NONE;
                }
            }
            for (ssize_t at = 0, sent; at < n; at += sent) {
                if ((sent = send(to, buffer + at, (size_t)(n - at), MSG_NOSIGNAL)) < 0) {
                    open[0] = open[1] = false;
                    break;
                }
            }
        }
    }
out:
    close(r->a);
    close(r->b);
    return NULL;
}

static size_t vectors(struct iovec *v, unsigned char *buffer, size_t room, uint64_t *random)
{
    size_t n = 0, at = 0;
    for (size_t most = 1 + next(random) % 16; n < most && at < room; n++) {
        size_t len =
            next(random) % 3 ? next(random) % 64 : next(random) % 20000; /* also empty ones */
        v[n].iov_base = buffer + at;
        v[n].iov_len = len < room - at ? len : room - at;
        at += v[n].iov_len;
    }
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

static void *write_all(void *argument)
{
    struct end *e = argument;
    uint64_t random = e->random ^ 1, sent = 0;
    size_t presented = 0; /* and not sent: gRPC presents at least that much again */
    static const size_t room = 262144;
    unsigned char *buffer = malloc(room);
    while (sent < e->out.total) {
        size_t len = e->out.total - sent < room ? (size_t)(e->out.total - sent) : room;
        for (size_t i = 0; i < len; i++) {
            buffer[i] = byte_at(e->out.seed, sent + i);
        }
        struct iovec v[16];
        struct msghdr m = {.msg_iov = v, .msg_iovlen = vectors(v, buffer, len, &random)};
        size_t total = 0;
        for (size_t i = 0; i < m.msg_iovlen; i++) {
            total += v[i].iov_len;
        }
        if (total < presented) {
            v[m.msg_iovlen - 1].iov_len += presented - total;
            total = presented;
        }
        ssize_t n;
        while ((n = wrapped_sendmsg(e->fd, &m, MSG_NOSIGNAL)) < 0 && errno == EAGAIN) {
            CHECK(wait_for(e->fd, POLLOUT)); /* the same bytes again */
        }
        if (n < 0) {
            CHECK(e->fault != NONE && (errno == ECONNRESET || errno == EPIPE));
            break;
        }
        sent += (uint64_t)n;
        presented = total - (size_t)n;
    }
    for (int queued = 1; e->fault == NONE && queued && !ioctl(e->fd, SIOCOUTQ, &queued);) {
        usleep(queued ? 50 : 0); /* room for the goodbye */
    }
    wrapped_shutdown(e->fd, sent < e->out.total ? SHUT_RDWR : SHUT_WR);
    free(buffer);
    return NULL;
}

static void *read_all(void *argument)
{
    struct end *e = argument;
    uint64_t random = e->random ^ 2, got = 0;
    static const size_t room = 262144;
    unsigned char *buffer = malloc(room);
    char control[64];
    for (;;) {
        struct iovec v[16];
        struct msghdr m = {.msg_iov = v, .msg_control = control, .msg_controllen = sizeof control};
        do {
            m.msg_iovlen = vectors(v, buffer, room, &random);
        } while (v[0].iov_len == 0);
        ssize_t n = wrapped_recvmsg(e->fd, &m, 0);
        if (n < 0 && errno == EAGAIN) {
            CHECK(wait_for(e->fd, POLLIN | POLLRDHUP));
            continue;
        }
        if (n < 0) {
            CHECK(errno == ECONNRESET && e->fault != NONE);
            break;
        }
        if (n == 0) {
            CHECK(got == e->in.total);
            break;
        } /* an orderly end comes after everything */
        size_t at = 0;
        for (size_t i = 0; i < m.msg_iovlen; i++) {
            for (size_t k = 0; k < v[i].iov_len && at < (size_t)n; k++, at++) {
                CHECK(((unsigned char *)v[i].iov_base)[k] == byte_at(e->in.seed, got + at));
            }
        }
        got += (uint64_t)n;
    }
    if (got < e->in.total) {
        wrapped_shutdown(e->fd, SHUT_RDWR); /* as gRPC does: its writer hears of it */
    }
    CHECK(got <= e->in.total && (e->fault != NONE || got == e->in.total));
    free(buffer);
    return NULL;
}

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

static void round_of(int listener, uint64_t seed, uint64_t most)
{
    uint64_t random = seed;
    int left[2], right[2], one = 1, node = (int)(next(&random) % 1024);
    enum fault fault = next(&random) % 2 ? NONE : (enum fault)(next(&random) % FAULTS);
    pair(left, &random);
    pair(right, &random);
    fcntl(left[0], F_SETFL, O_NONBLOCK);
    fcntl(right[1], F_SETFL, O_NONBLOCK);
    struct relay between = {left[1], right[0], fault == CUT ? NONE : fault, next(&random),
                            4000 + next(&random) % (most + 1)};
    pthread_t threads[5];
    struct secrets secrets;
    for (size_t i = 0; i < sizeof secrets; i++) {
        ((unsigned char *)&secrets)[i] = (unsigned char)next(&random);
    }
    pthread_create(&threads[4], NULL, relay, &between);
    CHECK(!coterie_hand_over(left[0], node, 5, 1, secrets.client, secrets.server));
    CHECK(!coterie_hand_over(right[1], node, 5, 0, secrets.server, secrets.client));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(VIRTUAL_PORT),
                             .sin_addr.s_addr = htonl(VIRTUAL_NETWORK | (uint32_t)node)},
                       from;
    socklen_t len = sizeof from;
    int dialled = wrapped_socket(AF_INET, SOCK_STREAM, 0), accepted;
    CHECK(!wrapped_connect(dialled, (void *)&to, sizeof to));
    CHECK(wait_for(listener, POLLIN) &&
          (accepted = wrapped_accept4(listener, (void *)&from, &len, SOCK_NONBLOCK)) >= 0);
    CHECK(from.sin_addr.s_addr == to.sin_addr.s_addr);
    CHECK(!wrapped_getpeername(dialled, (void *)&from, &len) &&
          from.sin_addr.s_addr == to.sin_addr.s_addr);
    CHECK(wrapped_setsockopt(accepted, IPPROTO_TCP, TCP_INQ, &one, sizeof one) == -1 &&
          errno == ENOPROTOOPT);
    CHECK(wrapped_setsockopt(accepted, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == -1 &&
          errno == ENOPROTOOPT);
    CHECK(wrapped_write(dialled, "plain", 5) == -1 && errno == EOPNOTSUPP);
    CHECK(wrapped_send(dialled, "plain", 5, 0) == -1 && errno == EOPNOTSUPP);
    CHECK(wrapped_dup(dialled) == -1 && wrapped_fcntl(dialled, F_DUPFD, 0) == -1 &&
          wrapped_dup2(0, dialled) == -1);
    struct stream there = {next(&random), next(&random) % most},
                  here = {next(&random), next(&random) % most};
    struct end ends[2] = {{dialled, there, here, fault, next(&random)},
                          {accepted, here, there, fault, next(&random)}};
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[2 * i], NULL, write_all, &ends[i]);
        pthread_create(&threads[2 * i + 1], NULL, read_all, &ends[i]);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(coterie_count(node, 1) <= 1 && coterie_count(node, 0) == 0); /* as a keeper looks */
    }
    if (fault == CUT) {
        usleep((useconds_t)(next(&random) % 2000));
        coterie_cut(node, 4);
        coterie_cut(node, 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    wrapped_close(dialled);
    wrapped_close(accepted);
    pthread_join(threads[4], NULL);
}

/* A connection without a relay whose other end is OpenSSL's: TensorFlow has accepted one, `*other`
 * is the test's. */
static int meet(SSL_CTX *ctx, int listener, uint64_t incarnation, SSL **other)
{
    uint64_t random = 1;
    int ends[2], accepted;
    struct secrets secrets[2];
    SSL *ssl[2];
    pair(ends, &random);
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        CHECK((ssl[i] = SSL_new(ctx)) && SSL_set_fd(ssl[i], ends[i]) &&
              SSL_set_app_data(ssl[i], &secrets[i]));
        i ? SSL_set_accept_state(ssl[i]) : SSL_set_connect_state(ssl[i]);
    }
    for (int done[2] = {-1, -1}; done[0] != 1 || done[1] != 1;) {
        for (int i = 0; i < 2; i++) {
            CHECK((done[i] = SSL_do_handshake(ssl[i])) == 1 ||
                  SSL_get_error(ssl[i], done[i]) == SSL_ERROR_WANT_READ);
        }
    }
    CHECK(!memcmp(&secrets[0], &secrets[1], sizeof *secrets));
    SSL_free(ssl[1]);
    CHECK(!coterie_hand_over(ends[1], 9, incarnation, 0, secrets[1].server, secrets[1].client));
    CHECK((accepted = wrapped_accept4(listener, NULL, NULL, 0)) >= 0);
    *other = ssl[0];
    return accepted;
}

static void part(SSL *other)
{
    int fd = SSL_get_fd(other);
    SSL_free(other);
    close(fd);
}

static void tell(SSL *other, const char *text)
{
    CHECK(SSL_write(other, text, (int)strlen(text)) == (int)strlen(text));
}

static ssize_t hear(int fd)
{
    unsigned char buffer[100];
    struct iovec v = {buffer, sizeof buffer};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    return wrapped_recvmsg(fd, &m, 0);
}

/* A peer that is killed: its last words and its end come together, in one event of an
 * edge-triggered epoll. */
static void last_words(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), all = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    CHECK(!epoll_ctl(all, EPOLL_CTL_ADD, fd, &event));
    tell(other, "words");
    part(other);
    CHECK(wait_for(fd, POLLRDHUP) && epoll_wait(all, &event, 1, 5000) == 1 && hear(fd) == 5);
    CHECK(hear(fd) == -1 && errno == ECONNRESET); /* gRPC reads on until EAGAIN or the end */
    wrapped_close(fd);
    close(all);
}

/* An orderly end is one, however often it is asked for; without close_notify it is none. */
static void ends(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    tell(other, "words");
    CHECK(SSL_shutdown(other) == 0 && wait_for(fd, POLLIN) && hear(fd) == 5 && hear(fd) == 0 &&
          hear(fd) == 0);
    wrapped_close(fd);
    CHECK(SSL_shutdown(other) == 1);
    part(other);
}

/* A connection that breaks takes no other one with it, even in the same thread, and says so to its
 * peer. */
static void breaks_alone(SSL_CTX *ctx, int listener)
{
    SSL *bad, *good;
    unsigned char got[9];
    int a = meet(ctx, listener, 5, &bad), b = meet(ctx, listener, 5, &good);
    tell(bad, "x");
    CHECK(send(SSL_get_fd(bad), "\x17\x03\x03\0\x20 no record at all, but long enough", 37, 0) ==
          37);
    for (int waiting = 0; waiting < 60; ioctl(a, FIONREAD, &waiting)) {
        usleep(100);
    }
    CHECK(hear(a) == 1 && hear(b) == -1 && errno == EAGAIN);
    tell(good, "x");
    CHECK(wait_for(b, POLLIN) && hear(b) == 1 && hear(a) == -1 && errno == ECONNRESET);
    CHECK(wait_for(SSL_get_fd(bad), POLLIN) && SSL_read(bad, got, sizeof got) <= 0);
    CHECK(ERR_GET_REASON(ERR_get_error()) == SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    wrapped_close(a);
    wrapped_close(b);
    part(bad);
    part(good);
}

/* Records that are none of this protocol's, in good TLS or not: each breaks its connection, and
 * gives no byte. */
static void odd_records(SSL_CTX *ctx, int listener)
{
    static const char plain[] = "\x16\x03\x03\0\x05hello",
                      old[] = "\x17\x03\x01\0\x20"
                              "12345678901234567890123456789012",
                      empty[] = "\x17\x03\x03\0\0",
                      tiny[] = "\x17\x03\x03\0\x10"
                               "1234567890123456",
                      huge[] = "\x17\x03\x03\x40\x12";

    static const struct {
        const char *bytes;
        size_t len;
    } raw[] = {{plain, 10}, {old, 37}, {empty, 5}, {tiny, 21}, {huge, 5}};

    SSL *other;
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        int fd = meet(ctx, listener, 5, &other);
        CHECK(send(SSL_get_fd(other), raw[i].bytes, raw[i].len, 0) == (ssize_t)raw[i].len &&
              wait_for(fd, POLLIN));
        CHECK(hear(fd) == -1 && errno == ECONNRESET && hear(fd) == -1 && errno == ECONNRESET);
        wrapped_close(fd);
        part(other);
    }
    int fd = meet(ctx, listener, 5, &other);
    CHECK(SSL_set_block_padding(
        other, 256)); /* this implementation pads nothing, and takes nothing padded */
    tell(other, "words");
    CHECK(wait_for(fd, POLLIN) && hear(fd) == -1 && errno == ECONNRESET);
    wrapped_close(fd);
    part(other);
}

/* What a child finds: no descriptor that anything can be sent on or read from, no secret, no lock
 * that is held. */
static bool held;

static void *hold_board(void *ready)
{
    pthread_mutex_lock(&table_lock);
    held = true;
    pthread_barrier_wait(ready);
    usleep(20000); /* fork() waits for it */
    held = false;
    pthread_mutex_unlock(&table_lock);
    return NULL;
}

static bool is_refused(int fd)
{ /* by this library, to whom the memory tells what was */
    struct iovec v = {"child", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    bool refused = wrapped_sendmsg(fd, &m, 0) == -1 && errno == EBADF &&
                   wrapped_write(fd, "plain", 5) == -1 && errno == EBADF;
    refused = refused && wrapped_recvmsg(fd, &m, 0) == -1 && errno == EBADF &&
              wrapped_dup2(fd, 100) == -1 && errno == EBADF;
    return refused && wrapped_fcntl(fd, F_SETFD, 0) == -1 && errno == EBADF;
}

static bool is_dead(int fd)
{ /* to the kernel, so to everybody; what the harness calls, it calls as TensorFlow */
    struct iovec v = {"child", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    bool dead = syscall(SYS_write, fd, "plain", 5) == -1 && errno == EBADF &&
                syscall(SYS_read, fd, v.iov_base, 0) == -1 && errno == EBADF;
    return dead && syscall(SYS_sendmsg, fd, &m, 0) == -1 && errno == EBADF &&
           wrapped_sendmsg(fd, &m, 0) == -1 && wrapped_write(fd, "plain", 5) == -1;
}

static int child_of_fork(int fd, int parked, int listener, const struct link *secret)
{
    alarm(20); /* whoever waits for a lock fails */
    if (held) {
        return 7;
    }
    if (!is_dead(fd) || !is_dead(parked) || !is_dead(listener)) {
        return 2;
    }
    if (wrapped_socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EACCES) {
        return 3;
    }
    if (!zeroes(secret, sizeof *secret)) {
        return 4;
    }
    coterie_cut(9, 0);
    coterie_count(9, 1); /* as whoever unwinds the stack does */
    if (coterie_hand_over(dup(0), 9, 5, 1, (unsigned char[RECORD_SECRET]){0},
                          (unsigned char[RECORD_SECRET]){0}) != -1) {
        return 5;
    }
    return wrapped_close(fd) || wrapped_close(parked) || wrapped_close(listener) ? 6 : 0;
}

static int ended(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

/* A child process holds the same descriptors, and perhaps the same memory (vfork): it must not
 * speak on them. */
static void children(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), links = coterie_count(-1, 0), parked[2];
    struct link *secret = atomic_load(&table[fd]);
    struct iovec v = {"mine!", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    unsigned char got[9];
    uint64_t random = 1;
    pthread_barrier_t ready;
    pthread_t holder;
    pair(parked, &random);
    CHECK(!coterie_hand_over(parked[0], 8, 5, 1, (unsigned char[RECORD_SECRET]){1},
                             (unsigned char[RECORD_SECRET]){2}));
    CHECK(wrapped_sendmsg(parked[0], &m, 0) == -1 &&
          errno == ENOTCONN); /* nobody has dialled it yet */
    pthread_barrier_init(&ready, NULL, 2);
    pthread_create(&holder, NULL, hold_board, &ready);
    pthread_barrier_wait(&ready);
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_exit_group,
                child_of_fork(fd, parked[0], listener,
                              secret)); /* TSan misses the parent's threads in _exit */
    }
    CHECK(ended(child) == 0);
    pthread_join(holder, NULL);
    pthread_barrier_destroy(&ready);
    if ((child = vfork()) == 0) {
        _exit(!(is_refused(fd) || is_dead(fd)) || wrapped_close(fd) ||
              wrapped_close(listener)); /* as subprocess does; TSan forks */
    }
    CHECK(ended(child) == 0 && coterie_count(-1, 0) == links + 1);
    if ((child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0) {
        _exit(!is_refused(fd) || !is_refused(parked[0])); /* no handler runs */
    }
    CHECK(ended(child) == 0);
    CHECK(!wait_now(parked[1], POLLIN | POLLRDHUP) &&
          !wait_now(SSL_get_fd(other), POLLIN | POLLRDHUP)); /* not a byte, and no end */
    CHECK(wrapped_sendmsg(fd, &m, 0) == 5 && wait_for(SSL_get_fd(other), POLLIN));
    CHECK(SSL_read(other, got, sizeof got) == 5 && !memcmp(got, "mine!", 5));
    tell(other, "x");
    CHECK(wait_for(fd, POLLIN) && hear(fd) == 1);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(parked[0], F_GETFD) == FD_CLOEXEC &&
          fcntl(listener, F_GETFD) == FD_CLOEXEC);
    CHECK(wrapped_fcntl(fd, F_SETFD, 0) == -1 && errno == EOPNOTSUPP &&
          !wrapped_fcntl(fd, F_SETFD, FD_CLOEXEC));
    wrapped_close(fd);
    part(other);
    close(parked[1]);
    CHECK(coterie_count(8, 0) == 0 && coterie_count(-1, 0) == links - 1);
}

/* What the kernel is told of the memory in which secrets are, and what is left there when the
 * connection has broken. */
static void secrets_in_memory(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), told = 0;
    struct link *l = atomic_load(&table[fd]);
    char line[512];
    FILE *maps = fopen("/proc/self/smaps", "r");
    for (unsigned long from, to, in = 0; fgets(line, sizeof line, maps);) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            in = from <= (uintptr_t)l && (uintptr_t)(l + 1) == to;
        } else if (in && !strncmp(line, "VmFlags:", 8)) {
            told = strstr(line, " dd") && strstr(line, " wf"); /* the last byte is the mapping's */
        }
    }
    fclose(maps);
    CHECK(told && !zeroes(l->records.in.secret, RECORD_SECRET) &&
          !zeroes(l->records.out.secret, RECORD_SECRET));
    char many[200]; /* more than `hear` asks for */
    memset(many, 'x', sizeof many);
    CHECK(SSL_write(other, many, sizeof many) == sizeof many && wait_for(fd, POLLIN) &&
          hear(fd) == 100);
    CHECK(!zeroes(l->records.unread, sizeof l->records.unread));
    CHECK(hear(fd) == 100 && send(SSL_get_fd(other), "\x16\x03\x03\0\x05hello", 10, 0) == 10 &&
          wait_for(fd, POLLIN));
    CHECK(hear(fd) == -1 && errno == ECONNRESET);
    CHECK(zeroes(l->records.in.secret, RECORD_SECRET) &&
          zeroes(l->records.out.secret, RECORD_SECRET) && zeroes(l->records.in.iv, 12) &&
          zeroes(l->records.out.iv, 12));
    CHECK(zeroes(l->records.unread, sizeof l->records.unread) &&
          !EVP_CIPHER_CTX_get0_cipher(l->records.in.aead) &&
          !EVP_CIPHER_CTX_get0_cipher(l->records.out.aead));
    wrapped_close(fd);
    part(other);
}

static int updates;

static void count_updates(int written, int version, int type, const void *of, size_t len, SSL *ssl,
                          void *unused)
{
    (void)version;
    (void)ssl;
    (void)unused;
    if (!written && type == SSL3_RT_HANDSHAKE && len &&
        *(const unsigned char *)of == SSL3_MT_KEY_UPDATE) {
        updates++;
    }
}

/* AES-GCM bears a number of records under one key only, and connections live long. */
static void fresh_keys(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    unsigned char got[9];
    struct iovec v = {"words", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    SSL_set_msg_callback(other, count_updates);
    for (int i = 1; i <= 3 * RECORDS_PER_KEY + 1; i++) {
        CHECK(wrapped_sendmsg(fd, &m, 0) == 5 && wait_for(SSL_get_fd(other), POLLIN) &&
              SSL_read(other, got, sizeof got) == 5);
        CHECK(updates == (i - 1) / RECORDS_PER_KEY);
        CHECK(i % 2 || SSL_key_update(other, SSL_KEY_UPDATE_NOT_REQUESTED)); /* and the other way */
        tell(other, "words");
        ssize_t heard;
        while ((heard = hear(fd)) == -1 && errno == EAGAIN) {
            CHECK(wait_for(fd, POLLIN)); /* the update comes by itself */
        }
        CHECK(heard == 5);
    }
    wrapped_close(fd);
    part(other);
}

static void change_keys(SSL *other, int how)
{
    CHECK(SSL_key_update(other, how) && SSL_do_handshake(other) == 1);
}

/* Who asks for new keys gets them before the next data, once, however often it has asked (RFC
 * 8446, 4.6.3). */
static void answers(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other);
    unsigned char got[9];
    struct iovec v = {"words", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    SSL_set_msg_callback(other, count_updates);
    updates = 0;
    for (int i = 0; i < 3; i++) {
        change_keys(other, SSL_KEY_UPDATE_REQUESTED);
    }
    tell(other, "words");
    while (hear(fd) != 5) {
        CHECK(errno == EAGAIN && wait_for(fd, POLLIN));
    }
    for (int i = 1; i <= RECORDS_PER_KEY + 1; i++) {
        CHECK(wrapped_sendmsg(fd, &m, 0) == 5 && wait_for(SSL_get_fd(other), POLLIN) &&
              SSL_read(other, got, sizeof got) == 5);
        CHECK(updates ==
              1 + (i > RECORDS_PER_KEY)); /* its own turn comes after as many records as ever */
    }
    wrapped_close(fd);
    part(other);
}

/* Asked while what was sealed waits for room: that goes first, and nothing is lost or sealed twice.
 */
static void answers_when_there_is_room(SSL_CTX *ctx, int listener)
{
    SSL *other;
    int fd = meet(ctx, listener, 5, &other), sent = 0, got = 0;
    static unsigned char all[3000000], back[sizeof all];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = byte_at(3, i);
    }
    SSL_set_msg_callback(other, count_updates);
    updates = 0;
    for (bool asked = false; got < (int)sizeof all;) {
        struct iovec v = {all + sent, sizeof all - (size_t)sent};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        ssize_t n = v.iov_len ? wrapped_sendmsg(fd, &m, 0) : 0;
        CHECK(n >= 0 || errno == EAGAIN);
        sent += n > 0 ? (int)n : 0;
        if (n < 0 && !asked) { /* the kernel is full */
            CHECK(atomic_load(&table[fd])->records.sealed);
            asked = true;
            change_keys(other, SSL_KEY_UPDATE_REQUESTED);
            tell(other, "x");
            while (hear(fd) != 1) {
                CHECK(errno == EAGAIN && wait_for(fd, POLLIN));
            }
            CHECK(atomic_load(&table[fd])->records.update_owed);
        }
        for (int here; (here = SSL_read(other, back + got, (int)sizeof back - got)) > 0;) {
            got += here;
        }
    }
    CHECK(sent == got && !memcmp(all, back, sizeof all) &&
          !atomic_load(&table[fd])->records.update_owed && updates > 1);
    wrapped_close(fd);
    part(other);
}

/* A peer with the right keys and other manners: `liar` seals what no release of ours would. */
static void meet_liar(int listener, int *honest, int *liar)
{
    static const unsigned char here[RECORD_SECRET] = {1}, there[RECORD_SECRET] = {2};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(VIRTUAL_PORT),
                             .sin_addr.s_addr = htonl(VIRTUAL_NETWORK | 9)};
    uint64_t random = 1;
    int ends[2];
    pair(ends, &random);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    CHECK(!coterie_hand_over(ends[0], 9, 5, 1, here, there) &&
          !coterie_hand_over(ends[1], 9, 5, 0, there, here));
    CHECK((*liar = wrapped_socket(AF_INET, SOCK_STREAM, 0)) >= 0 &&
          !wrapped_connect(*liar, (void *)&to, sizeof to));
    CHECK((*honest = wrapped_accept4(listener, NULL, NULL, 0)) >= 0);
}

static void lie(int liar, unsigned char type, const void *what, size_t len)
{
    struct link *l = atomic_load(&table[liar]);
    CHECK(seal_message(&l->records, type, what, len) &&
          (type != HANDSHAKE || use_next_secret(&l->records.out)) &&
          flush(&l->records, l->fd) == 1);
}

static void close_both(int honest, int liar)
{
    wrapped_close(honest);
    wrapped_close(liar);
}

static void lies_end(int honest, int liar)
{ /* for TensorFlow, for the peer, and for Python, who asks */
    CHECK(wait_for(honest, POLLIN) && hear(honest) == -1 && errno == EPROTO && hear(honest) == -1 &&
          errno == EPROTO);
    struct iovec v = {"words", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    CHECK(wrapped_sendmsg(honest, &m, 0) == -1 && errno == EPROTO);
    CHECK(coterie_unruly(8) == 0 && coterie_unruly(9) == 1 && coterie_unruly(9) == 0);
    CHECK(wait_for(liar, POLLIN) && hear(liar) == -1 && errno == ECONNRESET);
    struct link *l = atomic_load(
        &table[liar]); /* which took the alert for what it is, and has forgotten all since */
    CHECK(l->records.in.records == 1);
    close_both(honest, liar);
}

static void fill(int fd, int waiting)
{
    for (int n = 0; n < waiting; ioctl(fd, FIONREAD, &n)) {
        usleep(100);
    }
}

static void without_data(int listener)
{
    static const unsigned char asking[] = {24, 0, 0, 1, 1}, other[] = {24, 0, 0, 1, 2};
    int honest, liar, updates_sent = 0;
    for (int kind = 0; kind < 3; kind++) { /* as many as are spared, and one more: new keys, asked
                                              for some, nothing at all */
        meet_liar(listener, &honest, &liar);
        for (int i = 0; i < RECORD_ALLOWANCE; i++) {
            lie(liar, kind < 2 ? HANDSHAKE : APPLICATION_DATA, kind ? asking : key_update,
                kind < 2 ? 5 : 0);
        }
        fill(honest, RECORD_ALLOWANCE * (RECORD_HEADER + RECORD_OVERHEAD));
        CHECK(hear(honest) == -1 && errno == EAGAIN);
        lie(liar, APPLICATION_DATA, "words", 5);
        CHECK(wait_for(honest, POLLIN) && hear(honest) == 5);
        lie(liar, kind < 2 ? HANDSHAKE : APPLICATION_DATA, kind ? asking : key_update,
            kind < 2 ? 5 : 0);
        lies_end(honest, liar);
    }
    meet_liar(listener, &honest, &liar); /* some data with each is not enough */
    for (ssize_t n = 1; n == 1; updates_sent++) {
        lie(liar, HANDSHAKE, key_update, sizeof key_update);
        lie(liar, APPLICATION_DATA, "x", 1);
        while ((n = hear(honest)) == -1 && errno == EAGAIN) {
            wait_for(honest, POLLIN);
        }
        CHECK(n == 1 ||
              updates_sent ==
                  RECORD_ALLOWANCE +
                      RECORD_ALLOWANCE / (DATA_RECORDS_PER_ALLOWANCE -
                                          1)); /* in 21 records with data 5 more are earned */
    }
    CHECK(updates_sent ==
              1 + RECORD_ALLOWANCE + RECORD_ALLOWANCE / (DATA_RECORDS_PER_ALLOWANCE - 1) &&
          coterie_unruly(9) == 1);
    close_both(honest, liar);
    meet_liar(listener, &honest, &liar); /* so much is */
    for (int i = 0; i < 20 * RECORD_ALLOWANCE * DATA_RECORDS_PER_ALLOWANCE; i++) {
        if (i % DATA_RECORDS_PER_ALLOWANCE == 0) {
            lie(liar, HANDSHAKE, asking, sizeof asking);
        }
        lie(liar, APPLICATION_DATA, "x", 1);
        for (ssize_t n; (n = hear(honest)) != 1;) {
            CHECK(n == -1 && errno == EAGAIN && wait_for(honest, POLLIN));
        }
    }
    close_both(honest, liar);
    meet_liar(listener, &honest, &liar); /* it says neither yes nor no */
    lie(liar, HANDSHAKE, other, sizeof other);
    CHECK(wait_for(honest, POLLIN) && hear(honest) == -1 && errno == ECONNRESET &&
          coterie_unruly(9) == 0);
    close_both(honest, liar);
}

/* A call opens so many records; the next one goes on, and the last one says that there is nothing
 * more. */
static void one_call(int listener)
{
    int honest, liar;
    meet_liar(listener, &honest, &liar);
    for (int i = 0; i < 2 * RECORDS_PER_CALL + 7; i++) {
        lie(liar, APPLICATION_DATA, "x", 1);
    }
    fill(honest, (2 * RECORDS_PER_CALL + 7) * (RECORD_HEADER + 1 + RECORD_OVERHEAD));
    CHECK(hear(honest) == RECORDS_PER_CALL && hear(honest) == RECORDS_PER_CALL &&
          hear(honest) == 7 && hear(honest) == -1 && errno == EAGAIN);
    close_both(honest, liar);
}

/* Incarnations are the peers' numbers: 0 is one, too. */
static void cuts(SSL_CTX *ctx, int listener)
{
    for (uint64_t incarnation = 0; incarnation < 2; incarnation++) {
        SSL *other;
        int fd = meet(ctx, listener, incarnation, &other);
        coterie_cut(8, 0);
        coterie_cut(9, incarnation ? 1 : 7);
        CHECK((hear(fd) == -1 && errno == EAGAIN) == (incarnation == 1));
        coterie_cut(9, 0);
        CHECK(hear(fd) == -1 && errno == ECONNRESET);
        wrapped_close(fd);
        part(other);
    }
}

/* Descriptors that are closed by other calls, close_range() for one: who gets the number next is no
 * older connection. */
static void closed_otherwise(SSL_CTX *ctx, int listener)
{
    SSL *other;
    static const unsigned char secret[RECORD_SECRET] = {1};
    int fd = meet(ctx, listener, 5, &other), links = coterie_count(-1, 0), ends[2];
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends) && dup2(ends[0], fd) == fd &&
          !close(ends[0])); /* which closes it first */
    CHECK(!coterie_hand_over(fd, 8, 5, 1, secret, secret) && coterie_count(-1, 0) == links);
    coterie_cut(9, 0);
    CHECK(coterie_count(8, 0) == 1 && !close(ends[1]) && coterie_count(8, 0) == 0 &&
          coterie_count(-1, 0) == links - 1);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    part(other);
}

static void refusals(void)
{
    struct sockaddr_in real = {.sin_family = AF_INET,
                               .sin_port = htons(VIRTUAL_PORT),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                       nobody = real, other = real;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                               .sin6_port = htons(VIRTUAL_PORT),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    nobody.sin_addr.s_addr = htonl(VIRTUAL_NETWORK | 77);
    other.sin_addr.s_addr = 0;
    other.sin_port = htons(2223);
    int fd = wrapped_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(wrapped_connect(fd, (void *)&real, sizeof real) == -1 && errno == EACCES);
    CHECK(wrapped_connect(fd, (void *)&six, sizeof six) == -1 && errno == EACCES);
    CHECK(wrapped_connect(fd, (void *)&nobody, sizeof nobody) == -1 && errno == ECONNREFUSED);
    CHECK(wrapped_bind(fd, (void *)&real, sizeof real) == -1 && errno == EACCES);
    CHECK(wrapped_bind(fd, (void *)&other, sizeof other) == -1 && errno == EACCES);
    CHECK(wrapped_listen(fd, 1) == -1 && errno == EACCES);
    CHECK(wrapped_accept4(fd, NULL, NULL, 0) == -1 && errno == EACCES);
    struct iovec v = {"plain", 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    CHECK(wrapped_sendmsg(fd, &m, 0) == -1 && errno == ENOTCONN);
    wrapped_close(fd);
    CHECK(wrapped_socket(AF_INET, SOCK_DGRAM, 0) == -1 && errno == EAFNOSUPPORT);
    CHECK(wrapped_socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EAFNOSUPPORT);
    CHECK(wrapped_sendto(1, "plain", 5, 0, (void *)&real, sizeof real) == -1 &&
          errno == EOPNOTSUPP);
    struct addrinfo *found = NULL;
    CHECK(wrapped_getaddrinfo("localhost", "80", NULL, &found) == EAI_NONAME &&
          !wrapped_getaddrinfo("239.67.0.1", "2222", NULL, &found));
    freeaddrinfo(found);
}

/* Threads of TensorFlow's still use connections when exit() has called every handler, OpenSSL's own
 * among them. */
static void still_there(void)
{
    unsigned char secret[RECORD_SECRET] = {0}, key[16];
    CHECK(expand(secret, "key", key, sizeof key));
}

__attribute__((constructor(101))) static void before_all(void)
{
    atexit(still_there);
} /* so it is called last */

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    uint64_t rounds = strtoull(argv[1], NULL, 10), seed = strtoull(argv[2], NULL, 10),
             most = strtoull(argv[3], NULL, 10);
    int bell_of[2], listener;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(VIRTUAL_PORT)};
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, bell_of) && !coterie_arm("", 3, bell_of[0]) &&
          coterie_arm("", 3, bell_of[0]) == -1);
    refusals();
    CHECK((listener = wrapped_socket(AF_INET6, SOCK_STREAM, 0)) >= 0 &&
          !wrapped_bind(listener, (void *)&any, sizeof any) && !wrapped_listen(listener, 5));
    SSL_CTX *ctx = context();
    last_words(ctx, listener);
    ends(ctx, listener);
    breaks_alone(ctx, listener);
    odd_records(ctx, listener);
    children(ctx, listener);
    secrets_in_memory(ctx, listener);
    fresh_keys(ctx, listener);
    cuts(ctx, listener);
    answers(ctx, listener);
    answers_when_there_is_room(ctx, listener);
    closed_otherwise(ctx, listener);
    SSL_CTX_free(ctx);
    without_data(listener);
    one_call(listener);
    round_of(listener, seed, most); /* what OpenSSL makes once */
    int before = descriptors(), links = coterie_count(-1, 0);
    for (uint64_t i = 1; i <= rounds; i++) {
        round_of(listener, seed + i, most);
        char rung[16];
        while (recv(bell_of[1], rung, sizeof rung, MSG_DONTWAIT) > 0) {
            continue;
        }
    }
    CHECK(wrapped_accept4(listener, NULL, NULL, 0) == -1 && errno == EAGAIN);
    CHECK(descriptors() == before && coterie_count(-1, 0) == links && links == 1);
    wrapped_close(listener);
    close(bell_of[0]);
    close(bell_of[1]);
    CHECK(coterie_count(-1, 0) == 0);
    printf("%llu connections, seed %llu: no byte and no descriptor lost\n",
           (unsigned long long)rounds, (unsigned long long)seed);
    return 0;
}
