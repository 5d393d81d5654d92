/* In place of musl's file: a program has no segments in memory to list. */
