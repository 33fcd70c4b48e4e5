/* A YAML file through a libcyaml schema, with errors that name file, line and column. Used for configurations and
 * profiles. */
#ifndef TOOLS_YAML_H
#define TOOLS_YAML_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <cyaml/cyaml.h>
#include <yaml.h>

enum { YAML_TEXT_MAX_BYTES = 1 << 20, YAML_PATH_BYTES = 160 };

struct yaml {
    const char *file;
    const cyaml_schema_value_t
        *schema;              /* a CYAML_MAPPING with CYAML_FLAG_POINTER; all scalars are strings */
    yaml_document_t document; /* for positions */
    bool parsed;
    void *data; /* the struct of the schema */
};
#define YAML_NONE                                                                                  \
    {                                                                                              \
        0                                                                                          \
    }

/* Parse and check against the schema. ERR_CONFIG. Call yaml_release in any case. */
int yaml_read(struct yaml *y, const char *file, struct bytes text,
              const cyaml_schema_value_t *schema, struct err *e);
void yaml_release(struct yaml *y);

/* "file:line:column: <message>" with the position of `path` ("members[1].peer"), or of the innermost part of it that the file
 * has. Returns ERR_CONFIG. */
int yaml_fault(const struct yaml *y, struct err *e, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
