/* Streams: modes, positions, buffers, errors, memory streams. */
#include "say.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void show(const char *path) {
    char data[256];
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("%s: errno %d\n", path, errno);
        return;
    }
    size_t length = fread(data, 1, sizeof data - 1, file);
    data[length] = 0;
    printf("%s: %zu [%s]\n", path, length, data);
    fclose(file);
}

static void modes(void) {
    REFUSED(fopen("missing", "r") == NULL);
    FILE *file = fopen("a", "w");
    SAY(fputs("one\n", file) >= 0);
    SAY(fprintf(file, "%d\n", 2));
    SAY(fread(&(char){0}, 1, 1, file));
    SAY(ferror(file) != 0);
    clearerr(file);
    SAY(ferror(file));
    SAY(fclose(file));
    show("a");
    file = fopen("a", "a+");
    fputs("three\n", file);
    rewind(file);
    SAY(fgetc(file));
    fseek(file, 0, SEEK_SET);
    fputs("end\n", file);
    SAY(ftell(file));
    fclose(file);
    show("a");
    file = fopen("a", "r+");
    fputs("ONE", file);
    fseeko(file, 4, SEEK_SET);
    SAY(fgetc(file));
    fclose(file);
    show("a");
    REFUSED(fopen("a", "wx") == NULL);
    file = fopen("b", "we");
    SAY(fcntl(fileno(file), F_GETFD));
    file = freopen("c", "w", file);
    fputs("reopened", file);
    fclose(file);
    show("b");
    show("c");
    SAY(remove("b"));
    SAY(remove("b"));
    SAY(mkdir("d", 0755));
    SAY(remove("d"));
    REFUSED(fopen("a", "q") == NULL);
}

static void buffers(void) {
    FILE *file = fopen("a", "w");
    struct stat stat;
    fputs("kept back", file);
    fstat(fileno(file), &stat);
    SAY(stat.st_size);
    SAY(fflush(file));
    fstat(fileno(file), &stat);
    SAY(stat.st_size);
    fclose(file);
    file = fopen("a", "w");
    SAY(setvbuf(file, NULL, _IONBF, 0));
    fputs("direct", file);
    fstat(fileno(file), &stat);
    SAY(stat.st_size);
    fclose(file);
    file = fopen("a", "w");
    char own[128];
    SAY(setvbuf(file, own, _IOLBF, sizeof own));
    fputs("line\npart", file);
    fstat(fileno(file), &stat);
    HOLDS(stat.st_size >= 5);
    fclose(file);
    show("a");
    file = fopen("big", "w+");
    for (int i = 0; i < 20000; i++) fprintf(file, "%d\n", i);
    SAY(ftello(file));
    fpos_t position;
    rewind(file);
    int number = 0, last = -1;
    while (fscanf(file, "%d", &number) == 1) last = number;
    SAY(last);
    fseek(file, 5000, SEEK_SET);
    fgetpos(file, &position);
    int before = fgetc(file);
    fsetpos(file, &position);
    HOLDS(before == fgetc(file));
    SAY(fseek(file, -1, SEEK_SET));
    fclose(file);
    SAY(truncate("big", 3));
    show("big");
}

static void memory(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    fprintf(file, "%s %d", "made in memory", 1);
    fflush(file);
    printf("%zu %s\n", size, text);
    fputc('!', file);
    fclose(file);
    TEXT(text);
    free(text);
    char data[] = "line 1\nline 2\n";
    file = fmemopen(data, sizeof data - 1, "r");
    char line[32];
    while (fgets(line, sizeof line, file)) printf("[%.6s]\n", line);
    fclose(file);
}

static void descriptors(void) {
    int fd = open("raw", O_RDWR | O_CREAT | O_TRUNC, 0644);
    SAY(dprintf(fd, "%s\n", "by number"));
    FILE *file = fdopen(fd, "r+");
    rewind(file);
    char line[32];
    TEXT(fgets(line, sizeof line, file));
    SAY(fileno(file) == fd);
    SAY(fclose(file));
    SAY(close(fd));
    SAY(fwrite("12345678", 2, 4, stdout));
    putchar('\n');
    HOLDS(puts("a line") >= 0);
    fflush(stdout);
    file = fopen("/dev/full", "w");
    if (file) {
        fputs("lost", file);
        SAY(fclose(file));
    }
    file = fopen("/dev/null", "w+");
    SAY(fputs("gone", file) >= 0);
    rewind(file);
    SAY(fgetc(file));
    fclose(file);
    fclose(stdin);
    SAY(open("raw", O_RDONLY));
    errno = EACCES;
    perror("to stderr");
}

int main(void) {
    modes();
    buffers();
    memory();
    descriptors();
    return 0;
}
