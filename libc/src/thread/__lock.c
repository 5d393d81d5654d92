/* In place of musl's file: the locks of the library's own data, which one thread never meets taken. */
#include <features.h>
#include "lock.h"

void __lock(volatile int *l)
{
}

void __unlock(volatile int *l)
{
}
