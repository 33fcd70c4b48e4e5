/* JSON as text: checked and cut into pieces, never built; see json.h. No recursion: the walk keeps one bit for each level of
 * nesting. */
#include "tools/json.h"

#include "tools/text.h"

#include <string.h>

enum { JSON_DEPTH_MAX = 512 };

static bool json_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct bytes b, size_t *at)
{
    while (*at < b.n && json_space(b.p[*at]))
        ++*at;
}

static bool hex_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* At the opening quote; moves past the closing one. On failure *at is the wrong byte. */
static bool skip_string(struct bytes b, size_t *at)
{
    for (++*at; *at < b.n;) {
        uint8_t c = b.p[*at];
        if (c == '"') {
            ++*at;
            return true;
        }
        if (c == '\\') {
            if (*at + 1 >= b.n)
                return false;
            uint8_t x = b.p[*at + 1];
            if (x == 'u') {
                for (size_t k = 2; k < 6; k++)
                    if (*at + k >= b.n || !hex_digit(b.p[*at + k]))
                        return false;
                *at += 6;
            } else if (x != 0 && strchr("\"\\/bfnrt", x) != NULL) {
                *at += 2;
            } else {
                return false;
            }
            continue;
        }
        size_t n = c < 0x20 ? 0 : utf8_length(bytes_of(b.p + *at, b.n - *at));
        if (n == 0)
            return false;
        *at += n;
    }
    return false;
}

static size_t skip_digits(struct bytes b, size_t *at)
{
    size_t from = *at;
    while (*at < b.n && b.p[*at] >= '0' && b.p[*at] <= '9')
        ++*at;
    return *at - from;
}

static bool skip_number(struct bytes b, size_t *at)
{
    if (b.p[*at] == '-')
        ++*at;
    bool zero = *at < b.n && b.p[*at] == '0';
    size_t digits = skip_digits(b, at);
    if (digits == 0 || (zero && digits > 1))
        return false;
    if (*at < b.n && b.p[*at] == '.') {
        ++*at;
        if (skip_digits(b, at) == 0)
            return false;
    }
    if (*at < b.n && (b.p[*at] == 'e' || b.p[*at] == 'E')) {
        ++*at;
        if (*at < b.n && (b.p[*at] == '+' || b.p[*at] == '-'))
            ++*at;
        if (skip_digits(b, at) == 0)
            return false;
    }
    return true;
}

static bool skip_scalar(struct bytes b, size_t *at)
{
    static const char *const words[] = {"true", "false", "null"};
    uint8_t c = b.p[*at];
    if (c == '"')
        return skip_string(b, at);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(b, at);
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (b.n - *at >= n && memcmp(b.p + *at, words[i], n) == 0) {
            *at += n;
            return true;
        }
    }
    return false;
}

/* "name": in an object */
static bool skip_name(struct bytes b, size_t *at)
{
    skip_space(b, at);
    if (*at >= b.n || b.p[*at] != '"' || !skip_string(b, at))
        return false;
    skip_space(b, at);
    if (*at >= b.n || b.p[*at] != ':')
        return false;
    ++*at;
    return true;
}

/* After a value inside `depth` containers: closes those that end here. 0: go on with the next value; 1: all closed;
 * -1: wrong. */
static int after_value(struct bytes b, size_t *at, const bool *is_object, size_t *depth)
{
    while (*depth > 0) {
        skip_space(b, at);
        if (*at >= b.n)
            return -1;
        bool object = is_object[*depth - 1];
        uint8_t c = b.p[*at];
        if (c == ',') {
            ++*at;
            return object && !skip_name(b, at) ? -1 : 0;
        }
        if (c != (object ? '}' : ']'))
            return -1;
        ++*at;
        --*depth;
    }
    return 1;
}

static bool json_walk(struct bytes b, size_t *at)
{
    bool is_object[JSON_DEPTH_MAX];
    size_t depth = 0;
    for (;;) {
        skip_space(b, at);
        if (*at >= b.n)
            return false;
        uint8_t c = b.p[*at];
        if (c == '{' || c == '[') {
            if (depth == JSON_DEPTH_MAX)
                return false;
            is_object[depth++] = c == '{';
            ++*at;
            skip_space(b, at);
            if (*at < b.n && b.p[*at] == (c == '{' ? '}' : ']')) {
                ++*at;
                depth--;
            } else {
                if (c == '{' && !skip_name(b, at))
                    return false;
                continue;
            }
        } else if (!skip_scalar(b, at)) {
            return false;
        }
        int rc = after_value(b, at, is_object, &depth);
        if (rc != 0)
            return rc > 0;
    }
}

