/* Reading directories, and walking trees. */
#include "say.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static void touch(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void reading(void) {
    mkdir("d", 0755);
    char path[32];
    for (int i = 0; i < 500; i++) {
        snprintf(path, sizeof path, "d/file%03d", i);
        touch(path);
    }
    DIR *directory = opendir("d");
    MUST(directory);
    char *names[600];
    int count = 0;
    long middle = 0;
    char after[256] = "";
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (count == 250) {
            middle = telldir(directory);
        } else if (count == 251) {
            strcpy(after, entry->d_name);
        }
        names[count++] = strdup(entry->d_name);
    }
    SAY(count);
    qsort(names, count, sizeof *names, by_name);
    printf("%s %s %s %s\n", names[0], names[1], names[2], names[501]);
    seekdir(directory, middle);
    HOLDS(strcmp(readdir(directory)->d_name, after) == 0);
    rewinddir(directory);
    count = 0;
    while (readdir(directory)) count++;
    SAY(count);
    SAY(closedir(directory));
    REFUSED(opendir("none") == NULL);
    REFUSED(opendir("d/file001") == NULL);
}

static void kinds(void) {
    mkdir("k", 0755);
    mkdir("k/dir", 0755);
    touch("k/file");
    symlink("file", "k/link");
    mkfifo("k/fifo", 0644);
    int fd = open("k", O_RDONLY | O_DIRECTORY);
    DIR *directory = fdopendir(fd);
    SAY(dirfd(directory) == fd);
    int seen[16] = {0};
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat stat;
        MUST(fstatat(fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0);
        if (entry->d_type != DT_UNKNOWN && DTTOIF(entry->d_type) != (int)(stat.st_mode & S_IFMT))
            printf("%s is of another kind\n", entry->d_name);
        if (strcmp(entry->d_name, "..") && entry->d_ino != stat.st_ino)
            printf("%s has another inode\n", entry->d_name);
        seen[IFTODT(stat.st_mode)]++;
    }
    printf("%d %d %d %d\n", seen[DT_DIR], seen[DT_REG], seen[DT_LNK], seen[DT_FIFO]);
    closedir(directory);
    SAY(fcntl(fd, F_GETFD));
}

/* Removing while reading, as rm -r does. */
static void removing(void) {
    DIR *directory = opendir("d");
    int removed = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') removed += unlinkat(dirfd(directory), entry->d_name, 0) == 0;
    closedir(directory);
    SAY(removed);
    SAY(rmdir("d"));
}

static int choose(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int visit(const char *path, const struct stat *stat, int kind, struct FTW *ftw) {
    if (kind == FTW_DP || kind == FTW_SL || kind == FTW_F)
        printf("%s %s level %d base %s\n", path, kind == FTW_DP ? "left" : "met", ftw->level,
               path + ftw->base);
    return 0;
}

static int stop(const char *path, const struct stat *stat, int kind) {
    return strcmp(path, "t/a") == 0 ? 42 : 0;
}

static void walking(void) {
    mkdir("t", 0755);
    mkdir("t/a", 0755);
    touch("t/a/file");
    struct dirent **list;
    int count = scandir("k", &list, choose, alphasort);
    for (int i = 0; i < count; i++) {
        puts(list[i]->d_name);
        free(list[i]);
    }
    free(list);
    SAY(nftw("t", visit, 10, FTW_DEPTH | FTW_PHYS));
    SAY(ftw("t", stop, 10));
    SAY(nftw("none", visit, 10, 0));
}

int main(void) {
    umask(022);
    reading();
    kinds();
    removing();
    walking();
    return 0;
}
