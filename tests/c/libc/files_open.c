/* open's flags, reading and writing at places, sizes. */
#include "say.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void show(const char *path) {
    char data[64];
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, data, sizeof data);
    printf("%s: %zd [", path, length);
    for (ssize_t i = 0; i < length; i++) printf(data[i] ? "%c" : "\\0", data[i]);
    puts("]");
    close(fd);
}

static void flags(void) {
    SAY(open("none", O_RDONLY));
    SAY(open("none/below", O_RDONLY | O_CREAT, 0644));
    SAY(open("", O_RDONLY));
    int fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0640);
    SAY(fd);
    SAY(open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    SAY(write(fd, "hello", 5));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(lseek(fd, -2, SEEK_END));
    SAY(lseek(fd, -10, SEEK_SET));
    SAY(lseek(fd, 0, 77));
    SAY(read(fd, (char[9]){0}, 9));
    SAY(read(fd, (char[9]){0}, 9));
    SAY(close(fd));
    SAY(close(fd));
    SAY(read(fd, &fd, 1));
    fd = open("a", O_RDONLY | O_CLOEXEC);
    SAY(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    SAY(write(fd, "x", 1));
    close(fd);
    fd = open("a", O_WRONLY | O_APPEND);
    SAY(read(fd, &(char){0}, 1));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(write(fd, " you", 4));
    SAY(lseek(fd, 0, SEEK_CUR));
    SAY(fcntl(fd, F_SETFL, 0));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(write(fd, "HE", 2));
    close(fd);
    show("a");
    fd = open("a", O_WRONLY | O_TRUNC);
    close(fd);
    show("a");
    SAY(mkdir("d", 0755));
    SAY(open("d", O_WRONLY));
    SAY(open("a", O_RDONLY | O_DIRECTORY));
    fd = open("d", O_RDONLY | O_DIRECTORY);
    SAY(read(fd, &(char){0}, 1));
    int inner = openat(fd, "inner", O_CREAT | O_WRONLY, 0600);
    SAY(inner >= 0);
    close(inner);
    SAY(faccessat(AT_FDCWD, "d/inner", R_OK, 0));
    close(fd);
    SAY(symlink("a", "link"));
    SAY(open("link", O_RDONLY | O_NOFOLLOW));
    SAY(symlink("created", "dangling"));
    SAY(close(open("dangling", O_CREAT | O_WRONLY, 0644)));
    SAY(access("created", F_OK));
    SAY(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0644));
    SAY(creat("made", 0644) >= 0);
    SAY(open("a/", O_RDONLY));
    fd = open("a", O_PATH);
    SAY(read(fd, &(char){0}, 1));
    close(fd);
}

static void places(void) {
    int fd = open("p", O_RDWR | O_CREAT, 0644);
    SAY(pwrite(fd, "world", 5, 6));
    SAY(pwrite(fd, "hello", 5, 0));
    SAY(lseek(fd, 0, SEEK_CUR));
    char data[16] = "";
    SAY(pread(fd, data, 5, 6));
    TEXT(data);
    SAY(pread(fd, data, 5, 100));
    SAY(pread(fd, data, 5, -1));
    struct iovec parts[2] = {{data, 3}, {data + 4, 8}};
    data[3] = '|';
    SAY(readv(fd, parts, 2));
    SAY(data[0]);
    parts[0] = (struct iovec){"AB", 2};
    parts[1] = (struct iovec){"CDE", 3};
    SAY(writev(fd, parts, 2));
    SAY(pwritev(fd, parts, 2, 1));
    SAY(preadv(fd, (struct iovec[]){{data, 4}}, 1, 0));
    show("p");
    SAY(lseek(fd, 5000, SEEK_SET));
    SAY(write(fd, "far", 3));
    struct stat stat;
    SAY(fstat(fd, &stat));
    SAY(stat.st_size);
    SAY(ftruncate(fd, 3));
    show("p");
    SAY(ftruncate(fd, 6));
    show("p");
    SAY(ftruncate(fd, -1));
    SAY(truncate("p", 1));
    SAY(truncate("none", 1));
    SAY(truncate("d", 1));
    SAY(posix_fallocate(fd, 0, 100));
    SAY(fstat(fd, &stat));
    SAY(stat.st_size);
    SAY(fallocate(fd, 0, 100, 100));
    SAY(lseek(fd, 0, SEEK_END));
    SAY(fsync(fd));
    SAY(fdatasync(fd));
    SAY(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    SAY(ioctl(fd, FIOCLEX));
    SAY(fcntl(fd, F_GETFD));
    int waiting = -1;
    SAY(pwrite(fd, "1234", 4, 0));
    SAY(ftruncate(fd, 4));
    SAY(lseek(fd, 1, SEEK_SET));
    SAY(ioctl(fd, FIONREAD, &waiting));
    SAY(waiting);
    close(fd);
}

static void numbers(void) {
    int fd = open("n", O_RDWR | O_CREAT, 0644);
    int second = dup(fd);
    SAY(second - fd);
    SAY(write(fd, "shared", 6));
    SAY(lseek(second, 0, SEEK_CUR));
    SAY(dup2(fd, 20));
    SAY(dup2(fd, fd) == fd);
    SAY(dup2(99, 5));
    SAY(dup3(fd, fd, 0));
    SAY(dup3(fd, 21, O_CLOEXEC));
    SAY(fcntl(21, F_GETFD));
    SAY(fcntl(fd, F_DUPFD, 30));
    SAY(fcntl(fd, F_DUPFD_CLOEXEC, 30));
    SAY(fcntl(31, F_GETFD));
    SAY(fcntl(31, F_SETFD, 0));
    SAY(fcntl(31, F_GETFD));
    SAY(fcntl(fd, F_DUPFD, -1));
    SAY(fcntl(99, F_GETFL));
    SAY(close(second));
    SAY(write(fd, "!", 1));
    SAY(dup2(20, 500));
    off_t from = 0;
    int out = open("o", O_RDWR | O_CREAT, 0644);
    SAY(sendfile(out, fd, &from, 100));
    SAY(from);
    show("o");
    loff_t here = 0, there = 3;
    SAY(copy_file_range(fd, &here, out, &there, 4, 0));
    show("o");
}

int main(void) {
    flags();
    places();
    numbers();
    return 0;
}
