/* On a terminal: settings, size, groups. It asks for a line by "type". */
#include "say.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int main(void) {
    SAY(isatty(0));
    SAY(isatty(1));
    HOLDS(ttyname(0) != NULL);
    struct termios before, now;
    SAY(tcgetattr(0, &before));
    HOLDS(before.c_lflag & ICANON);
    HOLDS(before.c_lflag & ISIG);
    SAY(before.c_cc[VINTR]);
    SAY(before.c_cc[VEOF]);
    now = before;
    now.c_lflag &= ~(ECHO | ICANON);
    now.c_cc[VMIN] = 0;
    now.c_cc[VTIME] = 1;
    SAY(tcsetattr(0, TCSANOW, &now));
    SAY(read(0, &(char){0}, 1));
    struct termios found;
    SAY(tcgetattr(0, &found));
    SAY((found.c_lflag & (ECHO | ICANON)) == 0);
    SAY(tcsetattr(0, TCSADRAIN, &before));
    SAY(tcflush(0, TCIFLUSH));
    struct winsize size = {0};
    SAY(ioctl(1, TIOCGWINSZ, &size));
    printf("%d rows %d columns\n", size.ws_row, size.ws_col);
    SAY(tcgetpgrp(0) == getpgrp());
    SAY(tcgetsid(0) == getsid(0));
    SAY(open("/dev/tty", O_RDWR) >= 0);
    puts("type");
    fflush(stdout);
    char line[32];
    TEXT(fgets(line, sizeof line, stdin));
    return 0;
}
