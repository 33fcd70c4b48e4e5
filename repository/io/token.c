/* PKCS #11 through libp11-kit, which reads the URIs, loads the module and lets several parts of a process share it.
 *
 * Why not an OpenSSL engine: engines are deprecated in OpenSSL 3, they have no call for wrapping, and what is needed here is five
 * calls of the standard's own interface.
 *
 * WRAPPING: a data key becomes a key object of our session, C_WrapKey wraps it under the KEK, the object is destroyed;
 * unwrapping is C_UnwrapKey and one look at the value. The KEK never leaves the token; the data keys do, because packs are
 * encrypted here. The mechanism is CKM_AES_KEY_WRAP_KWP (PKCS #11 3.0), or where it is missing CKM_AES_KEY_WRAP_PAD, which
 * SoftHSM and others have as RFC 5649; some old modules mean something else by it, which has another length and is refused.
 *
 * FAILURE MODES
 *   Tokens do not agree on the code for "these bytes are not of this key" (SoftHSM: CKR_GENERAL_ERROR). So after a failed unwrapping
 *     the token is asked to wrap: if it can, the bytes are at fault, otherwise the token is.
 *   A token that was pulled out or restarted has forgotten the session: ERR_IO, and whoever opens anew has a new one. */
#include "repository/io/token.h"

#include "repository/io/program.h"
#include "store/core/check.h"
#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIN_BYTES = 256, SLOTS_MAX = 64 };
/* PKCS #11 3.0; the headers of p11-kit 0.24 are older. */
static const CK_MECHANISM_TYPE kwp = 0x210b, pad = CKM_AES_KEY_WRAP_PAD;

struct repo_token {
    CK_FUNCTION_LIST *module;
    bool initialized, in_session;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE kek;
    CK_MECHANISM_TYPE mechanism;
};

static int token_failed(const char *what, CK_RV rv, struct err *e)
{
    return err_set(e, ERR_IO, "the token cannot %s: %s", what, p11_kit_strerror(rv));
}

/* ---- PIN ---- */

static int read_pin_file(const char *path, char out[PIN_BYTES], size_t *n, struct err *e)
{
    struct stat st;
    int rc = 0;
    ssize_t got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = err_set(e,
                     errno == ENOENT   ? ERR_NOT_FOUND
                     : errno == EACCES ? ERR_DENIED
                                       : ERR_IO,
                     "PIN file %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        rc = err_set(e, ERR_DENIED,
                     "PIN file %s: it must be a regular file that group and others cannot access; "
                     "run chmod 600 on it",
                     path);
    else if ((got = read(fd, out, PIN_BYTES)) < 0)
        rc = err_set(e, ERR_IO, "PIN file %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    *n = got > 0 ? (size_t)got : 0;
    return rc;
}

/* RFC 7512, 2.4: "|command", or a file, as a path or as a file: URI. */
static int read_pin(const char *source, char out[PIN_BYTES], size_t *n, struct err *e)
{
    int rc;
    if (source[0] == '|') {
        rc = repo_program_run(source + 1, REPO_PROGRAM_MS, out, PIN_BYTES, n, e);
        if (rc != 0)
            err_wrap(e, "PIN command");
    } else {
        source += strncmp(source, "file:", 5) == 0 ? 5 : 0;
        source += strncmp(source, "///", 3) == 0 ? 2 : 0;
        rc = read_pin_file(source, out, n, e);
    }
    while (*n > 0 && (out[*n - 1] == '\n' || out[*n - 1] == '\r'))
        --*n;
    if (rc == 0 && (*n == 0 || *n == PIN_BYTES))
        rc = err_set(e, ERR_FORMAT, "the PIN must have 1 to %d bytes", PIN_BYTES - 1);
    return rc;
}

/* Of the PIN that a token refused last, with the token's URI. */
static pthread_mutex_t refused_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sha256 refused;

static int login(struct repo_token *t, const char *text, P11KitUri *uri, struct err *e)
{
    char pin[PIN_BYTES];
    size_t n = 0;
    const char *source = p11_kit_uri_get_pin_source(uri);
    if (source == NULL)
        return err_set(e, ERR_CONFIG,
                       "the token wants a PIN: add pin-source=file:PATH to the URI (or "
                       "pin-source=|COMMAND)");
    int rc = read_pin(source, pin, &n, e);
    if (rc != 0)
        return rc;
    struct sha256 this = hash_sha256_2(bytes_str(text), bytes_of((uint8_t *)pin, n));
    (void)pthread_mutex_lock(&refused_lock);
    if (sha256_equal(&this, &refused)) {
        rc = err_set(e, ERR_DENIED,
                     "the token refused this PIN before; it is not offered again, because tokens "
                     "lock: mend %s",
                     source);
    } else {
        CK_RV rv = t->module->C_Login(t->session, CKU_USER, (CK_UTF8CHAR_PTR)pin, n);
        if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED || rv == CKR_PIN_EXPIRED ||
            rv == CKR_PIN_LEN_RANGE) {
            refused = this;
            rc = err_set(e, ERR_DENIED, "the token refuses the PIN from %s: %s", source,
                         p11_kit_strerror(rv));
        } else if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
            rc = token_failed("let us in", rv, e);
        }
    }
    (void)pthread_mutex_unlock(&refused_lock);
    repo_wipe(pin, sizeof pin);
    return rc;
}

