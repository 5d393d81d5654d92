/* What a RUN may do, word by word: each operation is a word and its operands. The first that fails ends the program with
   1. Sockets and files are the POSIX door's, so that modes and owners count. */
#include <door.h>

static int failed(const char *what, int error) {
    if (error >= 0) return 0;
    fprintf(stderr, "%s: error %d\n", what, -error);
    return 1;
}

static int write_file(const char *path, const char *text) {
    int fd = sys_openat(AT_FDCWD, PATH(path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return fd;
    int written = sys_write(fd, text, (int)strlen(text));
    sys_close(fd);
    return written;
}

static int show_file(const char *path) {
    char buffer[4096];
    int fd = sys_openat(AT_FDCWD, PATH(path), O_RDONLY, 0), got;
    if (fd < 0) return fd;
    while ((got = sys_read(fd, buffer, sizeof buffer)) > 0) fwrite(buffer, 1, (size_t)got, stdout);
    sys_close(fd);
    return got;
}

static int bind_socket(const char *path) {
    struct { uint16_t family; char path[108]; } name = {AF_UNIX, ""};
    strncpy(name.path, path, sizeof name.path - 1);
    return sys_bind(sys_socket(AF_UNIX, SOCK_STREAM, 0), &name, sizeof name);
}

static int show_variable(const char *name) {
    char *value = getenv(name);
    printf("%s=%s\n", name, value ? value : "(unset)");
    return 0;
}

static int grab(const char *megabytes) {
    volatile char *memory = malloc((size_t)atoi(megabytes) << 20);
    return memory ? (memory[0] = 1, 0) : -12;
}

static int number(const char *octal) { return (int)strtol(octal, NULL, 8); }

int main(int argc, char **argv) {
    (void)argc;
    sys_umask(022);
    for (char **word = argv + 1; *word; word++) {
        const char *name = *word;
        int error = 0;
#define IS(NAME) !strcmp(name, NAME)
#define NEXT (*++word)
        if (IS("write")) { const char *path = NEXT; error = write_file(path, NEXT); }
        else if (IS("cat")) error = show_file(NEXT);
        else if (IS("mkdir")) { const char *path = NEXT; error = sys_mkdirat(AT_FDCWD, PATH(path), 0755); }
        else if (IS("rm")) { const char *path = NEXT; error = sys_unlinkat(AT_FDCWD, PATH(path), 0); }
        else if (IS("rmdir")) { const char *path = NEXT; error = sys_unlinkat(AT_FDCWD, PATH(path), AT_REMOVEDIR); }
        else if (IS("chmod")) { int mode = number(NEXT); const char *path = NEXT; error = sys_fchmodat(AT_FDCWD, PATH(path), mode, 0); }
        else if (IS("chown")) { int id = number(NEXT); const char *path = NEXT; error = sys_fchownat(AT_FDCWD, PATH(path), id, id, 0); }
        else if (IS("link")) { const char *old = NEXT, *new = NEXT; error = sys_linkat(AT_FDCWD, PATH(old), AT_FDCWD, PATH(new), 0); }
        else if (IS("symlink")) { const char *target = NEXT, *new = NEXT; error = sys_symlinkat(PATH(target), AT_FDCWD, PATH(new)); }
        else if (IS("mkfifo")) { const char *path = NEXT; error = sys_mknodat(AT_FDCWD, PATH(path), 0010644, 0); }
        else if (IS("bind")) error = bind_socket(NEXT);
        else if (IS("env")) error = show_variable(NEXT);
        else if (IS("grab")) error = grab(NEXT);
        else if (IS("error")) fprintf(stderr, "%s\n", NEXT);
        else if (IS("exit")) return atoi(NEXT);
        else if (IS("hang")) for (;;) { struct door_time hour = {3600, 0}; sys_clock_nanosleep(0, 0, &hour, NULL); }
        else if (IS("spin")) for (volatile int turn = 0;; turn++) {}
        else puts(name);
        fflush(stdout);
        if (failed(name, error)) return 1;
    }
    return 0;
}
