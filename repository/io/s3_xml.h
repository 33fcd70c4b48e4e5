/* S3's answers, which are XML, read by expat: one call per element, when it ends. */
#ifndef REPOSITORY_IO_S3_XML_H
#define REPOSITORY_IO_S3_XML_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum { S3_XML_PATH_BYTES = 128, S3_XML_TEXT_BYTES = 1100 /* keys have up to 1,024 */ };

/* `path` is "ListVersionsResult/Version/Key"; `text` what stood in the element itself, cut at its limit. Stops with the
 * callback's non-zero result. ERR_FORMAT with line and reason; what has a document type, which could define entities, is
 * refused. */
int s3_xml_read(struct bytes text, int (*each)(void *arg, const char *path, const char *text),
                void *arg, struct err *e);

#endif