/* ---- token, session, key ---- */

static int find_slot(const struct repo_token *t, const P11KitUri *uri, CK_SLOT_ID *out,
                     CK_TOKEN_INFO *info, struct err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    unsigned found = 0;
    char others[200] = "";
    size_t used = 0;
    CK_RV rv = t->module->C_GetSlotList(CK_TRUE, slots, &n);
    if (rv != CKR_OK)
        return token_failed("list its slots", rv, e);
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO at;
        if (t->module->C_GetTokenInfo(slots[i], &at) != CKR_OK)
            continue;
        if (p11_kit_uri_match_token_info(uri, &at) == 1) {
            *out = slots[i];
            *info = at;
            found++;
        }
        int label = (int)sizeof at.label;
        while (label > 0 && at.label[label - 1] == ' ')
            label--;
        if (used + (size_t)label + 5 < sizeof others)
            used += (size_t)snprintf(others + used, sizeof others - used, "%s'%.*s'",
                                     used == 0 ? "" : ", ", label, (const char *)at.label);
    }
    if (found == 1)
        return 0;
    return err_set(e, found == 0 ? ERR_IO : ERR_CONFIG,
                   "%s token of the module fits the URI; it has %s",
                   found == 0 ? "no" : "more than one", used == 0 ? "none" : others);
}

static int find_key(struct repo_token *t, P11KitUri *uri, struct err *e)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ULONG given = 0, n = 0;
    CK_OBJECT_HANDLE found[2];
    const CK_ATTRIBUTE *wanted = p11_kit_uri_get_attributes(uri, &given);
    CK_ATTRIBUTE template[8] = {{CKA_CLASS, &class, sizeof class}};
    CK_ULONG count = 1;
    for (CK_ULONG i = 0; i < given && count < 8; i++)
        if (wanted[i].type != CKA_CLASS)
            template[count++] = wanted[i];
    if (count == 1)
        return err_set(e, ERR_CONFIG, "the URI names no key: add object=LABEL or id=%%XX");
    CK_RV rv = t->module->C_FindObjectsInit(t->session, template, count);
    if (rv == CKR_OK)
        rv = t->module->C_FindObjects(t->session, found, 2, &n);
    (void)t->module->C_FindObjectsFinal(t->session);
    if (rv != CKR_OK)
        return token_failed("look for the key", rv, e);
    if (n != 1)
        return err_set(e, n == 0 ? ERR_NOT_FOUND : ERR_CONFIG,
                       "the token has %s secret key that fits the URI",
                       n == 0 ? "no" : "more than one");
    t->kek = found[0];
    return 0;
}

