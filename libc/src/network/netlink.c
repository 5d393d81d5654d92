/* In place of musl's file: the door has no netlink. */
