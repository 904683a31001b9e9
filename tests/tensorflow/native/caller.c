/* Calls libc as TensorFlow does: the native part knows it by the folder that it lies in. Built
   without optimization, so that no call becomes a jump, which would have another return address.
   Each function returns what the call does, and sets errno. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

static struct sockaddr_in at(unsigned address)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(2222), .sin_addr.s_addr = htonl(address)};
    return to;
}

int call_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

int call_listen(int fd)
{
    struct sockaddr_in any = at(INADDR_ANY);
    int failed = bind(fd, (void *)&any, sizeof any);
    return failed ? failed : listen(fd, 5);
}

int call_accept(int fd, int *node)
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    int accepted = accept4(fd, (void *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    *node = accepted < 0 ? -1 : (int)(ntohl(from.sin_addr.s_addr) & 0xffff);
    return accepted;
}

int call_connect(int fd, int node)
{
    struct sockaddr_in to = at(0xef430000u | (unsigned)node); /* 239.67.0.0 */
    return connect(fd, (void *)&to, sizeof to);
}

long call_recvmsg(int fd, void *to, size_t len)
{
    struct iovec v = {to, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    return recvmsg(fd, &m, 0);
}

long call_sendmsg(int fd, void *from, size_t len)
{
    struct iovec v = {from, len};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}
