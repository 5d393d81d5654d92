/* The machine, its limits and its users. */
#include "say.h"

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

static void machine(void) {
    struct utsname names;
    SAY(uname(&names));
    TEXT(names.sysname);
    HOLDS(*names.nodename && *names.release && *names.version && *names.machine);
    char host[100];
    SAY(gethostname(host, sizeof host));
    HOLDS(strcmp(host, names.nodename) == 0);
    struct sysinfo info;
    SAY(sysinfo(&info));
    HOLDS(info.uptime > 0 && info.totalram > 0 && info.mem_unit > 0);
    HOLDS(get_nprocs() >= 1);
    struct rlimit limit;
    SAY(getrlimit(RLIMIT_NOFILE, &limit));
    HOLDS(limit.rlim_cur >= 64 && limit.rlim_cur <= limit.rlim_max);
    SAY(getrlimit(RLIMIT_STACK, &limit));
    HOLDS(limit.rlim_cur >= 65536);
    SAY(getrlimit(RLIMIT_CORE, &limit));
    SAY(getrlimit(99, &limit));
    HOLDS(getdtablesize() >= 64);
    unsigned char one[16] = {0}, two[16] = {0};
    SAY(getrandom(one, sizeof one, 0));
    SAY(getentropy(two, sizeof two));
    HOLDS(memcmp(one, two, sizeof one) != 0);
    SAY(sched_yield());
    double load[3];
    HOLDS(getloadavg(load, 3) == 3 && load[0] >= 0);
    SAY(nice(0));
}

static void users(void) {
    SAY(getuid() == geteuid());
    SAY(getgid() == getegid());
    struct passwd *user = getpwuid(0);
    MUST(user);
    TEXT(user->pw_name);
    SAY(user->pw_gid);
    TEXT(user->pw_dir);
    user = getpwnam("daemon");
    MUST(user);
    SAY(user->pw_uid);
    HOLDS(getpwnam("no-such-user") == NULL);
    struct passwd room, *found = NULL;
    char text[1024];
    SAY(getpwnam_r("root", &room, text, sizeof text, &found));
    HOLDS(found == &room);
    SAY(getpwnam_r("root", &room, text, 2, &found));
    int count = 0;
    setpwent();
    while (getpwent()) count++;
    endpwent();
    HOLDS(count >= 2);
    struct group *group = getgrgid(0);
    MUST(group);
    TEXT(group->gr_name);
    group = getgrnam("daemon");
    SAY(group ? group->gr_gid : 0);
    gid_t groups[64];
    HOLDS(getgroups(64, groups) >= 0);
    char name[] = "root";
    int room_for = 64;
    HOLDS(getgrouplist(name, 0, groups, &room_for) >= 1);
    HOLDS(getlogin() == NULL || *getlogin());
    SAY(setuid(getuid()));
    SAY(setgid(getgid()));
    uid_t real, effective, saved;
    SAY(getresuid(&real, &effective, &saved));
    SAY(real == saved);
}

int main(void) {
    machine();
    users();
    return 0;
}
