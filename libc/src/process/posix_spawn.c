/* In place of musl's file: the door's spawn does everything in one call. */
#define _GNU_SOURCE
#include <spawn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "syscall.h"
#include "fdop.h"

enum { CLOSE, DUP2, OPEN, CHDIR, FCHDIR };

struct door_action {
	unsigned kind, fd;
	union {
		unsigned target;
		struct { const char *path; unsigned length, flags, mode; } open;
	};
};

struct door_attributes {
	unsigned flags, group;
	unsigned long long defaults, mask;
};

static struct door_action action_of(const struct fdop *op)
{
	struct door_action action = { .fd = op->fd };
	switch (op->cmd) {
	case FDOP_CLOSE: action.kind = CLOSE; break;
	case FDOP_DUP2: action.kind = DUP2; action.fd = op->srcfd; action.target = op->fd; break;
	case FDOP_FCHDIR: action.kind = FCHDIR; break;
	case FDOP_CHDIR: action.kind = CHDIR; break;
	case FDOP_OPEN: action.kind = OPEN; break;
	}
	if (op->cmd == FDOP_OPEN || op->cmd == FDOP_CHDIR) {
		action.open.path = op->path;
		action.open.length = strlen(op->path);
		action.open.flags = op->oflag & ~O_LARGEFILE;
		action.open.mode = op->mode;
	}
	return action;
}

/* chdir's path lies where dup2's target does: the door's words after `fd` depend on the kind. */
int posix_spawn(pid_t *restrict res, const char *restrict path, const posix_spawn_file_actions_t *fa,
	const posix_spawnattr_t *restrict attr, char *const argv[restrict], char *const envp[restrict])
{
	struct door_action few[8], *actions = few;
	struct door_attributes attributes = { 0 };
	const struct fdop *op, *last = 0;
	int count = 0;
	for (op = fa ? fa->__actions : 0; op; op = op->next) last = op, count++;
	if (count > 8 && !(actions = malloc(count * sizeof *actions))) return ENOMEM;
	count = 0;
	for (op = last; op; op = op->prev) actions[count++] = action_of(op);
	if (attr) {
		/* The scheduler's part is not ours to set, as on musl. */
		attributes.flags = attr->__flags & ~(POSIX_SPAWN_SETSCHEDPARAM|POSIX_SPAWN_SETSCHEDULER|POSIX_SPAWN_USEVFORK);
		attributes.group = attr->__pgrp;
		memcpy(&attributes.defaults, &attr->__def, sizeof attributes.defaults);
		memcpy(&attributes.mask, &attr->__mask, sizeof attributes.mask);
	}
	int r = door_spawn(path, strlen(path), argv, envp, actions, count, &attributes);
	if (actions != few) free(actions);
	if (r < 0) return -r;
	if (res) *res = r;
	return 0;
}
