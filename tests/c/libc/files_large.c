/* Sizes and offsets beyond 32 bits, in a file with a hole. */
#include "say.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    struct stat stat_;
    int fd = open("large", O_RDWR | O_CREAT, 0644);
    SAY(lseek(fd, 5000000000LL, SEEK_SET));
    SAY(write(fd, "far", 3));
    SAY(fstat(fd, &stat_));
    SAY(stat_.st_size);
    char data[4] = "";
    SAY(pread(fd, data, 3, 5000000000LL));
    TEXT(data);
    SAY(pread(fd, data, 1, 4999999999LL));
    SAY(data[0]);
    SAY(pwrite(fd, "further", 7, 6000000000LL));
    SAY(ftruncate(fd, 7000000000LL));
    SAY(lseek(fd, -1, SEEK_END));
    close(fd);
    FILE *file = fopen("large", "r");
    SAY(fseeko(file, 6000000000LL, SEEK_SET));
    SAY(fgetc(file));
    SAY(ftello(file));
    fclose(file);
    SAY(truncate("large", 4294967297LL));
    SAY(stat("large", &stat_));
    SAY(stat_.st_size);
    return 0;
}
