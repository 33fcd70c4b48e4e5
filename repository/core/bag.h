/* The texts of an export: a bag (BagIt 1.0, RFC 8493) whose metadata is PREMIS 3. docs/REPOSITORY-FORMAT.md has the whole.
 *
 * No name in a bag has anything of a record in it, because keys are arbitrary bytes: a proof is named by the number of its line
 * in data/records.jsonl and by the lsn. Texts of records stand inside files alone, and escaped. */
#ifndef REPOSITORY_CORE_BAG_H
#define REPOSITORY_CORE_BAG_H

#include "store/core/bytes.h"

/* "data/proofs/0000000001-42.tlog-proof": in the order of the lines, up to ten digits of them. */
enum { BAG_NAME_BYTES = 72 };
void bag_proof_name(uint64_t line, struct lsn lsn, char out[BAG_NAME_BYTES]);

/* "<hash>  <name>\n"; CR, LF and '%' of the name as %0D, %0A and %25 (RFC 8493, 2.1.3). */
void bag_manifest_line(struct writer *w, const char *hash, struct bytes name);
/* Can it be the value of a line of bag-info.txt? UTF-8 without control characters, 1 to 1000 bytes. */
bool bag_info_value(struct bytes value);

/* Text of an element or attribute: markup as entities; '%', control characters and what is not UTF-8, or no character of XML
 * 1.0, as %XX, so that different bytes never give the same text. At most 6 bytes for one. */
void bag_xml_text(struct writer *w, struct bytes text);

/* ---- data/premis.xml: begin, objects, events, agents, end ---- */

void bag_premis_begin(struct writer *w);
struct bag_object {
    const char *name, *sha256, *sha512, *format;
    uint64_t bytes;
};
void bag_premis_object(struct writer *w, const struct bag_object *o);
/* `type` is of the vocabulary of the Library of Congress, `time` ISO 8601, `object` the name of one. */
struct bag_event {
    uint64_t number;
    const char *type, *time, *agent, *object;
    struct bytes detail;
};
void bag_premis_event(struct writer *w, const struct bag_event *event);
void bag_premis_agent(struct writer *w, const char *id, struct bytes name, const char *type);
void bag_premis_end(struct writer *w);

#endif