static bool has_mechanism(const struct repo_token *t, CK_SLOT_ID slot, CK_MECHANISM_TYPE m)
{
    CK_MECHANISM_INFO info;
    const CK_FLAGS both = CKF_WRAP | CKF_UNWRAP;
    return t->module->C_GetMechanismInfo(slot, m, &info) == CKR_OK && (info.flags & both) == both;
}

static int open_session(struct repo_token *t, const char *text, P11KitUri *uri, struct err *e)
{
    CK_SLOT_ID slot = 0;
    CK_TOKEN_INFO info = {0};
    int rc = find_slot(t, uri, &slot, &info, e);
    if (rc != 0)
        return rc;
    if (!has_mechanism(t, slot, kwp) && !has_mechanism(t, slot, pad))
        return err_set(e, ERR_CONFIG,
                       "the token can do neither CKM_AES_KEY_WRAP_KWP nor CKM_AES_KEY_WRAP_PAD: "
                       "it cannot keep the key of an archive");
    t->mechanism = has_mechanism(t, slot, kwp) ? kwp : pad;
    CK_RV rv = t->module->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return token_failed("open a session", rv, e);
    t->in_session = true;
    if ((info.flags & CKF_LOGIN_REQUIRED) != 0)
        rc = login(t, text, uri, e);
    return rc == 0 ? find_key(t, uri, e) : rc;
}

static int parse_uri(const char *text, P11KitUri **out, struct err *e)
{
    *out = p11_kit_uri_new();
    if (*out == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a PKCS #11 URI");
    int code = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, *out);
    if (code != P11_KIT_URI_OK)
        return err_set(e, ERR_CONFIG, "not an RFC 7512 URI: %s", p11_kit_uri_message(code));
    if (p11_kit_uri_any_unrecognized(*out))
        return err_set(e, ERR_CONFIG, "the URI has an attribute that is unknown");
    if (p11_kit_uri_get_pin_value(*out) != NULL)
        return err_set(e, ERR_CONFIG, "pin-value would show the PIN: use pin-source=file:PATH");
    if (p11_kit_uri_get_module_path(*out) == NULL)
        return err_set(e, ERR_CONFIG,
                       "add module-path=/path/of/the/module.so to the URI, for example "
                       "/usr/lib/softhsm/libsofthsm2.so");
    return 0;
}

static int load_module(struct repo_token *t, const char *path, struct err *e)
{
    t->module = p11_kit_module_load(path, 0);
    if (t->module == NULL) {
        const char *why = p11_kit_message();
        return err_set(e, ERR_CONFIG, "module %s cannot be loaded: %s", path,
                       why != NULL ? why : "no reason given");
    }
    CK_RV rv = p11_kit_module_initialize(t->module);
    if (rv != CKR_OK)
        return err_set(e, ERR_IO, "module %s does not start: %s", path, p11_kit_strerror(rv));
    t->initialized = true;
    return 0;
}

int repo_token_open(const char *uri, struct repo_token **out, struct err *e)
{
    P11KitUri *parsed = NULL;
    struct repo_token *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a token");
    int rc = parse_uri(uri, &parsed, e);
    if (rc == 0)
        rc = load_module(t, p11_kit_uri_get_module_path(parsed), e);
    if (rc == 0)
        rc = open_session(t, uri, parsed, e);
    p11_kit_uri_free(parsed);
    if (rc != 0)
        repo_token_close(t);
    else
        *out = t;
    return rc;
}

/* Without a log-out: another session of this process may work, and the last one that closes logs out. */
void repo_token_close(struct repo_token *t)
{
    if (t == NULL)
        return;
    if (t->in_session)
        (void)t->module->C_CloseSession(t->session);
    if (t->initialized)
        (void)p11_kit_module_finalize(t->module);
    if (t->module != NULL)
        p11_kit_module_release(t->module);
    free(t);
}

