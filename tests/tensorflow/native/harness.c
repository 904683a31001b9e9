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
#include "harness.h"

#include "rounds.c"

#include "openssl_peer.c"

#include "children.c"

#include "liar.c"

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
