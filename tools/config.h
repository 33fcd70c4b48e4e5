/* A site's configuration from YAML. Every key, its default and its limits: config_schema.c, triveni.yaml(5). */
#ifndef TOOLS_CONFIG_H
#define TOOLS_CONFIG_H

#include "replication/site.h"
#include "store/core/hex.h"

/* Read and check a file of at most 1 MiB. Relative paths in it are taken from the folder that it lies in. ERR_CONFIG
 * (ERR_NOT_FOUND, ERR_IO for the file itself) with "file:line:column: what, and what to write instead". */
int config_load(const char *file, struct site_config *out, struct err *e);
/* The same from memory; `file` is used in messages and to resolve relative paths. */
int config_parse(const char *file, struct bytes text, struct site_config *out, struct err *e);

/* Commented example of a whole file, as `triveni serve --help` prints it; parses as it is. */
extern const char config_example[];

/* 0, or ERR_USAGE with a sentence. Back again: uuid_text() of store/core/hex.h. */
int uuid_parse(const char *text, struct uuid *out, struct err *e);

#endif
