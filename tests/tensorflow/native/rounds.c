/* Rounds: a connection whose bytes pass a relay that fuzzes. Part of harness.c. */
#include "harness.h"

enum fault { NONE, RESET, HALF_CLOSE, CHANGE, CUT, FAULTS };

struct stream {
    uint64_t seed, total;
};

struct end {
    int fd;
    int sends_by; /* the socket that its records leave by */
    struct stream out, in;
    enum fault fault;
    uint64_t random;
};

struct relay {
    int a, b;
    enum fault fault;
    uint64_t random, after;
};

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

struct passing {
    int peer, far;
};

/* What stands between a peer and a connection with a way out, as Python does (links.h). */
static void *pass_on(void *argument)
{
    struct passing *p = argument;
    unsigned char buffer[70000];
    bool full = false; /* the way out, so that the pair is */
    for (bool in = true, out = true; in || out;) {
        struct pollfd peer = {.fd = in || full ? p->peer : -1};
        struct pollfd far = {.fd = out && !full ? p->far : -1, .events = POLLIN};
        peer.events = (short)((in ? POLLIN : 0) | (full ? POLLOUT : 0));
        struct pollfd fds[2] = {peer, far};
        poll(fds, 2, -1);
        if (fds[1].revents) {
            full = recv(p->far, buffer, 1, MSG_PEEK) > 0;
            out = full;
        }
        if (full && fds[0].revents & (POLLOUT | POLLERR | POLLHUP)) {
            while (recv(p->far, buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
            }
            full = false;
        }
        if (in && fds[0].revents & (POLLIN | POLLERR | POLLHUP)) {
            ssize_t got = recv(p->peer, buffer, sizeof buffer, MSG_DONTWAIT);
            in = got > 0 || (got < 0 && errno == EAGAIN);
            for (ssize_t at = 0, sent; in && at < got; at += sent) {
                sent = send(p->far, buffer + at, (size_t)(got - at), MSG_NOSIGNAL);
                if (sent < 0) {
                    in = false;
                    break;
                }
            }
            if (!in) {
                shutdown(p->far, SHUT_WR);
            }
        }
    }
    shutdown(p->peer, SHUT_RDWR);
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
    for (int queued = 1; e->fault == NONE && queued && !ioctl(e->sends_by, SIOCOUTQ, &queued);) {
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
    pthread_t threads[6];
    bool is_inspected = next(&random) % 2;
    int accepts[2] = {right[1], -1}; /* the second one: the other end of a pair */
    int way_out = is_inspected ? dup(right[1]) : -1;
    struct passing passing;
    struct secrets secrets;
    for (size_t i = 0; i < sizeof secrets; i++) {
        ((unsigned char *)&secrets)[i] = (unsigned char)next(&random);
    }
    pthread_create(&threads[4], NULL, relay, &between);
    CHECK(!coterie_hand_over(left[0], -1, node, 5, 1, secrets.client, secrets.server));
    if (is_inspected) {
        CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, accepts));
        fcntl(accepts[0], F_SETFL, O_NONBLOCK);
        passing = (struct passing){right[1], accepts[1]};
        pthread_create(&threads[5], NULL, pass_on, &passing);
    }
    CHECK(!coterie_hand_over(accepts[0], way_out, node, 5, 0, secrets.server, secrets.client));
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
    struct end ends[2] = {{dialled, dialled, there, here, fault, next(&random)},
                          {accepted, right[1], here, there, fault, next(&random)}};
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
    if (is_inspected) {
        pthread_join(threads[5], NULL);
        close(passing.peer);
        close(passing.far);
    }
}
