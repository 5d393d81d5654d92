/* search.h, setjmp, atomics, variadic and inline things, threads' single-threaded half. */
#include "say.h"

#include <inttypes.h>
#include <pthread.h>
#include <search.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void walk(const void *node, VISIT visit, int depth) {
    if (visit == postorder || visit == leaf) printf("%s at %d\n", *(char *const *)node, depth > 9);
}

static void searching(void) {
    SAY(hcreate(100) != 0);
    static char keys[50][8];
    for (int i = 0; i < 50; i++) {
        sprintf(keys[i], "key%d", i);
        MUST(hsearch((ENTRY){keys[i], (void *)(intptr_t)i}, ENTER));
    }
    ENTRY *found = hsearch((ENTRY){.key = "key37"}, FIND);
    SAY((intptr_t)found->data);
    HOLDS(hsearch((ENTRY){.key = "none"}, FIND) == NULL);
    hdestroy();
    void *tree = NULL;
    const char *words[] = {"pear", "apple", "fig", "cherry", "apple"};
    for (int i = 0; i < 5; i++) tsearch(words[i], &tree, by_text);
    twalk(tree, walk);
    HOLDS(tfind("fig", &tree, by_text) != NULL);
    HOLDS(tdelete("fig", &tree, by_text) != NULL);
    HOLDS(tfind("fig", &tree, by_text) == NULL);
    char table[5][8] = {"b", "a"};
    size_t count = 2;
    TEXT(lfind("a", table, &count, 8, by_text));
    TEXT(lsearch("c", table, &count, 8, by_text));
    SAY(count);
}

static jmp_buf place;

static void fall(int depth) {
    if (depth == 0) longjmp(place, 5);
    if (depth > 0) fall(depth - 1);
}

static void jumps(void) {
    volatile int times = 0;
    int result = setjmp(place);
    times++;
    if (result == 0) fall(100);
    SAY(result);
    SAY(times);
    if ((result = setjmp(place)) == 0) longjmp(place, 0);
    SAY(result);
    for (volatile int i = 0; i < 1000; i++) {
        jmp_buf inner;
        if (setjmp(inner) == 0) longjmp(inner, 1);
        times++;
    }
    SAY(times);
}

static _Thread_local int per_thread = 3;
static int made;
static void make(void) { made++; }
static void *thread(void *argument) { return argument; }
static void forget(void *value) { printf("forgotten %s\n", (char *)value); }

static void threads(void) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_trylock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_trylock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    SAY(pthread_mutex_init(&mutex, &attributes));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&mutex, &attributes);
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_lock(&mutex));
    SAY(pthread_mutex_unlock(&mutex));
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    SAY(pthread_once(&once, make));
    SAY(pthread_once(&once, make));
    SAY(made);
    pthread_key_t key;
    SAY(pthread_key_create(&key, forget));
    SAY(pthread_setspecific(key, "value"));
    TEXT(pthread_getspecific(key));
    SAY(pthread_setspecific(key, NULL));
    SAY(pthread_key_delete(key));
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    SAY(pthread_rwlock_rdlock(&rwlock));
    SAY(pthread_rwlock_trywrlock(&rwlock));
    SAY(pthread_rwlock_unlock(&rwlock));
    SAY(pthread_rwlock_wrlock(&rwlock));
    SAY(pthread_rwlock_unlock(&rwlock));
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    SAY(pthread_cond_signal(&condition));
    SAY(pthread_cond_broadcast(&condition));
    pthread_mutex_init(&mutex, NULL);
    pthread_mutex_lock(&mutex);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = (until.tv_nsec + 10000000) % 1000000000;
    until.tv_sec -= until.tv_nsec < 10000000 ? 0 : 1;
    SAY(pthread_cond_timedwait(&condition, &mutex, &until));
    pthread_t id;
    int error = pthread_create(&id, NULL, thread, NULL);
    HOLDS(error == 0 || error == EAGAIN);
    if (error == 0) pthread_join(id, NULL);
    HOLDS(pthread_equal(pthread_self(), pthread_self()));
    sem_t semaphore;
    SAY(sem_init(&semaphore, 0, 1));
    SAY(sem_wait(&semaphore));
    SAY(sem_trywait(&semaphore));
    SAY(sem_post(&semaphore));
    int value = 0;
    SAY(sem_getvalue(&semaphore, &value));
    SAY(value);
    SAY(per_thread++);
    SAY(per_thread);
    mtx_t plain;
    SAY(mtx_init(&plain, mtx_plain) == thrd_success);
    SAY(mtx_lock(&plain) == thrd_success);
    SAY(mtx_unlock(&plain) == thrd_success);
    pthread_spinlock_t spin;
    SAY(pthread_spin_init(&spin, 0));
    SAY(pthread_spin_lock(&spin));
    SAY(pthread_spin_unlock(&spin));
    SAY(pthread_atfork(NULL, NULL, NULL));
}

static void atomics(void) {
    atomic_int number = 5;
    SAY(atomic_fetch_add(&number, 3));
    SAY(atomic_load(&number));
    int expected = 8;
    SAY(atomic_compare_exchange_strong(&number, &expected, 9));
    SAY(atomic_compare_exchange_strong(&number, &expected, 10));
    SAY(expected);
    _Atomic uint64_t wide = 1ULL << 40;
    SAY(atomic_fetch_or(&wide, 1));
    SAY(atomic_exchange(&wide, 7));
    atomic_flag flag = ATOMIC_FLAG_INIT;
    SAY(atomic_flag_test_and_set(&flag));
    SAY(atomic_flag_test_and_set(&flag));
    atomic_thread_fence(memory_order_seq_cst);
    SAY(__sync_fetch_and_add(&made, 1));
}

int main(void) {
    searching();
    jumps();
    threads();
    atomics();
    return 0;
}