enum json_shape json_shape(struct bytes b, size_t *bad_at)
{
    size_t at = 0;
    skip_space(b, &at);
    uint8_t first = at < b.n ? b.p[at] : 0;
    bool good = json_walk(b, &at);
    if (good) {
        skip_space(b, &at);
        good = at == b.n;
    }
    if (!good) {
        if (bad_at != NULL)
            *bad_at = at;
        return JSON_SHAPE_NONE;
    }
    return first == '{'   ? JSON_SHAPE_OBJECT
           : first == '[' ? JSON_SHAPE_ARRAY
           : first == '"' ? JSON_SHAPE_STRING
                          : JSON_SHAPE_OTHER;
}

/* ---- walking what json_shape() found good ---- */

static struct bytes trim(struct bytes b)
{
    while (b.n > 0 && json_space(b.p[0]))
        b = bytes_of(b.p + 1, b.n - 1);
    while (b.n > 0 && json_space(b.p[b.n - 1]))
        b.n--;
    return b;
}

bool json_next(struct bytes container, size_t *at, struct bytes *name, struct bytes *value)
{
    struct bytes c = trim(container);
    if (c.n < 2)
        return false;
    bool object = c.p[0] == '{';
    if (*at == 0)
        *at = 1;
    skip_space(c, at);
    if (*at >= c.n || c.p[*at] == '}' || c.p[*at] == ']')
        return false;
    *at += c.p[*at] == ',';
    *name = (struct bytes){NULL, 0};
    if (object) {
        skip_space(c, at);
        size_t from = *at;
        if (!skip_string(c, at))
            return false;
        *name = bytes_of(c.p + from, *at - from);
        skip_space(c, at);
        ++*at;
    }
    skip_space(c, at);
    size_t from = *at;
    if (!json_walk(c, at))
        return false;
    *value = bytes_of(c.p + from, *at - from);
    return true;
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

static uint32_t hex4(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

long json_unescape(struct bytes s, uint8_t *out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;
    for (size_t i = 1; i + 1 < s.n; i++) {
        if (s.p[i] != '\\') {
            out[n++] = s.p[i];
            continue;
        }
        uint8_t c = s.p[++i];
        if (c != 'u') {
            out[n++] = (uint8_t)to[strchr(from, c) - from];
            continue;
        }
        uint32_t v = hex4(s.p + i + 1);
        i += 4;
        if (v >= 0xd800 && v < 0xdc00 && i + 6 < s.n && s.p[i + 1] == '\\' && s.p[i + 2] == 'u') {
            uint32_t low = hex4(s.p + i + 3);
            if (low >= 0xdc00 && low < 0xe000) {
                v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
                i += 6;
            }
        }
        if (v >= 0xd800 && v < 0xe000)
            return -1; /* half of a surrogate pair names no character */
        n += put_utf8(out + n, v);
    }
    return (long)n;
}

static bool name_is(struct bytes name, const char *text)
{
    size_t n = strlen(text);
    if (name.n == n + 2 && memcmp(name.p + 1, text, n) == 0)
        return true;
    if (name.n < 2 || name.n > 512 || memchr(name.p, '\\', name.n) == NULL)
        return false;
    uint8_t plain[512];
    long length = json_unescape(name, plain);
    return length >= 0 && (size_t)length == n && memcmp(plain, text, n) == 0;
}

bool json_member(struct bytes object, const char *name, struct bytes *out)
{
    size_t at = 0;
    struct bytes key;
    struct bytes value;
    bool found = false;
    if (trim(object).n == 0 || trim(object).p[0] != '{')
        return false;
    while (json_next(object, &at, &key, &value))
        if (name_is(key, name)) {
            *out = value; /* of a repeated name the last counts, as most parsers do */
            found = true;
        }
    return found;
}

bool json_pointer(struct bytes value, const char *pointer, struct bytes *out)
{
    while (*pointer == '/') {
        char token[512];
        size_t n = 0;
        for (pointer++; *pointer != '\0' && *pointer != '/'; pointer++) {
            char c = *pointer;
            if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
                c = *++pointer == '0' ? '~' : '/';
            if (n + 1 == sizeof token)
                return false;
            token[n++] = c;
        }
        token[n] = '\0';
        value = trim(value);
        if (value.n > 0 && value.p[0] == '{') {
            if (!json_member(value, token, &value))
                return false;
            continue;
        }
        size_t index = 0;
        if (value.n == 0 || value.p[0] != '[' || n == 0 || n > 9 || (token[0] == '0' && n > 1))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (token[i] < '0' || token[i] > '9')
                return false;
            index = index * 10 + (size_t)(token[i] - '0');
        }
        size_t at = 0;
        struct bytes none;
        struct bytes element = {NULL, 0};
        for (size_t i = 0; i <= index; i++)
            if (!json_next(value, &at, &none, &element))
                return false;
        value = element;
    }
    *out = value;
    return *pointer == '\0';
}

/* ---- writing ---- */

void json_put_string(FILE *f, struct bytes b)
{
    (void)fputc('"', f);
    size_t from = 0;
    for (size_t i = 0; i < b.n; i++) {
        uint8_t c = b.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        (void)fwrite(b.p + from, 1, i - from, f);
        from = i + 1;
        if (c == '\n')
            (void)fputs("\\n", f);
        else if (c == '\t')
            (void)fputs("\\t", f);
        else if (c == '\r')
            (void)fputs("\\r", f);
        else if (c == '"' || c == '\\')
            (void)fprintf(f, "\\%c", c);
        else
            (void)fprintf(f, "\\u%04x", c);
    }
    if (b.n > from)
        (void)fwrite(b.p + from, 1, b.n - from, f);
    (void)fputc('"', f);
}

static void put_base64(FILE *f, struct bytes b)
{
    (void)fputs("{\"base64\":\"", f);
    for (size_t i = 0; i < b.n; i += 3 * 1024) {
        char out[BASE64_BYTES(3 * 1024)];
        size_t n = b.n - i < 3 * 1024 ? b.n - i : 3 * 1024;
        (void)base64_encode(bytes_of(b.p + i, n), out);
        (void)fputs(out, f);
    }
    (void)fputs("\"}", f);
}

void json_put_text(FILE *f, struct bytes b)
{
    if (utf8_valid(b, NULL))
        json_put_string(f, b);
    else
        put_base64(f, b);
}

/* An object that json_take_value() would take for bytes in base64. */
static bool looks_like_base64(struct bytes b)
{
    size_t at = 0;
    struct bytes name;
    struct bytes value;
    return json_next(b, &at, &name, &value) && name_is(name, "base64") &&
           !json_next(b, &at, &name, &value);
}

void json_put_value(FILE *f, struct bytes b)
{
    enum json_shape shape = json_shape(b, NULL);
    if (shape == JSON_SHAPE_NONE || shape == JSON_SHAPE_STRING) {
        json_put_text(f, b);
        return;
    }
    if (shape == JSON_SHAPE_OBJECT && looks_like_base64(b)) {
        put_base64(f, b);
        return;
    }
    b = trim(b);
    for (size_t i = 0, from = 0; i <= b.n; i++)
        if (i == b.n || b.p[i] == '\n' || b.p[i] == '\r') {
            (void)fwrite(b.p + from, 1, i - from, f);
            from = i + 1;
        }
}

long json_take_value(struct bytes json, uint8_t *out)
{
    enum json_shape shape = json_shape(json, NULL);
    json = trim(json);
    struct bytes text;
    if (shape == JSON_SHAPE_STRING)
        return json_unescape(json, out);
    if (shape == JSON_SHAPE_OBJECT && looks_like_base64(json) &&
        json_member(json, "base64", &text) && text.p[0] == '"') {
        long n = json_unescape(text, out);
        return n < 0 ? -1 : base64_decode(bytes_of(out, (size_t)n), out);
    }
    if (shape == JSON_SHAPE_NONE)
        return -1;
    memmove(out, json.p, json.n);
    return (long)json.n;
}
