#define _GNU_SOURCE
#include "real_calls.h"

#include <dlfcn.h>

static struct real_calls found;

static void look_up(void)
{
#define LOOK_UP(name) *(void **)&found.name = dlsym(RTLD_NEXT, #name);
    INTERPOSED_CALLS(LOOK_UP)
#undef LOOK_UP
}

const struct real_calls *real(void)
{
    if (found.splice == NULL) { /* the last one */
        look_up();
    }
    return &found;
}

/* Whether the call of this name, as other files of the process find it, is in the file `own`. */
static bool is_in(const Dl_info *own, const char *name)
{
    Dl_info other;
    return dladdr(dlsym(RTLD_DEFAULT, name), &other) && other.dli_fbase == own->dli_fbase;
}

bool calls_in_front(void)
{
    Dl_info own;
    bool all = dladdr((void *)look_up, &own);
#define IN_FRONT(name) all = all && is_in(&own, #name);
    INTERPOSED_CALLS(IN_FRONT)
#undef IN_FRONT
    return all;
}
