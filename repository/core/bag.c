#include "repository/core/bag.h"

#include "store/core/text.h"

#include <stdio.h>

static void put(struct writer *w, const char *text)
{
    write_bytes(w, bytes_str(text));
}

static void put_number(struct writer *w, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    put(w, text);
}

static void put_percent(struct writer *w, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char text[3] = {'%', digits[c >> 4], digits[c & 15]};
    write_bytes(w, bytes_of(text, sizeof text));
}

void bag_proof_name(uint64_t line, struct lsn lsn, char out[BAG_NAME_BYTES])
{
    (void)snprintf(out, BAG_NAME_BYTES, "data/proofs/%010llu-%llu.tlog-proof",
                   (unsigned long long)line, (unsigned long long)lsn.v);
}

void bag_manifest_line(struct writer *w, const char *hash, struct bytes name)
{
    put(w, hash);
    put(w, "  ");
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '\r' || name.p[i] == '\n' || name.p[i] == '%')
            put_percent(w, name.p[i]);
        else
            write_u8(w, name.p[i]);
    put(w, "\n");
}

bool bag_info_value(struct bytes value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] == 0x7f)
            return false;
    return value.n >= 1 && value.n <= 1000 && utf8_valid(value, NULL);
}

/* U+FFFE and U+FFFF are well-formed UTF-8 and no characters of XML. */
static bool is_xml(struct bytes c)
{
    return c.n != 3 || c.p[0] != 0xef || c.p[1] != 0xbf || c.p[2] < 0xbe;
}

void bag_xml_text(struct writer *w, struct bytes text)
{
    for (size_t i = 0; i < text.n;) {
        struct bytes rest = bytes_of(text.p + i, text.n - i);
        size_t n = utf8_length(rest);
        uint8_t c = rest.p[0];
        if (n > 1 && is_xml(bytes_of(rest.p, n)))
            write_bytes(w, bytes_of(rest.p, n));
        else if (n != 1 || c < 0x20 || c == 0x7f || c == '%')
            for (size_t k = 0; k < (n == 0 ? 1 : n); k++)
                put_percent(w, rest.p[k]);
        else if (c == '<' || c == '>' || c == '&' || c == '"')
            put(w, c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : "&quot;");
        else
            write_u8(w, c);
        i += n == 0 ? 1 : n;
    }
}

/* ---- PREMIS ---- */

/* <name>text</name> */
static void element(struct writer *w, const char *name, struct bytes text)
{
    put(w, "<");
    put(w, name);
    put(w, ">");
    bag_xml_text(w, text);
    put(w, "</");
    put(w, name);
    put(w, ">");
}

/* <xIdentifier> of what the bag itself names, or <linkingXIdentifier> */
static void identifier(struct writer *w, const char *what, const char *value)
{
    static const char *const part[] = {"Type", "Value"};
    put(w, "<");
    put(w, what);
    put(w, ">");
    for (int i = 0; i < 2; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s%s", what, part[i]);
        element(w, name, bytes_str(i == 0 ? "local" : value));
    }
    put(w, "</");
    put(w, what);
    put(w, ">");
}

void bag_premis_begin(struct writer *w)
{
    put(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
           "<premis xmlns=\"http://www.loc.gov/premis/v3\" "
           "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" version=\"3.0\">\n");
}

static void fixity(struct writer *w, const char *algorithm, const char *digest)
{
    put(w, "<fixity>");
    element(w, "messageDigestAlgorithm", bytes_str(algorithm));
    element(w, "messageDigest", bytes_str(digest));
    put(w, "</fixity>");
}

void bag_premis_object(struct writer *w, const struct bag_object *o)
{
    put(w, "<object xsi:type=\"file\">");
    identifier(w, "objectIdentifier", o->name);
    put(w, "<objectCharacteristics>");
    fixity(w, "SHA-256", o->sha256);
    fixity(w, "SHA-512", o->sha512);
    put(w, "<size>");
    put_number(w, o->bytes);
    put(w, "</size><format><formatDesignation>");
    element(w, "formatName", bytes_str(o->format));
    put(w, "</formatDesignation></format></objectCharacteristics></object>\n");
}

void bag_premis_event(struct writer *w, const struct bag_event *event)
{
    char id[32];
    (void)snprintf(id, sizeof id, "event-%llu", (unsigned long long)event->number);
    put(w, "<event>");
    identifier(w, "eventIdentifier", id);
    element(w, "eventType", bytes_str(event->type));
    element(w, "eventDateTime", bytes_str(event->time));
    put(w, "<eventDetailInformation>");
    element(w, "eventDetail", event->detail);
    put(w, "</eventDetailInformation><eventOutcomeInformation>");
    element(w, "eventOutcome", bytes_str("success"));
    put(w, "</eventOutcomeInformation>");
    identifier(w, "linkingAgentIdentifier", event->agent);
    identifier(w, "linkingObjectIdentifier", event->object);
    put(w, "</event>\n");
}

void bag_premis_agent(struct writer *w, const char *id, struct bytes name, const char *type)
{
    put(w, "<agent>");
    identifier(w, "agentIdentifier", id);
    element(w, "agentName", name);
    element(w, "agentType", bytes_str(type));
    put(w, "</agent>\n");
}

void bag_premis_end(struct writer *w)
{
    put(w, "</premis>\n");
}
