/* What SYS_fstat and SYS_newfstatat fill (src/door/stat.c). */
#include <sys/stat.h>
#define kstat stat
