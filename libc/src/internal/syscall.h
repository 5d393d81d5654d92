/* In place of musl's file: a system call is a call of the door.

   `__syscall(SYS_name, ...)` becomes `__door(number, six arguments)`, which is a switch that the compiler
   folds, as the number is a constant. Arguments have 64 bits, so an off_t is one; times are two i64 (Linux's
   time64 calls), so SYS_name_time64 is the same call as SYS_name. There is one thread, so nothing is a point
   of cancellation. */
#ifndef _INTERNAL_SYSCALL_H
#define _INTERNAL_SYSCALL_H

#include <features.h>
#include <errno.h>
#include <sys/syscall.h>

typedef long long syscall_arg_t;
#define __scc(x) ((syscall_arg_t)(x))
#define __SYSCALL_LL_E(x) (x)
#define __SYSCALL_LL_O(x) (x)
#define __SYSCALL_LL_PRW(x) (x)
#define SYSCALL_RLIM_INFINITY (~0ULL)

#include "syscall_arch.h"

hidden long __syscall_ret(unsigned long);

#define __syscall1(n,a) (__door)(n,__scc(a),0,0,0,0,0)
#define __syscall0(n) (__door)(n,0,0,0,0,0,0)
#define __syscall2(n,a,b) (__door)(n,__scc(a),__scc(b),0,0,0,0)
#define __syscall3(n,a,b,c) (__door)(n,__scc(a),__scc(b),__scc(c),0,0,0)
#define __syscall4(n,a,b,c,d) (__door)(n,__scc(a),__scc(b),__scc(c),__scc(d),0,0)
#define __syscall5(n,a,b,c,d,e) (__door)(n,__scc(a),__scc(b),__scc(c),__scc(d),__scc(e),0)
#define __syscall6(n,a,b,c,d,e,f) (__door)(n,__scc(a),__scc(b),__scc(c),__scc(d),__scc(e),__scc(f))

#define __SYSCALL_PICK(a,b,c,d,e,f,g,chosen,...) chosen
#define __syscall(...) __SYSCALL_PICK(__VA_ARGS__,__syscall6,__syscall5,__syscall4,__syscall3,__syscall2,\
	__syscall1,__syscall0,)(__VA_ARGS__)
#define syscall(...) __syscall_ret(__syscall(__VA_ARGS__))
#define __syscall_cp(...) __syscall(__VA_ARGS__)
#define syscall_cp(...) syscall(__VA_ARGS__)

#define __socketcall(nm,a,b,c,d,e,f) __syscall6(SYS_##nm,a,b,c,d,e,f)
#define __socketcall_cp(nm,a,b,c,d,e,f) __syscall6(SYS_##nm,a,b,c,d,e,f)
#define socketcall(nm,a,b,c,d,e,f) __syscall_ret(__syscall6(SYS_##nm,a,b,c,d,e,f))
#define socketcall_cp(nm,a,b,c,d,e,f) __syscall_ret(__syscall6(SYS_##nm,a,b,c,d,e,f))

#define __sys_open2(pn,fl) __syscall4(SYS_openat, AT_FDCWD, pn, fl, 0)
#define __sys_open3(pn,fl,mo) __syscall4(SYS_openat, AT_FDCWD, pn, fl, mo)
#define __SYSCALL_PICK_OPEN(a,b,c,chosen,...) chosen
#define __sys_open(...) __SYSCALL_PICK_OPEN(__VA_ARGS__,__sys_open3,__sys_open2,)(__VA_ARGS__)
#define __sys_open_cp(...) __sys_open(__VA_ARGS__)
#define sys_open(...) __syscall_ret(__sys_open(__VA_ARGS__))
#define sys_open_cp(...) sys_open(__VA_ARGS__)

/* Names that musl's sources use for what the generic table has under others. */
#define SYS_fstatat SYS_newfstatat
#define SYS_pread SYS_pread64
#define SYS_pwrite SYS_pwrite64
#define SYS_fadvise SYS_fadvise64
#define SYS_clock_gettime64 SYS_clock_gettime
#define SYS_clock_settime64 SYS_clock_settime
#define SYS_clock_adjtime64 SYS_clock_adjtime
#define SYS_clock_getres_time64 SYS_clock_getres
#define SYS_clock_nanosleep_time64 SYS_clock_nanosleep
#define SYS_timer_gettime64 SYS_timer_gettime
#define SYS_timer_settime64 SYS_timer_settime
#define SYS_timerfd_gettime64 SYS_timerfd_gettime
#define SYS_timerfd_settime64 SYS_timerfd_settime
#define SYS_utimensat_time64 SYS_utimensat
#define SYS_pselect6_time64 SYS_pselect6
#define SYS_ppoll_time64 SYS_ppoll
#define SYS_recvmmsg_time64 SYS_recvmmsg
#define SYS_mq_timedsend_time64 SYS_mq_timedsend
#define SYS_mq_timedreceive_time64 SYS_mq_timedreceive
#define SYS_semtimedop_time64 SYS_semtimedop
#define SYS_rt_sigtimedwait_time64 SYS_rt_sigtimedwait
#define SYS_futex_time64 SYS_futex
#define SYS_sched_rr_get_interval_time64 SYS_sched_rr_get_interval
#define SYS_getrusage_time64 SYS_getrusage

#define SO_RCVTIMEO_OLD 20
#define SO_SNDTIMEO_OLD 21
#define SO_TIMESTAMP_OLD 29
#define SO_TIMESTAMPNS_OLD 35
#define SO_TIMESTAMPING_OLD 37
#define SCM_TIMESTAMP_OLD SO_TIMESTAMP_OLD
#define SCM_TIMESTAMPNS_OLD SO_TIMESTAMPNS_OLD
#define SCM_TIMESTAMPING_OLD SO_TIMESTAMPING_OLD
#define SIOCGSTAMP_OLD 0x8906
#define SIOCGSTAMPNS_OLD 0x8907

hidden void __procfdname(char __buf[static 15+3*sizeof(int)], unsigned);
hidden void *__vdsosym(const char *, const char *);

#endif
