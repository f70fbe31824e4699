/* A complete image processor in C that uses nothing but plugin.h: swaps red and blue, in pictures of any size. */

#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

SDH_MANIFEST static const char MANIFEST[] =
    "{ \"id\": \"c-swap\", \"vendor\": \"example\", \"version\": \"1.0.0\", \"abi\": \">=0.1, <0.2\","
    "  \"features\": [\"image-processor/0\"], \"license\": \"MIT\", \"description\": \"Swaps red and blue, in C.\","
    "  \"contributes\": [{ \"slot\": \"image-processor\", \"items\": [{ \"value\": \"swap\" }] }] }";

struct SdhStream {
    SdhFrameFormat size;
    /* As much of the host's table as it has; the rest is zero. */
    SdhHost host;
};

static _Thread_local const char *error = "";

static int32_t fail(int32_t status, const char *why) {
    error = why;
    return status;
}

static SdhBytes bytes(const char *text) { return (SdhBytes){(const uint8_t *)text, strlen(text)}; }

static SdhBytes last_error(void) { return bytes(error); }

/* It takes no params, so any object will do. */
static int32_t check(SdhBytes values, SdhFrameFormat input) {
    if (values.size < 2 || values.data[0] != '{')
        return fail(SDH_INVALID, "params must be a JSON object");
    return input.width && input.height ? SDH_OK : fail(SDH_INVALID, "an image processor is told the size of its input");
}

static int32_t plan(const SdhHost *host, const SdhPlanRequest *request, SdhText *answer) {
    SdhFrameFormat size = request->input;
    int32_t status = check(request->values, size);
    if (status != SDH_OK)
        return status;
    char text[200];
    int length = snprintf(text, sizeof text,
                          "{\"formats\":{\"input\":{\"width\":%u,\"height\":%u},\"output\":{\"width\":%u,\"height\":%u}}}",
                          size.width, size.height, size.width, size.height);
    return host->write_text(answer, (SdhBytes){(const uint8_t *)text, (uint64_t)length});
}

static int32_t open_processor(const SdhHost *host, const SdhParams *params, SdhPipeline **processor) {
    (void)host, (void)params;
    /* Nothing to keep: any address but null will do. */
    *processor = (SdhPipeline *)MANIFEST;
    return SDH_OK;
}

static void close_processor(SdhPipeline *processor) { (void)processor; }

static int32_t open_stream(SdhPipeline *processor, const SdhHost *host, const SdhParams *params, SdhStream **stream) {
    (void)processor;
    int32_t status = check(params->values, params->input);
    if (status != SDH_OK)
        return status;
    *stream = calloc(1, sizeof **stream);
    if (!*stream)
        return fail(SDH_FAILED, "out of memory");
    (*stream)->size = params->input;
    memcpy(&(*stream)->host, host, host->size < sizeof *host ? host->size : sizeof *host);
    return SDH_OK;
}

static void close_stream(SdhStream *stream) { free(stream); }

static int32_t formats(SdhStream *stream, SdhFormats *formats) {
    formats->input = formats->output = stream->size;
    return SDH_OK;
}

static int32_t update(SdhStream *stream, const SdhParams *params) { return check(params->values, stream->size); }

/* Tells the user as long as the picture has no colour. */
static void tell(const SdhHost *host, int is_grey) {
    if (host->notice)
        host->notice(host->context, bytes("colour"), bytes(is_grey ? "the picture is grey; nothing is to be seen of it" : ""));
}

static int32_t process(SdhStream *stream, const SdhFrame *input, SdhFrameMut *output) {
    SdhFrameFormat size = stream->size;
    if (input->width != size.width || input->height != size.height || output->width != size.width ||
        output->height != size.height)
        return fail(SDH_INVALID, "the picture has not the size that was told");
    int is_grey = 1;
    for (uint32_t y = 0; y < size.height; y++) {
        const uint8_t *from = input->pixels + y * input->stride;
        uint8_t *to = output->pixels + y * output->stride;
        for (uint32_t x = 0; x < size.width; x++, from += 3, to += 3)
            to[0] = from[2], to[1] = from[1], to[2] = from[0], is_grey &= from[0] == from[2];
    }
    tell(&stream->host, is_grey);
    return SDH_OK;
}

static const SdhPipelineTable PROCESSORS = {
    sizeof(SdhPipelineTable), SDH_ABI_MINOR, plan,    open_processor, close_processor,
    open_stream,              close_stream,  formats, update,         process,
    NULL,
};

static const void *get_feature(SdhBytes id) {
    static const char known[] = "image-processor/0";
    return id.size == sizeof known - 1 && !memcmp(id.data, known, id.size) ? &PROCESSORS : NULL;
}

SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void) {
    static const SdhPlugin plugin = {
        sizeof(SdhPlugin),       SDH_ABI_MAJOR, SDH_ABI_MINOR, 0,
        {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1}, last_error, get_feature,
    };
    return &plugin;
}
