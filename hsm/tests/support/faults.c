/* A PKCS#11 module for tests: SoftHSM ($PKCS11SPY), with the faults that $QUORATE_TEST_DIR/faults
 * names. It notes C_Login, C_Encrypt and C_Decrypt in $QUORATE_TEST_DIR/faults.log.
 *
 * Beside the named faults, $QUORATE_TEST_DIR/rule may hold one rule, ACTION FUNCTION COUNT [CODE], for one
 * call: the COUNT-th of FUNCTION (or of "any") since the rule was written, in this process.
 *   fail: it answers CODE, and the token is not asked.   late: the token is asked, then it answers CODE.
 *   kill: the process dies before the call.              after: the process dies after it.
 *   hold: the call waits as long as the rule stands.
 *
 * With the fault "hang" no call comes back before $QUORATE_TEST_DIR/released is there, and with "slow" each
 * call that signs or decrypts takes five seconds.
 *
 * Only what is needed is declared, after PKCS#11 v2.40: a function list is a version and 68 pointers. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function)();
struct list { unsigned char version[2]; function call[68]; };
struct attribute { ulong_t type; void *value; ulong_t length; };
struct mechanism { ulong_t type; void *parameter; ulong_t length; };
struct gcm { unsigned char *iv; ulong_t iv_length, iv_bits; unsigned char *aad; ulong_t aad_length, tag_bits; };

enum { INITIALIZE = 0, FINALIZE = 1, GET_FUNCTION_LIST = 3, TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18, ATTRIBUTES = 24,
       ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34, SIGN = 43,
       GENERATE_KEY = 58, GENERATE_KEY_PAIR = 59 };
enum { AES_GCM = 0x1087 };
enum { OK = 0, GENERAL_ERROR = 0x05, ATTRIBUTE_TYPE_INVALID = 0x12, DEVICE_ERROR = 0x30,
       DEVICE_REMOVED = 0x32, PIN_LOCKED = 0xa4, TEMPLATE_INCONSISTENT = 0xd1 };

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

static const char *const names[68] = {
  "Initialize", "Finalize", "GetInfo", "GetFunctionList", "GetSlotList", "GetSlotInfo",
  "GetTokenInfo", "GetMechanismList", "GetMechanismInfo", "InitToken", "InitPIN", "SetPIN",
  "OpenSession", "CloseSession", "CloseAllSessions", "GetSessionInfo", "GetOperationState",
  "SetOperationState", "Login", "Logout", "CreateObject", "CopyObject", "DestroyObject",
  "GetObjectSize", "GetAttributeValue", "SetAttributeValue", "FindObjectsInit", "FindObjects",
  "FindObjectsFinal", "EncryptInit", "Encrypt", "EncryptUpdate", "EncryptFinal", "DecryptInit",
  "Decrypt", "DecryptUpdate", "DecryptFinal", "DigestInit", "Digest", "DigestUpdate", "DigestKey",
  "DigestFinal", "SignInit", "Sign", "SignUpdate", "SignFinal", "SignRecoverInit", "SignRecover",
  "VerifyInit", "Verify", "VerifyUpdate", "VerifyFinal", "VerifyRecoverInit", "VerifyRecover",
  "DigestEncryptUpdate", "DecryptDigestUpdate", "SignEncryptUpdate", "DecryptVerifyUpdate",
  "GenerateKey", "GenerateKeyPair", "WrapKey", "UnwrapKey", "DeriveKey", "SeedRandom",
  "GenerateRandom", "GetFunctionStatus", "CancelFunction", "WaitForSlotEvent"};

static struct list inner;

struct rule { char action[8], function[32]; ulong_t count, code; };

/* The rule, if it is about this very call. */
static int applies(int index, struct rule *rule) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static char last[256];
  static ulong_t calls;
  char path[4096], text[256];
  int hit = 0, file = open(in_folder("rule", path, sizeof path), O_RDONLY);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = 0;
  pthread_mutex_lock(&lock);
  if (strcmp(text, last) != 0) calls = 0;
  strcpy(last, text);
  rule->code = 0;
  if (sscanf(text, "%7s %31s %lu %li", rule->action, rule->function, &rule->count, (long *)&rule->code) >= 3
      && (strcmp(rule->function, "any") == 0 || strcmp(rule->function, names[index]) == 0))
    hit = ++calls == rule->count;
  pthread_mutex_unlock(&lock);
  if (hit) note("hit\n");
  return hit;
}

static int stands(void) {
  char path[4096];
  struct stat seen;
  return stat(in_folder("rule", path, sizeof path), &seen) == 0 && seen.st_size > 0;
}

