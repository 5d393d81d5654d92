/* In place of musl's file: see fork.c. */
