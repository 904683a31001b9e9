/* Children by fork, vfork and clone. Part of harness.c, after openssl_peer.c. */
#include "harness.h"

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
    if (coterie_hand_over(dup(0), -1, 9, 5, 1, (unsigned char[RECORD_SECRET]){0},
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
    CHECK(!coterie_hand_over(parked[0], -1, 8, 5, 1, (unsigned char[RECORD_SECRET]){1},
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
