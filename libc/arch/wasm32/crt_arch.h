/* Nothing: crt/crt1.c is C. */
