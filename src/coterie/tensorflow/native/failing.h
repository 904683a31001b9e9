#ifndef COTERIE_FAILING_H
#define COTERIE_FAILING_H

#include <errno.h>

/* What a call returns that fails with an error. */
static inline int fails_with(int code)
{
    errno = code;
    return -1;
}

#endif
