/* The hottest calls of WASI preview 1, and of the POSIX door (accelerator_posix.c), in C, without the interpreter
 * and its lock.
 *
 * Each function here has the engine's type of an unchecked host function. It handles the plain case completely:
 * a known fd, valid pointers, data that is there (or can be waited for with a wake-up in the poll set). Whatever
 * else there is, above all every error that needs a decision, it leaves to the Python handler (`environment` is
 * that handler's callback), which is also the reference for what the plain case must do. Nothing has been done
 * when a call is handed over: no byte taken, no byte given.
 *
 * No Python object is touched. What is known about the process, its fds and their files stands in three records
 * that Python writes (engine/accelerator.py); C writes `size`, `misses` and `offset` only.
 *
 * - struct process: one for each guest, found through a thread-local pointer. Only its own thread changes its
 *   slots; other threads store `attention`, and then write to the eventfd `wake_fd`.
 * - struct slot: what an fd number stands for. A cache: empty after every change, filled by `learn` when the fd
 *   has been used some times.
 * - struct file: an open file. It lives as long as an fd refers to it, so as long as a call of this thread.
 *   Another process's thread may store `flags`, or renew it: `kind` is UNKNOWN meanwhile.
 *
 * Guests are hostile: every pointer is checked against the memory's size in 64-bit arithmetic, and what a guest
 * could change (nobody else runs in its memory, but signals store words) is read once.
 *
 * Spec: WASI phases/snapshot/docs.md; wasmtime/linker.h, `wasmtime_linker_define_func_unchecked`.
 * Little-endian hosts, as the engine's value slots are.
 */
#include "accelerator.h"

__thread struct process *current;
static void (*learn)(uint32_t fd);
static uint16_t from_host[256];

EXPORT uint32_t accelerator_abi(void)
{
    return ABI;
}

/* `learner` fills the slot of an fd; `errnos` are WASI's numbers for the host's 0 to 255, 0 for those without. */
EXPORT void accelerator_set_up(void (*learner)(uint32_t), const uint16_t *errnos)
{
    learn = learner;
    memcpy(from_host, errnos, sizeof from_host);
}

/* The process that the calling thread runs from now on, or none. */
EXPORT void accelerator_enter(struct process *process)
{
    current = process;
}

/* Memory. */

int vectors(struct process *p, uint32_t pointer, uint32_t count, struct iovec *out)
{
    uint64_t total = 0;
    if (count == 0 || count > BUFFERS_MAX)
        return 0;
    const uint8_t *entries = at(p, pointer, (uint64_t)count * 8);
    if (!entries)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = u32_at(entries + 8 * i + 4);
        uint8_t *buffer = at(p, u32_at(entries + 8 * i), length);
        total += length;
        if (!buffer || total > TRANSFER_MAX)
            return 0;
        out[i] = (struct iovec){buffer, length};
    }
    return total ? (int)count : 0;
}

/* Files. */

static int32_t kind_of(struct process *p, uint32_t fd)
{
    if (fd >= p->slot_count || !p->slots[fd].file)
        return UNKNOWN;
    return __atomic_load_n(&p->slots[fd].file->kind, __ATOMIC_ACQUIRE);
}

struct slot *slot_of(struct process *p, uint32_t fd)
{
    int32_t kind = kind_of(p, fd);
    if (kind == UNKNOWN) {
        if (fd < p->slot_count && ++p->slots[fd].misses < LEARN_AFTER)
            return NULL;
        learn(fd); /* may move the slots */
        kind = kind_of(p, fd);
    }
    return kind == UNKNOWN || kind == SLOW ? NULL : &p->slots[fd];
}

static struct slot *slot_with(struct process *p, uint32_t fd, uint64_t rights)
{
    struct slot *slot = slot_of(p, fd);
    return slot && (slot->rights & rights) == rights ? slot : NULL;
}

static int nonblocking(const struct file *file)
{
    return (__atomic_load_n(&file->flags, __ATOMIC_RELAXED) & NONBLOCK) != 0;
}

int wasi_error(int number)
{
    return number > 0 && number < 256 ? from_host[number] : 0;
}

