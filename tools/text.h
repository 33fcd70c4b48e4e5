/* Times as text. UTF-8 and base64 are in store/core/text.h. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include "store/core/err.h"
#include "store/core/text.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- times ---- */
enum { UTC_TEXT_BYTES = 96, LOCAL_TEXT_BYTES = 128 };
/* "2026-11-24T03:18:21.123456Z" */
const char *utc_text(struct utc t, char out[UTC_TEXT_BYTES]);
/* The same instant on this machine's clock: "2026-11-24 08:48:21.123456 +0530 (IST)" */
const char *local_text(struct utc t, char out[LOCAL_TEXT_BYTES]);
/* ISO 8601: date, 'T' or space, hours and minutes, optional seconds and fraction (up to 6 digits), then Z or an offset (+05:30,
 * +0530, +05). A text without an offset is refused with the reason: the same words mean another instant elsewhere. */
int utc_parse(const char *text, struct utc *out, struct err *e);

#endif
