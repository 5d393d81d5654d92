/* In place of musl's file: nothing of it is needed with one thread. */
