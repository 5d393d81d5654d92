/* The hottest calls of the POSIX door in C: what a server does for each request. See accelerator.c.
 *
 * They answer as the door does: 0 or more, or minus a Linux errno. Those are the host's numbers: the door's boards
 * have the generic ABI. WASI's rights mean nothing here.
 */
#include "accelerator.h"

enum { READING = POLLIN | POLLRDNORM, WRITING = POLLOUT | POLLWRNORM, WRONG = POLLERR | POLLHUP | POLLNVAL };

#define ANSWER(number) (v[0].i32 = (uint32_t)(number), (size_t)0)

/* An open file that can be read, or written; NULL when Python has to look. */
static struct file *file_of(struct process *p, uint32_t fd, int writing, int socket_only)
{
    struct slot *slot = calm(p) ? slot_of(p, fd) : NULL;
    if (!slot || slot->file->kind == LISTENER || (socket_only && slot->file->kind != SOCKET))
        return NULL;
    if (writing)
        return slot->file->writable && slot->file->kind != MAPPED ? slot->file : NULL;
    return slot->file->readable ? slot->file : NULL;
}

/* One buffer; 0 when Python has to look. */
static int vector_of(struct process *p, uint32_t pointer, uint32_t length, struct iovec *out)
{
    uint8_t *buffer = length && length <= TRANSFER_MAX ? at(p, pointer, length) : NULL;
    *out = (struct iovec){buffer, length};
    return buffer != NULL;
}

/* What a call answers: 0 when Python has to. */
static int answered(int number, const uint32_t *size, union value *v)
{
    if (number == TO_PYTHON)
        return 0;
    if (number > 0 && !wasi_error(number))
        number = EIO; /* as Python, which speaks WASI's numbers */
    v[0].i32 = number ? (uint32_t)-number : *size;
    return 1;
}

CALL(accelerated_read)
{
    struct process *p = current;
    struct file *file = file_of(p, v[0].i32, 0, 0);
    struct iovec vector;
    uint32_t size = 0;
    if (!file || !vector_of(p, v[1].i32, v[2].i32, &vector))
        return PYTHON;
    return answered(take(p, file, &vector, 1, 0, &size), &size, v) ? 0 : PYTHON;
}

CALL(accelerated_write)
{
    struct process *p = current;
    struct file *file = file_of(p, v[0].i32, 1, 0);
    struct iovec vector;
    uint32_t size = 0;
    if (!file || !vector_of(p, v[1].i32, v[2].i32, &vector))
        return PYTHON;
    return answered(give(p, file, &vector, 1, &size), &size, v) ? 0 : PYTHON;
}

CALL(accelerated_readv)
{
    struct process *p = current;
    struct file *file = file_of(p, v[0].i32, 0, 0);
    struct iovec vector[BUFFERS_MAX];
    uint32_t size = 0;
    int count = file ? vectors(p, v[1].i32, v[2].i32, vector) : 0;
    return count && answered(take(p, file, vector, count, 0, &size), &size, v) ? 0 : PYTHON;
}

CALL(accelerated_writev)
{
    struct process *p = current;
    struct file *file = file_of(p, v[0].i32, 1, 0);
    struct iovec vector[BUFFERS_MAX];
    uint32_t size = 0;
    int count = file ? vectors(p, v[1].i32, v[2].i32, vector) : 0;
    return count && answered(give(p, file, vector, count, &size), &size, v) ? 0 : PYTHON;
}

CALL(accelerated_recvfrom)
{
    struct process *p = current;
    int flags = (int)v[3].i32;
    struct file *file = v[4].i32 || flags & ~MSG_PEEK ? NULL : file_of(p, v[0].i32, 0, 1);
    struct iovec vector;
    uint32_t size = 0;
    if (!file || !vector_of(p, v[1].i32, v[2].i32, &vector))
        return PYTHON;
    return answered(take(p, file, &vector, 1, flags, &size), &size, v) ? 0 : PYTHON;
}

CALL(accelerated_sendto)
{
    struct process *p = current;
    struct file *file = v[4].i32 || v[3].i32 & ~(uint32_t)MSG_NOSIGNAL ? NULL : file_of(p, v[0].i32, 1, 1);
    struct iovec vector;
    uint32_t size = 0;
    if (!file || !vector_of(p, v[1].i32, v[2].i32, &vector))
        return PYTHON; /* with EPIPE, too: there MSG_NOSIGNAL matters */
    return answered(give(p, file, &vector, 1, &size), &size, v) ? 0 : PYTHON;
}

/* Understand one entry; 0 when Python has to look at all of them. */
static int entry_of(struct process *p, const struct pollfd *asked, struct pollfd *entry)
{
    *entry = (struct pollfd){.fd = -1};
    if (asked->fd < 0)
        return 1;
    struct slot *slot = slot_of(p, (uint32_t)asked->fd);
    if (!slot || slot->file->kind == MAPPED || slot->file->filetype == REGULAR_FILE)
        return 0; /* always ready */
    entry->fd = slot->file->fd;
    entry->events = (short)((asked->events & READING ? POLLIN : 0) | (asked->events & WRITING ? POLLOUT : 0));
    return slot->file->kind != LISTENER || !(entry->events & POLLOUT);
}

static short told(short asked, short found)
{
    int revents = found & WRONG;
    revents |= found & POLLIN ? asked & READING : 0;
    return (short)(revents | (found & POLLOUT ? asked & WRITING : 0));
}

/* Nanoseconds; 0 when it is Python's to say what is wrong with them. */
static int limit_of(struct process *p, uint32_t pointer, uint64_t *limit)
{
    *limit = UINT64_MAX;
    if (!pointer)
        return 1;
    const uint8_t *record = at(p, pointer, 16);
    uint64_t seconds = record ? u64_at(record) : UINT64_MAX, rest = record ? u64_at(record + 8) : 0;
    if (seconds > UINT32_MAX || rest >= 1000000000u)
        return 0;
    *limit = seconds * 1000000000u + rest;
    return 1;
}

CALL(accelerated_ppoll)
{
    struct process *p = current;
    struct pollfd asked[SUBSCRIPTIONS_MAX], set[SUBSCRIPTIONS_MAX + 1];
    uint32_t count = v[1].i32, happened = 0;
    uint64_t limit;
    uint8_t *place;
    if (!calm(p) || v[3].i32 || count == 0 || count > SUBSCRIPTIONS_MAX || !limit_of(p, v[2].i32, &limit)
        || !(place = at(p, v[0].i32, (uint64_t)count * sizeof *asked)))
        return PYTHON;
    memcpy(asked, place, count * sizeof *asked);
    for (uint32_t i = 0; i < count; i++)
        if (!entry_of(p, &asked[i], &set[i]))
            return PYTHON;
    if (limit && p->wake_fd < 0)
        return PYTHON;
    set[count] = (struct pollfd){limit ? p->wake_fd : -1, POLLIN, 0};
    int number = poll_host(set, count + 1, limit);
    if (number < 0 || (number == 1 && set[count].revents))
        return PYTHON;
    for (uint32_t i = 0; i < count; i++) {
        asked[i].revents = told(asked[i].events, set[i].revents);
        happened += asked[i].revents != 0;
    }
    memcpy(place, asked, count * sizeof *asked); /* nobody else changes it meanwhile */
    return ANSWER(happened);
}
