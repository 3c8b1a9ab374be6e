/* Preloaded: proves that the render and audio threads neither allocate nor lock nor make a system call of their own.
 *
 * csrc/thread_setup.c names a thread last before its loop. A thread that calls itself pe-render or pe-clock is
 * marked: malloc and its kin and the locks of pthread, called by it, end the process with a message; and a seccomp
 * filter, for this thread alone, lets through only the wait and wake on a word, the clocks and the thread's end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "rt_guard knows no system call numbers of this machine"
#endif

#define EXIT_CODE 97

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);
extern void __libc_free(void *at);

static __thread const char *marked __attribute__((tls_model("initial-exec"))); /* the thread's name, or NULL */
static _Atomic int n_guarded;
static char message[256]; /* the filter lets a write of this buffer through, and no other */

static void end(const char *what, const char *name) {
  size_t n = 0;
  const char *parts[] = {"rt_guard: thread ", marked ? marked : "?", " called ", what, name, "\n"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    for (const char *p = parts[i]; *p && n < sizeof message; p++) message[n++] = *p;
  if (write(2, message, n) < 0) _exit(EXIT_CODE + 1);
  _exit(EXIT_CODE);
}

static inline void refuse(const char *name) {
  if (marked) end(name, "");
}

/* ---- memory ---------------------------------------------------------------------------------------- */

void *malloc(size_t bytes) { refuse("malloc"); return __libc_malloc(bytes); }
void *calloc(size_t n, size_t bytes) { refuse("calloc"); return __libc_calloc(n, bytes); }
void *realloc(void *old, size_t bytes) { refuse("realloc"); return __libc_realloc(old, bytes); }
void *memalign(size_t align, size_t bytes) { refuse("memalign"); return __libc_memalign(align, bytes); }
void *aligned_alloc(size_t align, size_t bytes) { refuse("aligned_alloc"); return __libc_memalign(align, bytes); }
void free(void *at) { if (at) refuse("free"); __libc_free(at); }

int posix_memalign(void **out, size_t align, size_t bytes) {
  refuse("posix_memalign");
  void *at = __libc_memalign(align, bytes);
  if (at == NULL) return ENOMEM;
  *out = at;
  return 0;
}

/* ---- locks ----------------------------------------------------------------------------------------- */

#define PASS_ON(name, type, ...)                                                     \
  static int (*real_##name)(type *, ##__VA_ARGS__);                                  \
  static void find_##name(void) { *(void **)&real_##name = dlsym(RTLD_NEXT, #name); }
#define LOCK(name, type)                                                             \
  PASS_ON(name, type)                                                                \
  int name(type *lock) {                                                             \
    refuse(#name);                                                                   \
    if (!real_##name) find_##name();                                                 \
    return real_##name(lock);                                                        \
  }
LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCK(pthread_spin_lock, pthread_spinlock_t)

/* ---- system calls ------------------------------------------------------------------------------------ */

static void number_text(int n, char *text) {
  char digits[12];
  int at = 0;
  do digits[at++] = (char)('0' + n % 10); while ((n /= 10) > 0);
  while (at > 0) *text++ = digits[--at];
  *text = 0;
}

static void refused(int signal, siginfo_t *info, void *context) {
  char number[16];
  (void)signal;
  (void)context;
  number_text(info->si_syscall, number);
  end(info->si_syscall == SYS_openat ? "open, system call " : "system call ", number);
}

#define LOW(field) (uint32_t)offsetof(struct seccomp_data, field)
#define HIGH(field) (uint32_t)(offsetof(struct seccomp_data, field) + 4)
#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE_UNLESS(at, value)                                                                             \
  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 1, 0),               \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

static void filter_this_thread(void) {
  const uint64_t buffer = (uint64_t)(uintptr_t)message;
  struct sock_filter code[] = {
      REFUSE_UNLESS(LOW(arch), ARCH),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(nr)),
      ALLOW(SYS_futex),
      ALLOW(SYS_clock_nanosleep),
      ALLOW(SYS_clock_gettime), /* where the machine's clock cannot be read without a call */
      ALLOW(SYS_nanosleep),
      ALLOW(SYS_sched_yield),
      ALLOW(SYS_rt_sigreturn),
      ALLOW(SYS_restart_syscall),
      /* The end of a thread, in glibc: its signals blocked, its stack given back. Nobody can have mapped anything
       * on the way: mmap is refused, and malloc is above. */
      ALLOW(SYS_rt_sigprocmask),
      ALLOW(SYS_madvise),
      ALLOW(SYS_munmap),
      ALLOW(SYS_exit),
      ALLOW(SYS_exit_group),
      REFUSE_UNLESS(LOW(nr), SYS_write), /* our own message */
      REFUSE_UNLESS(LOW(args[0]), 2),
      REFUSE_UNLESS(LOW(args[1]), (uint32_t)buffer),
      REFUSE_UNLESS(HIGH(args[1]), (uint32_t)(buffer >> 32)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {.len = (unsigned short)(sizeof code / sizeof *code), .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    static const char text[] = "rt_guard: this machine takes no seccomp filter\n";
    _exit(write(2, text, sizeof text - 1) < 0 ? EXIT_CODE + 1 : EXIT_CODE + 2);
  }
}

static int (*real_setname)(pthread_t, const char *);

int pthread_setname_np(pthread_t thread, const char *name) {
  const int status = real_setname(thread, name);
  const char *ours = strcmp(name, "pe-render") == 0 ? "pe-render" : strcmp(name, "pe-clock") == 0 ? "pe-clock" : NULL;
  if (ours == NULL || !pthread_equal(thread, pthread_self())) return status;
  filter_this_thread();
  atomic_fetch_add(&n_guarded, 1);
  marked = ours; /* last: from here on */
  return status;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO};
  *(void **)&real_setname = dlsym(RTLD_NEXT, "pthread_setname_np");
  find_pthread_mutex_lock();
  find_pthread_mutex_trylock();
  find_pthread_rwlock_rdlock();
  find_pthread_rwlock_wrlock();
  find_pthread_spin_lock();
  sigaction(SIGSYS, &action, NULL);
}

__attribute__((destructor)) static void tell(void) {
  if (atomic_load(&n_guarded) > 0) fprintf(stderr, "rt_guard: %d threads guarded\n", atomic_load(&n_guarded));
}