/* ---- wrapping ---- */

int repo_token_wrap(struct repo_token *t, const struct repo_key *key,
                    uint8_t out[REPO_WRAPPED_BYTES], struct err *e)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct repo_key copy = *key;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &no, sizeof no},
        {CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_VALUE, copy.b, sizeof copy.b},
    };
    CK_MECHANISM mechanism = {t->mechanism, NULL, 0};
    CK_OBJECT_HANDLE object = 0;
    CK_ULONG n = REPO_WRAPPED_BYTES;
    CK_RV rv = t->module->C_CreateObject(t->session, template, sizeof template / sizeof template[0],
                                         &object);
    repo_wipe(&copy, sizeof copy);
    if (rv != CKR_OK)
        return token_failed("take a data key", rv, e);
    rv = t->module->C_WrapKey(t->session, &mechanism, t->kek, object, out, &n);
    (void)t->module->C_DestroyObject(t->session, object);
    if (rv == CKR_OK && n == REPO_WRAPPED_BYTES)
        return 0;
    if (rv == CKR_OK || rv == CKR_BUFFER_TOO_SMALL)
        return err_set(e, ERR_CONFIG,
                       "the token wraps 32 bytes into %lu, RFC 5649 into %d: it means another "
                       "mechanism by CKM_AES_KEY_WRAP_PAD",
                       n, REPO_WRAPPED_BYTES);
    if (rv == CKR_KEY_FUNCTION_NOT_PERMITTED || rv == CKR_WRAPPING_KEY_TYPE_INCONSISTENT ||
        rv == CKR_WRAPPING_KEY_SIZE_RANGE)
        return err_set(e, ERR_DENIED, "the key in the token may not wrap keys: %s",
                       p11_kit_strerror(rv));
    return token_failed("wrap a key", rv, e);
}

/* The wrapped bytes, or the token itself? */
static int blame(struct repo_token *t, CK_RV rv, struct err *e)
{
    static const struct repo_key any;
    uint8_t wrapped[REPO_WRAPPED_BYTES];
    if (repo_token_wrap(t, &any, wrapped, NULL) != 0)
        return token_failed("unwrap a key", rv, e);
    return err_set(e, ERR_DENIED, "the wrapped key is damaged or was wrapped under another KEK");
}

int repo_token_unwrap(struct repo_token *t, const uint8_t wrapped[REPO_WRAPPED_BYTES],
                      struct repo_key *out, struct err *e)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &no, sizeof no},
        {CKA_EXTRACTABLE, &yes, sizeof yes},
    };
    CK_MECHANISM mechanism = {t->mechanism, NULL, 0};
    CK_OBJECT_HANDLE object = 0;
    uint8_t copy[REPO_WRAPPED_BYTES], value[REPO_WRAPPED_BYTES];
    memcpy(copy, wrapped, sizeof copy);
    CK_RV rv = t->module->C_UnwrapKey(t->session, &mechanism, t->kek, copy, sizeof copy, template,
                                      sizeof template / sizeof template[0], &object);
    if (rv != CKR_OK)
        return blame(t, rv, e);
    CK_ATTRIBUTE got = {CKA_VALUE, value, sizeof value};
    rv = t->module->C_GetAttributeValue(t->session, object, &got, 1);
    (void)t->module->C_DestroyObject(t->session, object);
    int rc = 0;
    if (rv != CKR_OK)
        rc = token_failed("give out a data key", rv, e);
    else if (got.ulValueLen != REPO_KEY_BYTES)
        rc = err_set(e, ERR_DENIED, "what was wrapped is no data key");
    else
        memcpy(out->b, value, REPO_KEY_BYTES);
    repo_wipe(value, sizeof value);
    return rc;
}
