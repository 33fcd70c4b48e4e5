/* Bundles that nobody has decided about: told until they are applied or discarded (P10). The folder is read when it has changed,
 * because status is asked often; its time has a grain, so it is read again for a while after a change. */
#include "replication/bundle.h"
#include "replication/site_parts.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHANGES_SETTLE_S = 2 };

static void look_at(struct site *s, const char *dir, const char *name)
{
    char path[SITE_PATH_BYTES + 2 * BUNDLE_NAME_BYTES];
    struct bundle b;
    struct err why;
    err_init(&why);
    (void)snprintf(path, sizeof path, "%s/%s%s", dir, name, BUNDLE_DECIDED);
    if (access(path, F_OK) == 0)
        return;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    bool readable = bundle_head(path, &b, &why) == 0;
    if (readable && !bundle_matters(&b))
        return;
    if (s->undecided.bundles++ == 0 || strcmp(name, s->undecided.first) < 0)
        (void)snprintf(s->undecided.first, sizeof s->undecided.first, "%s", name);
    if (readable) {
        s->undecided.operations += b.operations;
        s->undecided.acknowledged += b.yes + b.possible;
    }
}

static void look(struct site *s)
{
    char dir[SITE_PATH_BYTES + 16];
    struct stat st;
    (void)snprintf(dir, sizeof dir, "%s/divergence", s->config->data_dir);
    int64_t changed =
        stat(dir, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec : 0;
    int64_t now = (int64_t)site_now_us() * 1000;
    bool settled = s->undecided.looked_ns > changed + CHANGES_SETTLE_S * INT64_C(1000000000);
    if (changed == s->undecided.changed_ns && (changed == 0 || settled))
        return;
    s->undecided.changed_ns = changed;
    s->undecided.looked_ns = now;
    s->undecided.bundles = s->undecided.operations = s->undecided.acknowledged = 0;
    DIR *all = opendir(dir);
    const struct dirent *entry;
    while (all != NULL && (entry = readdir(all)) != NULL)
        if (bundle_is_name(entry->d_name))
            look_at(s, dir, entry->d_name);
    if (all != NULL)
        (void)closedir(all);
}

void divergence_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg)
{
    char text[ERR_TEXT_BYTES];
    look(s);
    if (s->undecided.bundles == 0)
        return;
    (void)snprintf(text, sizeof text,
                   "%llu divergence bundle%s (%s%s): %llu operations that are not in the common "
                   "history, %llu of them acknowledged or possibly so, await a decision: triveni "
                   "divergence list at this site, then apply or discard",
                   (unsigned long long)s->undecided.bundles, s->undecided.bundles == 1 ? "" : "s",
                   s->undecided.bundles == 1 ? "" : "first ", s->undecided.first,
                   (unsigned long long)s->undecided.operations,
                   (unsigned long long)s->undecided.acknowledged);
    tell(arg, text);
}
