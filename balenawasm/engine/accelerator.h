/* What the parts of the accelerator share: the records that engine/accelerator.py writes, and a guest's memory.
 * See accelerator.c.
 */
#ifndef BALENAWASM_ACCELERATOR_H
#define BALENAWASM_ACCELERATOR_H

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ABI 3 /* changes with the records below and with the list of functions */
#define EXPORT __attribute__((visibility("default")))

enum kind { UNKNOWN, SLOW, STREAM, POLITE_STREAM, SOCKET, LISTENER, MAPPED, HOST_FILE };

enum {
    LEARN_AFTER = 3,      /* uses of an fd before it is worth a look */
    BUFFERS_MAX = 1024,   /* IOV_MAX of kernel/guest_memory.py */
    SUBSCRIPTIONS_MAX = 512,
    TRANSFER_MAX = 16 << 20, /* Python moves more in parts, so that a kill does not wait for a slow disk */
    PROMISED = 4096,      /* PIPE_BUF: what a pipe takes once poll says it is writable */
};

enum { SUCCESS = 0, EIO_ = 29 }; /* WASI's numbers */
enum { FD_READ = 1 << 1, FD_SEEK = 1 << 2, FD_TELL = 1 << 5, FD_WRITE = 1 << 6 };
enum { POLL_FD_READWRITE = 1 << 27, SOCK_ACCEPT = 1 << 29 };
enum { NONBLOCK = 1 << 2, RECV_PEEK = 1 };
enum { CLOCK_EVENT, READ_EVENT, WRITE_EVENT };
enum { REGULAR_FILE = 4 };
#define TO_PYTHON (-1)

struct file {
    int32_t kind;
    int32_t fd; /* the host's; -1 for MAPPED */
    uint32_t flags; /* fdflags */
    uint8_t filetype;
    uint8_t readable;
    uint8_t writable;
    uint8_t spare;
    const uint8_t *data; /* MAPPED: the file */
    uint64_t size;
    uint64_t offset;
};

struct slot {
    struct file *file;
    uint64_t rights;
    uint64_t inheriting;
    uint32_t misses;
    uint32_t spare;
};

struct process {
    uint32_t attention; /* Python has something to do first */
    uint32_t lent;      /* a child of vfork uses this thread: other fds are meant */
    int32_t wake_fd;    /* -1 until a call has waited */
    uint32_t slot_count;
    struct slot *slots;
    uint8_t *base;
    uint64_t size; /* of the memory, when it was last asked for */
    size_t (*size_of)(void *context, void *memory);
    void *context;
    void *memory;
    const uint8_t *environment; /* NAME=value, each with a NUL */
    uint32_t environment_size;
    uint32_t environment_count;
};

_Static_assert(sizeof(struct file) == 40 && sizeof(struct slot) == 32 && sizeof(struct process) == 80,
               "the records of engine/accelerator.py");

union value {
    uint32_t i32;
    uint64_t i64;
    uint8_t raw[16];
};

typedef size_t host_function(void *environment, void *caller, union value *values, size_t count);

#define HIDDEN __attribute__((visibility("hidden")))

/* The process that the calling thread runs, or none. */
extern HIDDEN __thread struct process *current;

/* What an fd stands for, when it is known and plain; else NULL. */
HIDDEN struct slot *slot_of(struct process *p, uint32_t fd);

/* The buffers of an iovec array; their number, or 0 when Python has to look: none, too many, too large, outside. */
HIDDEN int vectors(struct process *p, uint32_t pointer, uint32_t count, struct iovec *out);

/* Move bytes from or to an open file: 0 and how many, an errno of the host, or TO_PYTHON with none moved. */
HIDDEN int take(struct process *p, struct file *file, struct iovec *vector, int count, int flags, uint32_t *size);
HIDDEN int give(struct process *p, struct file *file, struct iovec *vector, int count, uint32_t *size);

/* The errno of WASI for one of the host's; 0 when it has none. */
HIDDEN int wasi_error(int number);

/* Poll; UINT64_MAX nanoseconds are for ever. */
HIDDEN int poll_host(struct pollfd *set, nfds_t count, uint64_t timeout);

static inline int calm(struct process *p)
{
    return p && !__atomic_load_n(&p->attention, __ATOMIC_ACQUIRE) && !p->lent;
}

static inline uint8_t *at(struct process *p, uint64_t pointer, uint64_t length)
{
    uint64_t end = pointer + length; /* both below 2^35 */
    if (end > p->size) {
        if (!p->size_of)
            return NULL;
        p->size = p->size_of(p->context, p->memory);
        if (end > p->size)
            return NULL;
    }
    return p->base + pointer;
}

static inline uint32_t u32_at(const uint8_t *place)
{
    uint32_t value;
    memcpy(&value, place, sizeof value);
    return value;
}

static inline uint64_t u64_at(const uint8_t *place)
{
    uint64_t value;
    memcpy(&value, place, sizeof value);
    return value;
}

/* System calls. `PYTHON` hands over; `DONE` answers. */

#define PYTHON ((host_function *)environment)(NULL, caller, v, n)
#define DONE(errno_) (v[0].i32 = (uint32_t)(errno_), (size_t)0)
#define CALL(name) EXPORT size_t name(void *environment, void *caller, union value *v, size_t n)

#endif
