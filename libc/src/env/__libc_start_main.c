/* In place of musl's file: crt/crt1.c starts programs. */
