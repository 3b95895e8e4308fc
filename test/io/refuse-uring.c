// Runs a command in which the io_uring system calls fail with EPERM, as under the default seccomp
// profile of containers. Usage: refuse-uring command [argument…]
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

// The same numbers on every architecture: io_uring_setup, _enter and _register.
#define URING_CALL_FIRST 425
#define URING_CALL_LAST 427

int main(int count, char** arguments) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, URING_CALL_FIRST, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, URING_CALL_LAST, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  if (count < 2) {
    fprintf(stderr, "usage: refuse-uring command [argument...]\n");
    return 2;
  }
  // Without it, only root may install a filter; with it, the command can gain no privileges.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    fprintf(stderr, "refuse-uring: seccomp: %s\n", strerror(errno));
    return 2;
  }
  execvp(arguments[1], arguments + 1);
  fprintf(stderr, "refuse-uring: %s: %s\n", arguments[1], strerror(errno));
  return 2;
}
