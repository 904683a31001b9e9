/* The calls of libc that this library stands in front of (LD_PRELOAD), as libc has them. */
#ifndef COTERIE_REAL_CALLS_H
#define COTERIE_REAL_CALLS_H

#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Every call by which the files of TensorFlow could move bytes or copy a descriptor:
   tests/tensorflow/test_wheel_calls.py compares. */
#define INTERPOSED_CALLS(X)                                                                        \
    X(socket)                                                                                      \
    X(connect)                                                                                     \
    X(bind)                                                                                        \
    X(listen)                                                                                      \
    X(accept)                                                                                      \
    X(accept4)                                                                                     \
    X(getsockname)                                                                                 \
    X(getpeername)                                                                                 \
    X(setsockopt)                                                                                  \
    X(shutdown)                                                                                    \
    X(close)                                                                                       \
    X(fcntl)                                                                                       \
    X(fcntl64)                                                                                     \
    X(dup)                                                                                         \
    X(dup2)                                                                                        \
    X(dup3)                                                                                        \
    X(getaddrinfo)                                                                                 \
    X(sendmsg)                                                                                     \
    X(recvmsg)                                                                                     \
    X(sendmmsg)                                                                                    \
    X(recvmmsg)                                                                                    \
    X(read)                                                                                        \
    X(write)                                                                                       \
    X(readv)                                                                                       \
    X(writev)                                                                                      \
    X(recv)                                                                                        \
    X(send)                                                                                        \
    X(recvfrom)                                                                                    \
    X(sendto)                                                                                      \
    X(sendfile)                                                                                    \
    X(sendfile64)                                                                                  \
    X(splice)

#define COTERIE_MEMBER(name) __typeof__(name) *name;

struct real_calls {
    INTERPOSED_CALLS(COTERIE_MEMBER)
};

#undef COTERIE_MEMBER

/* The calls. They are looked up when the library is loaded, or before, if the constructor of
   another library makes a call earlier. */
const struct real_calls *real(void);

/* Whether every one of the calls, looked up now, comes to this library. */
bool calls_in_front(void);

#endif