/* What a preview 1 call answers after `take` or `give`. */
static int answer(int number)
{
    if (number <= 0)
        return number; /* SUCCESS, TO_PYTHON */
    int known = wasi_error(number);
    return known ? known : EIO_;
}

/* Wait until the host's fd is ready; 0 when somebody wants this thread to look at something else first. */
static int ready(struct process *p, int fd, short events)
{
    struct pollfd set[2] = {{fd, events, 0}, {p->wake_fd, POLLIN, 0}};
    if (p->wake_fd < 0)
        return 0;
    while (ppoll(set, 2, NULL, NULL) < 0)
        if (errno != EINTR)
            return 0;
    return set[0].revents && !set[1].revents; /* ready without end must not hide a kill */
}

static int ready_now(int fd, short events)
{
    struct pollfd set = {fd, events, 0};
    return poll(&set, 1, 0) > 0;
}

int take(struct process *p, struct file *file, struct iovec *vector, int count, int flags, uint32_t *size)
{
    ssize_t got;
    int fd = file->fd;
    if (file->kind == MAPPED) {
        uint64_t offset = file->offset, done = 0;
        for (int i = 0; i < count && offset < file->size; i++) {
            size_t length = vector[i].iov_len;
            if (length > file->size - offset)
                length = file->size - offset;
            memcpy(vector[i].iov_base, file->data + offset, length);
            offset += length;
            done += length;
        }
        file->offset = offset;
        *size = (uint32_t)done;
        return SUCCESS;
    }
    if (file->kind == POLITE_STREAM && !ready_now(fd, POLLIN)) {
        if (nonblocking(file))
            return EAGAIN;
        if (!ready(p, fd, POLLIN))
            return TO_PYTHON;
    }
    for (;;) {
        if (file->kind != SOCKET)
            got = readv(fd, vector, count);
        else if (count == 1)
            got = recv(fd, vector->iov_base, vector->iov_len, flags | MSG_DONTWAIT);
        else
            got = recvmsg(fd, &(struct msghdr){.msg_iov = vector, .msg_iovlen = (size_t)count}, flags | MSG_DONTWAIT);
        if (got >= 0) {
            *size = (uint32_t)got;
            return SUCCESS;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return errno;
        if (nonblocking(file))
            return EAGAIN;
        if (!ready(p, fd, POLLIN))
            return TO_PYTHON;
    }
}

/* Leave out the first `done` bytes of the buffers. */
static void skip(struct iovec **vector, int *count, size_t done)
{
    while (*count && done >= (*vector)->iov_len) {
        done -= (*vector)->iov_len;
        ++*vector;
        --*count;
    }
    if (*count) {
        (*vector)->iov_base = (uint8_t *)(*vector)->iov_base + done;
        (*vector)->iov_len -= done;
    }
}

static ssize_t give_once(struct file *file, struct iovec *vector, int count)
{
    if (file->kind == POLITE_STREAM) { /* the fd may block: no more than poll has promised */
        struct iovec first[BUFFERS_MAX];
        size_t left = PROMISED;
        int number = 0;
        for (; number < count && left; number++) {
            first[number] = vector[number];
            if (first[number].iov_len > left)
                first[number].iov_len = left;
            left -= first[number].iov_len;
        }
        return writev(file->fd, first, number);
    }
    if (file->kind != SOCKET)
        return writev(file->fd, vector, count);
    if (count == 1)
        return send(file->fd, vector->iov_base, vector->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sendmsg(file->fd, &(struct msghdr){.msg_iov = vector, .msg_iovlen = (size_t)count},
                   MSG_NOSIGNAL | MSG_DONTWAIT);
}

static size_t length_of(const struct iovec *vector, int count)
{
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += vector[i].iov_len;
    return length;
}

/* Everything, unless NONBLOCK is set; part of it when something happens half-way. */
int give(struct process *p, struct file *file, struct iovec *vector, int count, uint32_t *size)
{
    uint32_t total = 0;
    int polite = file->kind == POLITE_STREAM;
    /* Without the fd that Python makes for the first wait, what does not fit at once could not wait for the rest. */
    if (p->wake_fd < 0 && !nonblocking(file) && file->kind != HOST_FILE && length_of(vector, count) > PROMISED)
        return TO_PYTHON;
    skip(&vector, &count, 0);
    while (count) {
        int error = EAGAIN;
        if (!polite || ready_now(file->fd, POLLOUT)) {
            ssize_t put = give_once(file, vector, count);
            error = errno;
            if (put >= 0) {
                total += (uint32_t)put;
                if ((nonblocking(file) && !polite) || file->kind == HOST_FILE)
                    break;
                skip(&vector, &count, (size_t)put);
                continue;
            }
        }
        if (error == EINTR)
            continue;
        if (error == EAGAIN && !nonblocking(file) && ready(p, file->fd, POLLOUT))
            continue;
        if (total)
            break;
        if (error == EAGAIN && nonblocking(file))
            return EAGAIN;
        /* EPIPE comes again, and for some with a signal. */
        return error == EAGAIN || error == EPIPE ? TO_PYTHON : error;
    }
    *size = total;
    return SUCCESS;
}

/* System calls. */

CALL(accelerated_clock_time_get)
{
    struct process *p = current;
    struct timespec time;
    uint8_t *result;
    if (v[0].i32 > 1 || !calm(p) || !(result = at(p, v[2].i32, 8)))
        return PYTHON;
    clock_gettime(v[0].i32 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &time);
    uint64_t value = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    memcpy(result, &value, sizeof value);
    return DONE(SUCCESS);
}

/* The environment never changes while a program runs; CPython's C library asks for it a hundred times at a start. */

CALL(accelerated_environ_sizes_get)
{
    struct process *p = current;
    uint8_t *count, *size;
    if (!calm(p) || !(count = at(p, v[0].i32, 4)) || !(size = at(p, v[1].i32, 4)))
        return PYTHON;
    memcpy(size, &p->environment_size, 4);
    memcpy(count, &p->environment_count, 4);
    return DONE(SUCCESS);
}

CALL(accelerated_environ_get)
{
    struct process *p = current;
    uint8_t *pointers, *buffer;
    uint32_t address = v[1].i32, start = 0;
    if (!calm(p) || !(pointers = at(p, v[0].i32, 4 * (uint64_t)p->environment_count))
        || !(buffer = at(p, v[1].i32, p->environment_size)))
        return PYTHON;
    memcpy(buffer, p->environment, p->environment_size);
    for (uint32_t i = 0; i < p->environment_count; i++) {
        uint32_t place = address + start;
        memcpy(pointers + 4 * i, &place, 4);
        start += (uint32_t)strlen((const char *)p->environment + start) + 1;
    }
    return DONE(SUCCESS);
}

static int reading(struct process *p, uint32_t fd, uint32_t pointer, uint32_t count, int flags, int socket_only,
                   uint8_t *result)
{
    struct iovec vector[BUFFERS_MAX];
    struct slot *slot = slot_with(p, fd, FD_READ);
    uint32_t size;
    if (!slot || !slot->file->readable || slot->file->kind == LISTENER)
        return TO_PYTHON;
    if (socket_only && slot->file->kind != SOCKET)
        return TO_PYTHON;
    int buffers = vectors(p, pointer, count, vector);
    int errno_ = buffers ? answer(take(p, slot->file, vector, buffers, flags, &size)) : TO_PYTHON;
    if (errno_ == SUCCESS)
        memcpy(result, &size, sizeof size);
    return errno_;
}

static int writing(struct process *p, uint32_t fd, uint32_t pointer, uint32_t count, int socket_only,
                   uint8_t *result)
{
    struct iovec vector[BUFFERS_MAX];
    struct slot *slot = slot_with(p, fd, FD_WRITE);
    uint32_t size;
    if (!slot || !slot->file->writable || slot->file->kind == LISTENER || slot->file->kind == MAPPED)
        return TO_PYTHON;
    if (socket_only && slot->file->kind != SOCKET)
        return TO_PYTHON;
    int buffers = vectors(p, pointer, count, vector);
    int errno_ = buffers ? answer(give(p, slot->file, vector, buffers, &size)) : TO_PYTHON;
    if (errno_ == SUCCESS)
        memcpy(result, &size, sizeof size);
    return errno_;
}

CALL(accelerated_fd_read)
{
    struct process *p = current;
    uint8_t *result;
    if (!calm(p) || !(result = at(p, v[3].i32, 4)))
        return PYTHON;
    int errno_ = reading(p, v[0].i32, v[1].i32, v[2].i32, 0, 0, result);
    return errno_ == TO_PYTHON ? PYTHON : DONE(errno_);
}

CALL(accelerated_fd_write)
{
    struct process *p = current;
    uint8_t *result;
    if (!calm(p) || !(result = at(p, v[3].i32, 4)))
        return PYTHON;
    int errno_ = writing(p, v[0].i32, v[1].i32, v[2].i32, 0, result);
    return errno_ == TO_PYTHON ? PYTHON : DONE(errno_);
}

CALL(accelerated_sock_recv)
{
    struct process *p = current;
    uint8_t *result, *flags;
    if (!calm(p) || v[3].i32 & ~(uint32_t)RECV_PEEK || !(result = at(p, v[4].i32, 4)) || !(flags = at(p, v[5].i32, 2)))
        return PYTHON;
    int errno_ = reading(p, v[0].i32, v[1].i32, v[2].i32, v[3].i32 ? MSG_PEEK : 0, 1, result);
    if (errno_ == TO_PYTHON)
        return PYTHON;
    if (errno_ == SUCCESS)
        memset(flags, 0, 2);
    return DONE(errno_);
}

CALL(accelerated_sock_send)
{
    struct process *p = current;
    uint8_t *result;
    if (!calm(p) || v[3].i32 || !(result = at(p, v[4].i32, 4)))
        return PYTHON;
    int errno_ = writing(p, v[0].i32, v[1].i32, v[2].i32, 1, result);
    return errno_ == TO_PYTHON ? PYTHON : DONE(errno_);
}

CALL(accelerated_fd_fdstat_get)
{
    struct process *p = current;
    struct slot *slot;
    uint8_t *result;
    if (!calm(p) || !(slot = slot_of(p, v[0].i32)) || !(result = at(p, v[1].i32, 24)))
        return PYTHON;
    uint16_t flags = (uint16_t)__atomic_load_n(&slot->file->flags, __ATOMIC_RELAXED);
    memset(result, 0, 24);
    result[0] = slot->file->filetype;
    memcpy(result + 2, &flags, 2);
    memcpy(result + 8, &slot->rights, 8);
    memcpy(result + 16, &slot->inheriting, 8);
    return DONE(SUCCESS);
}

/* Moves or asks for an offset; -1 when Python has to look. */
static int64_t seek(struct file *file, int64_t offset, uint32_t whence)
{
    static const int of_host[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    if (file->kind == HOST_FILE)
        return lseek(file->fd, offset, of_host[whence]);
    if (file->kind != MAPPED)
        return -1;
    uint64_t from = whence == 0 ? 0 : whence == 1 ? file->offset : file->size;
    if (__builtin_add_overflow((int64_t)from, offset, &offset) || offset < 0)
        return -1;
    file->offset = (uint64_t)offset;
    return offset;
}

CALL(accelerated_fd_seek)
{
    struct process *p = current;
    struct slot *slot;
    uint8_t *result;
    if (!calm(p) || v[2].i32 > 2 || !(slot = slot_with(p, v[0].i32, FD_SEEK)) || !(result = at(p, v[3].i32, 8)))
        return PYTHON;
    int64_t offset = seek(slot->file, (int64_t)v[1].i64, v[2].i32);
    if (offset < 0)
        return PYTHON;
    memcpy(result, &offset, 8);
    return DONE(SUCCESS);
}

CALL(accelerated_fd_tell)
{
    struct process *p = current;
    struct slot *slot;
    uint8_t *result;
    if (!calm(p) || !(slot = slot_with(p, v[0].i32, FD_SEEK)) || !(result = at(p, v[1].i32, 8)))
        return PYTHON;
    int64_t offset = seek(slot->file, 0, 1);
    if (offset < 0)
        return PYTHON;
    memcpy(result, &offset, 8);
    return DONE(SUCCESS);
}
