/* A small tool, as basename(1): writes its argument's last component to standard error. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 1;
    char *name = strrchr(argv[1], '/');
    name = name ? name + 1 : argv[1];
    size_t length = strlen(name);
    name[length] = '\n';
    return write(2, name, length + 1) != (ssize_t)length + 1;
}
