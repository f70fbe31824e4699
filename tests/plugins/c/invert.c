/* A complete plugin in C that uses nothing but plugin.h: inverts pictures, more or less.
 *
 * Tests build it under several names: ID is also its pipeline. */

#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ID
#define ID "c-invert"
#endif
#ifndef VENDOR
#define VENDOR "example"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif

#ifndef NOTICE
#define NOTICE "pictures stay as they are"
#endif

enum { SIDE = 64 };

SDH_MANIFEST static const char MANIFEST[] =
    "{ \"id\": \"" ID "\", \"vendor\": \"" VENDOR "\", \"version\": \"" VERSION "\", \"abi\": \">=0.1, <0.2\","
    "  \"features\": [\"pipeline/0\"], \"license\": \"MIT\", \"description\": \"Inverts pictures, in C.\","
    "  \"claims\": [{ \"pipeline\": \"" ID "\", \"models\": null, \"description\": \"Inverts pictures.\","
    "    \"params\": { \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "      \"strength\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 255, \"default\": 255,"
    "        \"description\": \"How much of it.\", \"x-apply\": \"hot\" } } } }] }";

struct SdhStream {
    unsigned strength;
    /* As much of the host's table as it has; the rest is zero. */
    SdhHost host;
};

static _Thread_local char error[200];

static int32_t fail(int32_t status, const char *why) {
    snprintf(error, sizeof error, "%s", why);
    return status;
}

/* Reads `strength` out of a JSON object of which only the outside is looked at. */
static int32_t read_strength(SdhBytes values, unsigned *strength) {
    char text[4096];
    if (values.size < 2 || values.size >= sizeof text || values.data[0] != '{')
        return fail(SDH_INVALID, "params must be a JSON object below 4096 bytes");
    memcpy(text, values.data, values.size);
    text[values.size] = 0;
    const char *found = strstr(text, "\"strength\":");
    long value = found ? strtol(found + strlen("\"strength\":"), NULL, 10) : 255;
    if (value < 0 || value > 255)
        return fail(SDH_INVALID, "`strength` must be 0 to 255");
    *strength = (unsigned)value;
    return SDH_OK;
}

static SdhBytes bytes(const char *text) { return (SdhBytes){(const uint8_t *)text, strlen(text)}; }

static SdhBytes last_error(void) { return bytes(error); }

static int32_t plan(const SdhHost *host, const SdhPlanRequest *request, SdhText *answer) {
    unsigned strength;
    int32_t status = read_strength(request->values, &strength);
    if (status != SDH_OK)
        return status;
    char text[200];
    int length = snprintf(text, sizeof text,
                          "{\"formats\":{\"input\":{\"width\":%d,\"height\":%d},\"output\":{\"width\":%d,\"height\":%d}}}",
                          SIDE, SIDE, SIDE, SIDE);
    return host->write_text(answer, (SdhBytes){(const uint8_t *)text, (uint64_t)length});
}

static int32_t open_pipeline(const SdhHost *host, const SdhParams *params, SdhPipeline **pipeline) {
    (void)params;
    static const char what[] = "nothing to load";
    host->progress(host->context, 1.0, (SdhBytes){(const uint8_t *)what, sizeof what - 1});
    /* Nothing to keep: any address but null will do. */
    *pipeline = (SdhPipeline *)MANIFEST;
    return SDH_OK;
}

static void close_pipeline(SdhPipeline *pipeline) { (void)pipeline; }

/* Tells the user as long as nothing is to be seen of it. */
static void tell(const SdhStream *stream) {
    const SdhHost *host = &stream->host;
    if (host->notice)
        host->notice(host->context, bytes("strength"), bytes(stream->strength ? "" : NOTICE));
}

static int32_t open_stream(SdhPipeline *pipeline, const SdhHost *host, const SdhParams *params, SdhStream **stream) {
    (void)pipeline;
    unsigned strength;
    int32_t status = read_strength(params->values, &strength);
    if (status != SDH_OK)
        return status;
    *stream = calloc(1, sizeof **stream);
    if (!*stream)
        return fail(SDH_FAILED, "out of memory");
    (*stream)->strength = strength;
    memcpy(&(*stream)->host, host, host->size < sizeof *host ? host->size : sizeof *host);
    tell(*stream);
    return SDH_OK;
}

static void close_stream(SdhStream *stream) { free(stream); }

static int32_t formats(SdhStream *stream, SdhFormats *formats) {
    (void)stream;
    formats->input = formats->output = (SdhFrameFormat){SIDE, SIDE};
    return SDH_OK;
}

static int32_t update(SdhStream *stream, const SdhParams *params) {
    int32_t status = read_strength(params->values, &stream->strength);
    if (status == SDH_OK)
        tell(stream);
    return status;
}

static int32_t process(SdhStream *stream, const SdhFrame *input, SdhFrameMut *output) {
    if (input->width != SIDE || input->height != SIDE || output->width != SIDE || output->height != SIDE)
        return fail(SDH_INVALID, "pictures must be 64x64");
    for (uint32_t y = 0; y < SIDE; y++) {
        const uint8_t *from = input->pixels + y * input->stride;
        uint8_t *to = output->pixels + y * output->stride;
        for (uint32_t x = 0; x < SIDE * 3; x++) {
            unsigned inverted = 255u - from[x];
            to[x] = (uint8_t)((from[x] * (255 - stream->strength) + inverted * stream->strength + 127) / 255);
        }
    }
    return SDH_OK;
}

static const SdhPipelineTable PIPELINE = {
    sizeof(SdhPipelineTable), SDH_ABI_MINOR, plan,    open_pipeline, close_pipeline,
    open_stream,              close_stream,  formats, update,        process,
    NULL,
};

static const void *get_feature(SdhBytes id) {
    static const char known[] = "pipeline/0";
    return id.size == sizeof known - 1 && !memcmp(id.data, known, id.size) ? &PIPELINE : NULL;
}

SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void) {
    static const SdhPlugin plugin = {
        sizeof(SdhPlugin),       SDH_ABI_MAJOR, SDH_ABI_MINOR, 0,
        {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1}, last_error, get_feature,
    };
    return &plugin;
}
