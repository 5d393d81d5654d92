/* errno's numbers and texts are Linux's. */
#include "say.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ERROR(name) printf("%s %d %s\n", #name, name, strerror(name))
#define NUMBER(name) printf("%s %lld\n", #name, (long long)(name))

static void numbers(void) {
    ERROR(EPERM);
    ERROR(ENOENT);
    ERROR(ESRCH);
    ERROR(EINTR);
    NUMBER(EIO);
    NUMBER(ENXIO);
    NUMBER(E2BIG);
    NUMBER(ENOEXEC);
    ERROR(EBADF);
    NUMBER(ECHILD);
    ERROR(EAGAIN);
    NUMBER(EWOULDBLOCK);
    NUMBER(ENOMEM);
    ERROR(EACCES);
    NUMBER(EFAULT);
    NUMBER(EBUSY);
    ERROR(EEXIST);
    NUMBER(EXDEV);
    ERROR(ENOTDIR);
    ERROR(EISDIR);
    ERROR(EINVAL);
    NUMBER(ENFILE);
    NUMBER(EMFILE);
    NUMBER(ENOTTY);
    ERROR(EFBIG);
    ERROR(ENOSPC);
    NUMBER(ESPIPE);
    ERROR(EROFS);
    ERROR(EPIPE);
    NUMBER(EDOM);
    NUMBER(ERANGE);
    NUMBER(EDEADLK);
    NUMBER(ENAMETOOLONG);
    NUMBER(ENOSYS);
    ERROR(ENOTEMPTY);
    NUMBER(ELOOP);
    NUMBER(EILSEQ);
    NUMBER(EOVERFLOW);
    NUMBER(ENOTSOCK);
    NUMBER(EMSGSIZE);
    NUMBER(EOPNOTSUPP);
    NUMBER(ENOTSUP);
    NUMBER(EAFNOSUPPORT);
    NUMBER(EADDRINUSE);
    NUMBER(EADDRNOTAVAIL);
    NUMBER(ENETUNREACH);
    ERROR(ECONNREFUSED);
    NUMBER(ECONNRESET);
    NUMBER(EISCONN);
    NUMBER(ENOTCONN);
    NUMBER(ETIMEDOUT);
    NUMBER(EALREADY);
    NUMBER(EINPROGRESS);
    NUMBER(ESTALE);
    NUMBER(ECANCELED);
}

static void constants(void) {
    NUMBER(O_RDONLY);
    NUMBER(O_WRONLY);
    NUMBER(O_RDWR);
    NUMBER(O_CREAT);
    NUMBER(O_EXCL);
    NUMBER(O_TRUNC);
    NUMBER(O_APPEND);
    NUMBER(O_NONBLOCK);
    NUMBER(O_CLOEXEC);
    NUMBER(AT_FDCWD);
    NUMBER(F_SETFL);
    NUMBER(S_IFMT);
    NUMBER(S_IFSOCK);
    NUMBER(AF_UNIX);
    NUMBER(AF_INET);
    NUMBER(AF_INET6);
    NUMBER(SOCK_STREAM);
    NUMBER(SOCK_DGRAM);
    NUMBER(SOCK_CLOEXEC);
    NUMBER(SOL_SOCKET);
    NUMBER(SO_REUSEADDR);
    NUMBER(SO_ERROR);
    NUMBER(MSG_PEEK);
    NUMBER(MSG_NOSIGNAL);
    NUMBER(POLLIN);
    NUMBER(POLLOUT);
    NUMBER(POLLHUP);
    NUMBER(TIOCGWINSZ);
    NUMBER(FIONREAD);
    NUMBER(ECHO);
    NUMBER(ICANON);
    NUMBER(WNOHANG);
    NUMBER(DT_DIR);
    NUMBER(SEEK_END);
    NUMBER(SA_RESTART);
    NUMBER(SIG_SETMASK);
    NUMBER(sizeof(((struct dirent *)0)->d_name));
    NUMBER(BUFSIZ > 0);
    NUMBER(sizeof(off_t));
    NUMBER(sizeof(ino_t));
    NUMBER(sizeof(time_t));
    NUMBER(sizeof(fd_set));
    NUMBER(sizeof(struct termios));
}

int main(void) {
    numbers();
    constants();
    HOLDS(strlen(strerror(12345)) > 0);
    return 0;
}
