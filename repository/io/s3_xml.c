/* See s3_xml.h. */
#include "repository/io/s3_xml.h"

#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

struct walk {
    XML_Parser parser;
    int (*each)(void *arg, const char *path, const char *text);
    void *arg;
    char path[S3_XML_PATH_BYTES];
    char text[S3_XML_TEXT_BYTES];
    size_t at, used;
    int result;
    bool refused;
};

static void refuse(struct walk *w)
{
    w->refused = true;
    (void)XML_StopParser(w->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *w = arg;
    size_t n = strlen(name);
    (void)attributes;
    w->used = 0;
    if (w->at + n + 2 > sizeof w->path) {
        refuse(w);
        return;
    }
    if (w->at != 0)
        w->path[w->at++] = '/';
    memcpy(w->path + w->at, name, n + 1);
    w->at += n;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int n)
{
    struct walk *w = arg;
    size_t room = sizeof w->text - 1 - w->used, step = (size_t)n < room ? (size_t)n : room;
    memcpy(w->text + w->used, text, step);
    w->used += step;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct walk *w = arg;
    (void)name;
    w->text[w->used] = '\0';
    w->used = 0;
    if (w->result == 0 && (w->result = w->each(w->arg, w->path, w->text)) != 0)
        (void)XML_StopParser(w->parser, XML_FALSE);
    char *slash = strrchr(w->path, '/');
    w->at = slash == NULL ? 0 : (size_t)(slash - w->path);
    w->path[w->at] = '\0';
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    refuse(arg);
}

int s3_xml_read(struct bytes text, int (*each)(void *arg, const char *path, const char *text),
                void *arg, struct err *e)
{
    struct walk w = {.each = each, .arg = arg};
    w.parser = XML_ParserCreate(NULL);
    if (w.parser == NULL || text.n > INT_MAX) {
        XML_ParserFree(w.parser);
        return err_set(e, ERR_NO_MEMORY, "no memory to read an answer of %zu bytes", text.n);
    }
    XML_SetUserData(w.parser, &w);
    XML_SetElementHandler(w.parser, on_start, on_end);
    XML_SetCharacterDataHandler(w.parser, on_text);
    XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
    int rc = 0;
    if (XML_Parse(w.parser, (const char *)text.p, (int)text.n, XML_TRUE) != XML_STATUS_OK &&
        w.result == 0)
        rc = err_set(e, ERR_FORMAT, "the answer is no XML of S3: line %lu: %s",
                     XML_GetCurrentLineNumber(w.parser),
                     w.refused ? "a document type, or elements too deep"
                               : XML_ErrorString(XML_GetErrorCode(w.parser)));
    XML_ParserFree(w.parser);
    return w.result != 0 ? w.result : rc;
}
