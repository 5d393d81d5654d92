/* What programs made for threads use before they start any: locks, conditions, semaphores, keys, and the end of
   the first thread. And messages by the dozen, and system calls by number. */
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec soon(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    time.tv_nsec += 20000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

static void mutexes(void) {
    pthread_mutexattr_t kind;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&kind);
    SAY(pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE));
    SAY(pthread_mutex_init(&mutex, &kind));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_unlock(&mutex) == EPERM);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&mutex, &kind);
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_lock(&mutex) == EDEADLK);
    pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&plain);
    SAY(pthread_mutex_trylock(&plain) == EBUSY);
    struct timespec time = soon(CLOCK_REALTIME);
    SAY(pthread_mutex_timedlock(&plain, &time) == ETIMEDOUT);
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    time = soon(CLOCK_REALTIME);
    SAY(pthread_cond_timedwait(&condition, &plain, &time) == ETIMEDOUT);
    SAY(pthread_cond_signal(&condition));
    pthread_rwlock_t both = PTHREAD_RWLOCK_INITIALIZER;
    SAY(pthread_rwlock_rdlock(&both));
    SAY(pthread_rwlock_rdlock(&both));
    SAY(pthread_rwlock_trywrlock(&both) == EBUSY);
}

static void semaphores(void) {
    sem_t semaphore;
    int value;
    SAY(sem_init(&semaphore, 0, 2));
    SAY(sem_wait(&semaphore));
    SAY(sem_trywait(&semaphore));
    SAY(sem_trywait(&semaphore));
    struct timespec time = soon(CLOCK_REALTIME);
    SAY(sem_timedwait(&semaphore, &time));
    SAY(sem_post(&semaphore));
    SAY(sem_getvalue(&semaphore, &value));
    SAY(value);
}

static void messages(void) {
    int ends[2];
    char first[8], second[8];
    struct iovec out[2] = {{"one", 3}, {"three", 5}}, in[2] = {{first, 8}, {second, 8}};
    struct mmsghdr sent[2] = {{{.msg_iov = &out[0], .msg_iovlen = 1}}, {{.msg_iov = &out[1], .msg_iovlen = 1}}};
    struct mmsghdr got[3] = {{{.msg_iov = &in[0], .msg_iovlen = 1}}, {{.msg_iov = &in[1], .msg_iovlen = 1}},
                             {{.msg_iov = &in[0], .msg_iovlen = 1}}};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
    SAY(sendmmsg(ends[0], sent, 2, 0));
    SAY(sent[1].msg_len);
    SAY(recvmmsg(ends[1], got, 3, MSG_WAITFORONE, NULL));
    SAY(got[0].msg_len);
    SAY(memcmp(second, "three", 5));
    SAY(recvmmsg(ends[1], got, 1, MSG_DONTWAIT, NULL));
}

static void by_number(void) {
    char bytes[8];
    SAY(syscall(SYS_getpid) == getpid());
    SAY(syscall(SYS_gettid) == getpid());
    SAY(syscall(SYS_getrandom, bytes, sizeof bytes, 0));
    SAY(syscall(SYS_openat, AT_FDCWD, "/missing", O_RDONLY));
    SAY(syscall(1 << 20));
}

static void cleanup(void *name) {
    printf("cleanup %s\n", (char *)name);
}

static void destroy(void *name) {
    printf("destroy %s\n", (char *)name);
}

static void last(void) {
    puts("atexit");
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    mutexes();
    semaphores();
    messages();
    by_number();
    pthread_key_t key;
    SAY(pthread_key_create(&key, destroy));
    SAY(pthread_setspecific(key, "key"));
    SAY(strcmp(pthread_getspecific(key), "key"));
    SAY(pthread_equal(pthread_self(), pthread_self()) != 0);
    atexit(last);
    pthread_cleanup_push(cleanup, "outer");
    pthread_cleanup_push(cleanup, "inner");
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
}