static int released(void) {
  char path[4096];
  struct stat seen;
  return stat(in_folder("released", path, sizeof path), &seen) == 0;
}

/* No function of the standard has more than eight arguments, and each fits a word. */
static ulong_t call(int index, ulong_t a, ulong_t b, ulong_t c, ulong_t d, ulong_t e, ulong_t f, ulong_t g, ulong_t h) {
  struct rule rule;
  int hit = applies(index, &rule);
  if (fault("hang")) {
    if (!released()) note("hung\n");
    while (!released()) usleep(1000);
  }
  if ((index == SIGN || index == DECRYPT) && fault("slow")) sleep(5);
  if (hit && strcmp(rule.action, "kill") == 0) raise(SIGKILL);
  if (hit && strcmp(rule.action, "fail") == 0) return rule.code;
  if (hit && strcmp(rule.action, "hold") == 0) {
    note("held\n");
    while (stands()) usleep(1000);
  }
  if ((index == GENERATE_KEY || index == GENERATE_KEY_PAIR) && fault("token-keys-only"))
    for (struct attribute *said = (struct attribute *)c; said < (struct attribute *)c + d; said++)
      if (said->type == 0x01 && !*(unsigned char *)said->value) return TEMPLATE_INCONSISTENT;
  ulong_t answer = inner.call[index](a, b, c, d, e, f, g, h);
  static int signatures;
  if (index == SIGN && answer == OK && d) {
    signatures++;
    if (fault("constant-sign") || (signatures > 1 && fault("later-signs"))) memset((void *)d, 7, *(ulong_t *)e);
  }
  if (hit && strcmp(rule.action, "after") == 0) raise(SIGKILL);
  if (hit && strcmp(rule.action, "late") == 0) return rule.code;
  return answer;
}

#define WRAP(i) static ulong_t wrap_##i(ulong_t a, ulong_t b, ulong_t c, ulong_t d, ulong_t e, ulong_t f, ulong_t g, ulong_t h) { return call(i, a, b, c, d, e, f, g, h); }
WRAP(0) WRAP(1) WRAP(2) WRAP(3) WRAP(4) WRAP(5) WRAP(6) WRAP(7) WRAP(8) WRAP(9) WRAP(10) WRAP(11)
WRAP(12) WRAP(13) WRAP(14) WRAP(15) WRAP(16) WRAP(17) WRAP(18) WRAP(19) WRAP(20) WRAP(21) WRAP(22)
WRAP(23) WRAP(24) WRAP(25) WRAP(26) WRAP(27) WRAP(28) WRAP(29) WRAP(30) WRAP(31) WRAP(32) WRAP(33)
WRAP(34) WRAP(35) WRAP(36) WRAP(37) WRAP(38) WRAP(39) WRAP(40) WRAP(41) WRAP(42) WRAP(43) WRAP(44)
WRAP(45) WRAP(46) WRAP(47) WRAP(48) WRAP(49) WRAP(50) WRAP(51) WRAP(52) WRAP(53) WRAP(54) WRAP(55)
WRAP(56) WRAP(57) WRAP(58) WRAP(59) WRAP(60) WRAP(61) WRAP(62) WRAP(63) WRAP(64) WRAP(65) WRAP(66)
WRAP(67)

static const function wrapped[68] = {
  wrap_0, wrap_1, wrap_2, wrap_3, wrap_4, wrap_5, wrap_6, wrap_7, wrap_8, wrap_9, wrap_10, wrap_11,
  wrap_12, wrap_13, wrap_14, wrap_15, wrap_16, wrap_17, wrap_18, wrap_19, wrap_20, wrap_21, wrap_22,
  wrap_23, wrap_24, wrap_25, wrap_26, wrap_27, wrap_28, wrap_29, wrap_30, wrap_31, wrap_32, wrap_33,
  wrap_34, wrap_35, wrap_36, wrap_37, wrap_38, wrap_39, wrap_40, wrap_41, wrap_42, wrap_43, wrap_44,
  wrap_45, wrap_46, wrap_47, wrap_48, wrap_49, wrap_50, wrap_51, wrap_52, wrap_53, wrap_54, wrap_55,
  wrap_56, wrap_57, wrap_58, wrap_59, wrap_60, wrap_61, wrap_62, wrap_63, wrap_64, wrap_65, wrap_66,
  wrap_67};

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
  inner = ours;
  for (int index = 0; index < 68; index++)
    if (index != GET_FUNCTION_LIST && inner.call[index]) ours.call[index] = wrapped[index];
}

ulong_t C_GetFunctionList(struct list **out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  *out = &ours;
  return OK;
}
