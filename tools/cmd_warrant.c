/* warrant show, warrant sign: what one operator asks for and another one has to sign. */
#include "tools/commands.h"

#include "tools/warrant_file.h"

#include <time.h>

struct warrant_options {
    struct common common;
    bool yes;
};
#define AT(member) offsetof(struct warrant_options, member)
static const struct option sign_table[] = {
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {0},
};
#undef AT

static int run_show(struct invocation *in, struct err *e)
{
    return warrant_file_show(in->options, in->operands[0], e);
}

static int run_sign(struct invocation *in, struct err *e)
{
    const struct warrant_options *o = in->options;
    const char *path = in->operands[0];
    struct warrant_file f;
    int rc = warrant_file_open(&o->common, path, &f, e);
    if (rc != 0)
        return rc;
    if (f.says.expires.us <= (uint64_t)time(NULL) * 1000000)
        rc = err_set(e, ERR_TIMEOUT, "%s has expired: let it be made anew", path);
    if (rc == 0 && !o->yes) {
        warrant_file_print(stderr, &f);
        if (!confirm("Sign this only when you have seen for yourself that what it says is so."))
            rc = err_set(e, ERR_USAGE,
                         "not confirmed: nothing was signed (--yes confirms without a question)");
    }
    if (rc == 0)
        rc = warrant_file_sign(&o->common, path, &f, e);
    warrant_file_close(&f);
    return rc != 0 ? rc : warrant_file_show(&o->common, path, e);
}

#define ABOUT_WARRANTS                                                                             \
    "Acts that one person alone may not order are ordered by two: the first makes the warrant, a " \
    "file that says what is to be\n"                                                               \
    "done and what it rests on, and is signed with that operator's certificate; the second reads " \
    "the same text and signs it, too.\n"                                                           \
    "It is carried out once, until it expires, by the command that made it. Signatures are CMS "   \
    "(RFC 5652): 'openssl cms -verify\n"                                                           \
    "-inform PEM -in FILE -CAfile ca.crt -purpose sslclient' checks them without this program."

const struct command command_warrant_show = {
    .name = "warrant show",
    .group = "Cluster",
    .purpose = "show a warrant and who has signed it",
    .operands = "FILE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct warrant_options),
    .tables = {output_options, connection_options},
    .about = ABOUT_WARRANTS,
    .examples = {{"what it says", "triveni warrant show solo.warrant"}},
    .exits = "378",
    .run = run_show,
};

const struct command command_warrant_sign = {
    .name = "warrant sign",
    .group = "Cluster",
    .purpose = "sign what another operator has asked for",
    .operands = "FILE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct warrant_options),
    .tables = {sign_table, output_options, connection_options},
    .about = ABOUT_WARRANTS,
    .examples = {{"as the second operator", "triveni warrant sign solo.warrant"}},
    .exits = "3478",
    .run = run_sign,
};
