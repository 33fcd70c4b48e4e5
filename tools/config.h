/* A site's configuration from YAML. Every key, its default and its limits: config_schema.c, triveni.yaml(5). */
#ifndef TOOLS_CONFIG_H
#define TOOLS_CONFIG_H

#include "replication/site.h"

/* Read and check a file of at most 1 MiB. Relative paths in it are taken from the folder that it lies in. ERR_CONFIG (ERR_NOT_FOUND,
 * ERR_IO for the file itself) with "file:line:column: what, and what to write instead". */
int config_load(const char *file, struct site_config *out, struct err *e);
/* The same from memory; `file` is used in messages and to resolve relative paths. */
int config_parse(const char *file, struct bytes text, struct site_config *out, struct err *e);

/* Commented example of a whole file, as `triveni serve --help` prints it; parses as it is. */
extern const char config_example[];

/* Canonical text of an identity and back: 8-4-4-4-12 hex digits. parse: 0 or ERR_USAGE. */
enum { UUID_TEXT_BYTES = 37 };
const char *uuid_text(const struct uuid *id, char out[UUID_TEXT_BYTES]);
int uuid_parse(const char *text, struct uuid *out, struct err *e);

#endif
