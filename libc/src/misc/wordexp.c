/* musl's file, with a vfork for its fork: all that the child does is to run the shell. */
#include <unistd.h>
#define fork vfork
#include "upstream/wordexp.c"
