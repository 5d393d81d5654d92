/* Names: making, moving, linking, removing; the working directory. */
#include "say.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static void touch(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static void moving(void) {
    touch("a");
    touch("b");
    SAY(rename("a", "c"));
    SAY(access("a", F_OK));
    SAY(rename("c", "b"));
    SAY(rename("none", "x"));
    SAY(mkdir("d", 0755));
    SAY(mkdir("d", 0755));
    SAY(mkdir("none/d", 0755));
    SAY(rename("b", "d"));
    SAY(rename("d", "b"));
    SAY(mkdir("e", 0755));
    SAY(rename("d", "e"));
    SAY(mkdir("e/f", 0755));
    SAY(rename("e", "e/f/g"));
    mkdir("full", 0755);
    touch("full/x");
    SAY(rename("e", "full"));
    SAY(renameat(AT_FDCWD, "b", AT_FDCWD, "e/b"));
    SAY(rename("e/b", "e/b"));
    SAY(rmdir("full"));
    SAY(rmdir("e/b"));
    SAY(unlink("full") < 0);
    SAY(unlink("full/x"));
    SAY(rmdir("full"));
    SAY(rmdir("none"));
    SAY(unlink("none"));
    SAY(rmdir("."));
    int fd = open("e", O_RDONLY);
    SAY(unlinkat(fd, "b", 0));
    SAY(unlinkat(fd, "f", AT_REMOVEDIR));
    SAY(mkdirat(fd, "again", 0700));
    close(fd);
    touch("open");
    fd = open("open", O_RDWR);
    SAY(unlink("open"));
    SAY(write(fd, "still", 5));
    struct stat stat;
    SAY(fstat(fd, &stat));
    SAY(stat.st_nlink);
    close(fd);
}

static void linking(void) {
    touch("one");
    SAY(link("one", "two"));
    struct stat first, second;
    SAY(stat("one", &first));
    SAY(stat("two", &second));
    SAY(first.st_nlink);
    SAY(first.st_ino == second.st_ino && first.st_dev == second.st_dev);
    SAY(link("one", "two"));
    SAY(link("none", "three"));
    SAY(link("e", "dir") < 0);
    SAY(symlink("one", "soft"));
    SAY(symlink("one", "soft"));
    SAY(symlink("", "empty"));
    char target[16] = "";
    SAY(readlink("soft", target, sizeof target));
    TEXT(target);
    SAY(readlink("soft", target, 2));
    SAY(readlink("one", target, sizeof target));
    SAY(lstat("soft", &first));
    SAY(S_ISLNK(first.st_mode));
    SAY(first.st_size);
    SAY(stat("soft", &first));
    SAY(S_ISREG(first.st_mode));
    symlink("loop", "loop");
    SAY(stat("loop", &first));
    SAY(symlinkat("../one", AT_FDCWD, "e/up"));
    SAY(stat("e/up", &first));
    SAY(linkat(AT_FDCWD, "soft", AT_FDCWD, "hard", AT_SYMLINK_FOLLOW));
    SAY(lstat("hard", &first));
    SAY(S_ISREG(first.st_mode));
    char long_name[300];
    memset(long_name, 'n', sizeof long_name);
    long_name[299] = 0;
    SAY(open(long_name, O_CREAT | O_WRONLY, 0644));
    SAY(stat("one/below", &first));
}

static void working_directory(void) {
    char before[PATH_MAX], after[PATH_MAX];
    HOLDS(getcwd(before, sizeof before) == before);
    SAY(chdir("e"));
    HOLDS(getcwd(after, sizeof after) == after);
    TEXT(after + strlen(before) + (before[1] == 0 ? -1 : 0));
    REFUSED(getcwd(after, 1) == NULL);
    char *made = getcwd(NULL, 0);
    HOLDS(made && strlen(made) > 1);
    free(made);
    SAY(access("up", F_OK));
    SAY(chdir("none"));
    SAY(chdir("up"));
    int fd = open("..", O_RDONLY | O_DIRECTORY);
    SAY(fchdir(fd));
    close(fd);
    HOLDS(getcwd(after, sizeof after) && strcmp(after, before) == 0);
    char *real = realpath("e/../e/./up", NULL);
    MUST(real);
    TEXT(strrchr(real, '/'));
    free(real);
    REFUSED(realpath("none/x", NULL) == NULL);
    char one[] = "/usr/lib/", two[] = "/usr/lib/";
    TEXT(basename(one));
    TEXT(dirname(two));
    SAY(pathconf(".", _PC_NAME_MAX));
    SAY(pathconf(".", _PC_PATH_MAX));
}

int main(void) {
    umask(022);
    moving();
    linking();
    working_directory();
    return 0;
}
