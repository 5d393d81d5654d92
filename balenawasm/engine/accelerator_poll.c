/* poll_oneoff in C: streams, sockets and listeners, and clocks that count from now. See accelerator.c. */
#include "accelerator.h"

struct subscription {
    uint64_t userdata;
    uint64_t timeout; /* CLOCK_EVENT: nanoseconds */
    uint32_t type;
};

static void event(uint8_t *out, const struct subscription *s, uint16_t hangup)
{
    uint64_t bytes = s->type != CLOCK_EVENT; /* 1 means "some" */
    memset(out, 0, 32);
    memcpy(out, &s->userdata, 8);
    out[10] = (uint8_t)s->type;
    memcpy(out + 16, &bytes, 8);
    memcpy(out + 24, &hangup, 2);
}

/* Understand one subscription; 0 when Python has to look at all of them. */
static int subscribe(struct process *p, const uint8_t *record, struct subscription *s, struct pollfd *poll_entry)
{
    s->userdata = u64_at(record);
    s->type = record[8];
    *poll_entry = (struct pollfd){.fd = -1};
    if (s->type == CLOCK_EVENT) {
        s->timeout = u64_at(record + 24);
        return u32_at(record + 16) <= 1 && record[40] == 0 && record[41] == 0;
    }
    if (s->type != READ_EVENT && s->type != WRITE_EVENT)
        return 0;
    struct slot *slot = slot_of(p, u32_at(record + 16));
    if (!slot || slot->file->kind == MAPPED || slot->file->filetype == REGULAR_FILE)
        return 0; /* always ready, with a number of bytes */
    if (!(slot->rights & POLL_FD_READWRITE) && !(s->type == READ_EVENT && slot->rights & SOCK_ACCEPT))
        return 0;
    *poll_entry = (struct pollfd){slot->file->fd, s->type == READ_EVENT ? POLLIN : POLLOUT, 0};
    return 1;
}

int poll_host(struct pollfd *set, nfds_t count, uint64_t timeout)
{
    struct timespec time = {(time_t)(timeout / 1000000000u), (long)(timeout % 1000000000u)};
    return ppoll(set, count, timeout == UINT64_MAX ? NULL : &time, NULL);
}

CALL(accelerated_poll_oneoff)
{
    struct process *p = current;
    struct subscription subscriptions[SUBSCRIPTIONS_MAX];
    struct pollfd set[SUBSCRIPTIONS_MAX + 1];
    uint32_t count = v[2].i32, fds = 0, happened = 0;
    uint64_t timeout = UINT64_MAX;
    uint8_t *in, *out, *result;
    if (!calm(p) || count == 0 || count > SUBSCRIPTIONS_MAX || !(in = at(p, v[0].i32, (uint64_t)count * 48))
        || !(out = at(p, v[1].i32, (uint64_t)count * 32)) || !(result = at(p, v[3].i32, 4)))
        return PYTHON;
    for (uint32_t i = 0; i < count; i++) {
        if (!subscribe(p, in + 48 * i, &subscriptions[i], &set[i]))
            return PYTHON;
        if (subscriptions[i].type != CLOCK_EVENT)
            fds++;
        else if (subscriptions[i].timeout < timeout)
            timeout = subscriptions[i].timeout;
    }
    /* Sleeping, and waiting without a way to be woken, are Python's; for ever is -1, so no clock may say that. */
    if (!fds || (timeout && p->wake_fd < 0) || (timeout == UINT64_MAX && fds < count))
        return PYTHON;
    set[count] = (struct pollfd){timeout ? p->wake_fd : -1, POLLIN, 0};
    int number = poll_host(set, count + 1, timeout);
    if (number < 0 || (number == 1 && set[count].revents))
        return PYTHON;
    for (uint32_t i = 0; i < count; i++)
        if (set[i].revents)
            event(out + 32 * happened++, &subscriptions[i], (set[i].revents & POLLHUP) != 0);
    if (happened)
        timeout = 0; /* what is over at once is told beside what is ready */
    for (uint32_t i = 0; i < count; i++)
        if (subscriptions[i].type == CLOCK_EVENT && subscriptions[i].timeout == timeout)
            event(out + 32 * happened++, &subscriptions[i], 0);
    memcpy(result, &happened, 4);
    return DONE(SUCCESS);
}
