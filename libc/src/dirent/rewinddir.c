/* In place of musl's file. */
#include <dirent.h>

void rewinddir(DIR *dir)
{
	seekdir(dir, 0);
}
