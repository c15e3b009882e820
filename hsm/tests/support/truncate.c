/* For LD_PRELOAD, in tests: notes the last part of the name of every file that is truncated, a line each,
 * in $QUORATE_TEST_DIR/truncated; and dies by SIGKILL right after the one that
 * $QUORATE_TEST_DIR/truncate names: "END COUNT", the COUNT-th in this process whose name ends so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int in_folder(const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", getenv("QUORATE_TEST_DIR"), name);
  return open(path, flags, 0600);
}

static void truncated(int file) {
  static unsigned long seen;
  char link[64], path[4096], text[256], end[200];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 2);
  if (size <= 0) return;
  path[size] = 0;
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  int log = in_folder("truncated", O_WRONLY | O_APPEND | O_CREAT);
  if (log < 0 || dprintf(log, "%s\n", name) < 0) abort();
  close(log);
  int rule = in_folder("truncate", O_RDONLY);
  if (rule < 0) return;
  size = read(rule, text, sizeof text - 1);
  close(rule);
  text[size > 0 ? size : 0] = 0;
  unsigned long count;
  if (sscanf(text, "%199s %lu", end, &count) != 2) return;
  size_t length = strlen(name), ending = strlen(end);
  if (length >= ending && strcmp(name + length - ending, end) == 0 && ++seen == count) raise(SIGKILL);
}

int ftruncate(int file, off_t length) {
  int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
  int answer = real(file, length);
  truncated(file);
  return answer;
}

int ftruncate64(int file, off64_t length) __attribute__((alias("ftruncate")));
