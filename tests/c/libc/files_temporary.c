/* Temporary files and directories; writing beside and moving into place. */
#include "say.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    char name[] = "tmpXXXXXX", other[] = "tmpXXXXXX";
    struct stat stat_;
    int fd = mkstemp(name);
    MUST(fd >= 0);
    HOLDS(strncmp(name, "tmp", 3) == 0 && strcmp(name, "tmpXXXXXX") != 0);
    SAY(fstat(fd, &stat_));
    printf("%o\n", stat_.st_mode & 07777);
    SAY(fcntl(fd, F_GETFL) & O_ACCMODE);
    int second = mkstemp(other);
    HOLDS(strcmp(name, other) != 0);
    close(second);
    SAY(mkstemp((char[]){"wrong"}));
    char suffixed[] = "tmpXXXXXX.txt";
    fd = mkstemps(suffixed, 4);
    HOLDS(fd >= 0 && strcmp(suffixed + 9, ".txt") == 0);
    char folder[] = "dirXXXXXX";
    HOLDS(mkdtemp(folder) == folder);
    SAY(stat(folder, &stat_));
    printf("%o\n", stat_.st_mode & 07777);
    char cloexec[] = "tmpXXXXXX";
    fd = mkostemp(cloexec, O_CLOEXEC);
    SAY(fcntl(fd, F_GETFD));
    FILE *file = tmpfile();
    MUST(file);
    fputs("kept", file);
    rewind(file);
    char text[8];
    TEXT(fgets(text, sizeof text, file));
    SAY(fclose(file));
    FILE *made = fopen(name, "w");
    fputs("new content", made);
    fclose(made);
    SAY(rename(name, "place"));
    SAY(stat("place", &stat_));
    SAY(stat_.st_size);
    fd = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0) close(fd);
    HOLDS(fd >= 0 || errno == EOPNOTSUPP || errno == EISDIR);
    return 0;
}
