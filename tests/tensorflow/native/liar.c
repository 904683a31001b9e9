/* A peer that has the keys and seals what it likes. Part of harness.c. */
#include "harness.h"

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
    CHECK(!coterie_hand_over(ends[0], -1, 9, 5, 1, here, there) &&
          !coterie_hand_over(ends[1], -1, 9, 5, 0, there, here));
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
