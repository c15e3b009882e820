/* NSS softokn as an ordinary PKCS#11 module, for tests: NSS wants its parameters in C_Initialize, in a
 * field that the standard does not have. They are read from $QUORATE_TEST_DIR/nss.parameters. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function)();
struct list { unsigned char version[2]; function call[68 + 24]; }; /* v2.40 has 68, v3.0 24 more */
struct interface { char *name; struct list *functions; ulong_t flags; };
struct arguments { void *mutex[4]; ulong_t flags; char *parameters; void *reserved; };

static struct list ours, *real;
static struct interface interface = {"PKCS 11", &ours, 0};

static ulong_t initialize(struct arguments *given) {
  static char text[8192];
  char path[4096];
  const char *folder = getenv("QUORATE_TEST_DIR");
  snprintf(path, sizeof path, "%s/nss.parameters", folder ? folder : ".");
  FILE *file = fopen(path, "r");
  if (!file) abort();
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  struct arguments arguments = {{0}, given ? given->flags : 0, text, NULL};
  return real->call[0](&arguments);
}

static void load(void) {
  void *library = dlopen(getenv("QUORATE_NSS"), RTLD_NOW | RTLD_LOCAL);
  ulong_t (*get)(char *, void *, struct interface **, ulong_t) =
    library ? (ulong_t (*)(char *, void *, struct interface **, ulong_t))dlsym(library, "C_GetInterface") : NULL;
  struct interface *found;
  if (!get || get(NULL, NULL, &found, 0) != 0 || found->functions->version[0] != 3) abort();
  real = found->functions;
  ours = *real;
  ours.call[0] = initialize;
}

ulong_t C_GetInterface(char *name, void *version, struct interface **out, ulong_t flags) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  (void)name, (void)version, (void)flags;
  *out = &interface;
  return 0;
}

ulong_t C_GetFunctionList(struct list **out) {
  struct interface *found;
  C_GetInterface(NULL, NULL, &found, 0);
  *out = found->functions;
  return 0;
}
