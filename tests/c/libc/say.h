/* What the programs of this directory print: one line a fact, the same on every Linux. */
#ifndef SAY_H
#define SAY_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call with a whole number for an answer; -1 shows errno too. Flushed, for children write too. */
#define SAY(call)                                                      \
    do {                                                               \
        errno = 0;                                                     \
        long long answer_ = (long long)(call);                         \
        int error_ = errno;                                            \
        if (answer_ == -1 && error_) printf("%s: errno %d\n", #call, error_); \
        else printf("%s: %lld\n", #call, answer_);                     \
        fflush(stdout);                                                \
    } while (0)

/* Something that is true or not, such as a pointer. */
#define HOLDS(condition)                                               \
    do {                                                               \
        printf("%s: %s\n", #condition, (condition) ? "yes" : "no");    \
        fflush(stdout);                                                \
    } while (0)

/* The same, and the errno that it left. */
#define REFUSED(condition)                                             \
    do {                                                               \
        errno = 0;                                                     \
        int held_ = (condition);                                       \
        printf("%s: %s, errno %d\n", #condition, held_ ? "yes" : "no", errno); \
        fflush(stdout);                                                \
    } while (0)

/* A text. */
#define TEXT(call)                                                     \
    do {                                                               \
        const char *text_ = (call);                                    \
        printf("%s: %s\n", #call, text_ ? text_ : "(none)");           \
        fflush(stdout);                                                \
    } while (0)

/* For what must not fail, or nothing that follows means anything. */
#define MUST(condition)                                                \
    do {                                                               \
        if (!(condition)) {                                            \
            printf("%s:%d: %s: errno %d\n", __FILE__, __LINE__, #condition, errno); \
            exit(99);                                                  \
        }                                                              \
    } while (0)

#endif
