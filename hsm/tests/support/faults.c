/* A PKCS#11 module for tests: SoftHSM ($PKCS11SPY), with the faults that $QUORATE_TEST_DIR/faults
 * names. It notes C_Login, C_Encrypt and C_Decrypt in $QUORATE_TEST_DIR/faults.log.
 *
 * Only what is needed is declared, after PKCS#11 v2.40: a function list is a version and 68 pointers. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function)();
struct list { unsigned char version[2]; function call[68]; };
struct attribute { ulong_t type; void *value; ulong_t length; };
struct mechanism { ulong_t type; void *parameter; ulong_t length; };
struct gcm { unsigned char *iv; ulong_t iv_length, iv_bits; unsigned char *aad; ulong_t aad_length, tag_bits; };

enum { INITIALIZE = 0, FINALIZE = 1, TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18, ATTRIBUTES = 24,
       ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34 };
enum { AES_GCM = 0x1087 };
enum { OK = 0, GENERAL_ERROR = 0x05, ATTRIBUTE_TYPE_INVALID = 0x12, DEVICE_ERROR = 0x30,
       DEVICE_REMOVED = 0x32, PIN_LOCKED = 0xa4 };

static struct list *real, ours;
static int removed;
static unsigned char remembered[64];

static char *in_folder(const char *name, char *path, size_t size) {
  const char *folder = getenv("QUORATE_TEST_DIR");
  snprintf(path, size, "%s/%s", folder ? folder : ".", name);
  return path;
}

static int fault(const char *name) {
  char path[4096], text[512];
  int file = open(in_folder("faults", path, sizeof path), O_RDONLY);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = 0;
  return strstr(text, name) != NULL;
}

static void note(const char *line) {
  char path[4096];
  int file = open(in_folder("faults.log", path, sizeof path), O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (file < 0 || write(file, line, strlen(line)) < 0) abort();
  close(file);
}

static ulong_t initialize(void *arguments) {
  if (fault("no-initialize")) return DEVICE_ERROR;
  return real->call[INITIALIZE](arguments);
}

static ulong_t finalize(void *reserved) {
  removed = 0;
  return real->call[FINALIZE](reserved);
}

static ulong_t token_info(ulong_t slot, unsigned char *info) {
  ulong_t answer = real->call[TOKEN_INFO](slot, info), flags;
  memcpy(&flags, info + 96, sizeof flags); /* after the four names */
  if (fault("final-try")) flags |= 0x20000;
  if (fault("pin-locked")) flags |= 0x40000;
  memcpy(info + 96, &flags, sizeof flags);
  return answer;
}

static ulong_t open_session(ulong_t slot, ulong_t flags, void *application, void *notify, ulong_t *session) {
  if (fault("no-session")) return DEVICE_REMOVED;
  return real->call[OPEN_SESSION](slot, flags, application, notify, session);
}

static ulong_t login(ulong_t session, ulong_t user, unsigned char *pin, ulong_t length) {
  note("C_Login\n");
  if (fault("login-locks")) return PIN_LOCKED;
  return real->call[LOGIN](session, user, pin, length);
}

static ulong_t attributes(ulong_t session, ulong_t object, struct attribute *template, ulong_t count) {
  ulong_t answer = real->call[ATTRIBUTES](session, object, template, count);
  static const struct { const char *name; ulong_t type; } hidden[] = {
    {"hide-token", 0x01}, {"hide-private", 0x02}, {"hide-sensitive", 0x103}, {"hide-extractable", 0x162}};
  for (ulong_t i = 0; i < count; i++)
    for (int h = 0; h < 4; h++)
      if (template[i].type == hidden[h].type && fault(hidden[h].name)) {
        template[i].length = (ulong_t)-1;
        answer = ATTRIBUTE_TYPE_INVALID;
      }
  return answer;
}

static void tamper(struct mechanism *mechanism, struct gcm *copy) {
  memcpy(copy, mechanism->parameter, sizeof *copy);
  if (fault("ignore-aad")) copy->aad_length = 0;
}

static ulong_t encrypt_init(ulong_t session, struct mechanism *mechanism, ulong_t key) {
  struct gcm copy;
  if (mechanism->type != AES_GCM) return real->call[ENCRYPT_INIT](session, mechanism, key);
  tamper(mechanism, &copy);
  /* As some tokens do: the caller's IV is a place to write to. */
  if (fault("own-iv")) for (ulong_t i = 0; i < copy.iv_length; i++) copy.iv[i] ^= 0x5a;
  struct mechanism changed = {mechanism->type, &copy, sizeof copy};
  return real->call[ENCRYPT_INIT](session, &changed, key);
}

static ulong_t decrypt_init(ulong_t session, struct mechanism *mechanism, ulong_t key) {
  struct gcm copy;
  if (mechanism->type != AES_GCM) return real->call[DECRYPT_INIT](session, mechanism, key);
  tamper(mechanism, &copy);
  struct mechanism changed = {mechanism->type, &copy, sizeof copy};
  return real->call[DECRYPT_INIT](session, &changed, key);
}

static ulong_t encrypt(ulong_t session, unsigned char *in, ulong_t length, unsigned char *out, ulong_t *used) {
  note("C_Encrypt\n");
  if (fault("remove")) removed = 1;
  if (removed) return DEVICE_REMOVED;
  if (length == 32) memcpy(remembered, in, length);
  return real->call[ENCRYPT](session, in, length, out, used);
}

static ulong_t decrypt(ulong_t session, unsigned char *in, ulong_t length, unsigned char *out, ulong_t *used) {
  note("C_Decrypt\n");
  while (fault("hold")) usleep(1000);
  if (fault("remove")) removed = 1;
  if (removed) return DEVICE_REMOVED;
  if (fault("opens-nothing")) return GENERAL_ERROR;
  ulong_t answer = real->call[DECRYPT](session, in, length, out, used);
  if (answer != OK && out && fault("ignore-tag")) {
    memcpy(out, remembered, 32);
    *used = 32;
    return OK;
  }
  return answer;
}

static void load(void) {
  const char *path = getenv("PKCS11SPY");
  void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  ulong_t (*get)(struct list **) = library ? (ulong_t (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
  if (!get || get(&real) != OK) abort();
  ours = *real;
  ours.call[INITIALIZE] = initialize;
  ours.call[FINALIZE] = finalize;
  ours.call[TOKEN_INFO] = token_info;
  ours.call[OPEN_SESSION] = open_session;
  ours.call[LOGIN] = login;
  ours.call[ATTRIBUTES] = attributes;
  ours.call[ENCRYPT_INIT] = encrypt_init;
  ours.call[ENCRYPT] = encrypt;
  ours.call[DECRYPT_INIT] = decrypt_init;
  ours.call[DECRYPT] = decrypt;
}

ulong_t C_GetFunctionList(struct list **out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  *out = &ours;
  return OK;
}
