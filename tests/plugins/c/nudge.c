/* A complete residual conditioner in C that uses nothing but plugin.h: adds the same number to every activation that the
   UNet of Stable Diffusion 1.5 keeps for its way up, and to its middle. */

#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

SDH_MANIFEST static const char MANIFEST[] =
    "{ \"id\": \"c-nudge\", \"vendor\": \"example\", \"version\": \"1.0.0\", \"abi\": \">=0.1, <0.2\","
    "  \"features\": [\"residual-conditioner/0\"], \"license\": \"MIT\", \"description\": \"Nudges pictures, in C.\","
    "  \"contributes\": [{ \"slot\": \"controlnet\", \"items\": [{ \"value\": \"nudge\" }] }],"
    "  \"aliases\": [{ \"pipeline\": \"nudged\", \"of\": \"streamdiffusion-sd15\", \"description\": \"Nudged pictures.\","
    "    \"defaults\": { \"controlnets\": [{ \"model_id\": \"nudge\" }] }, \"requires\": { \"type\": \"object\", \"properties\":"
    "      { \"controlnets\": { \"contains\": { \"properties\": { \"model_id\": { \"const\": \"nudge\" } } } } } } }] }";

/* How often the sides of latents are halved for each of the residuals, the last one being that of the middle. */
static const int HALVINGS[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3};
enum { RESIDUALS = sizeof HALVINGS / sizeof HALVINGS[0], CHANNELS = 32 };
static const char NAMES[RESIDUALS][3] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"};

/* All that one call hands out, freed together. */
struct Answer {
    SdhTensor tensors[RESIDUALS];
    int64_t shapes[RESIDUALS][4];
    float values[];
};

static _Thread_local const char *error = "";

static int32_t fail(int32_t status, const char *why) {
    error = why;
    return status;
}

static SdhBytes last_error(void) { return (SdhBytes){(const uint8_t *)error, strlen(error)}; }

/* It takes no params, so any object will do. */
static int32_t check(SdhBytes values) {
    return values.size >= 2 && values.data[0] == '{' ? SDH_OK : fail(SDH_INVALID, "params must be a JSON object");
}

static int32_t plan(const SdhHost *host, const SdhPlanRequest *request, SdhText *answer) {
    static const char text[] = "{\"formats\":{\"input\":{\"width\":0,\"height\":0},\"output\":{\"width\":0,\"height\":0}}}";
    int32_t status = check(request->values);
    return status == SDH_OK ? host->write_text(answer, (SdhBytes){(const uint8_t *)text, sizeof text - 1}) : status;
}

static int32_t open_conditioner(const SdhHost *host, const SdhParams *params, SdhPipeline **conditioner) {
    (void)host;
    /* Nothing to keep: any address but null will do. */
    *conditioner = (SdhPipeline *)MANIFEST;
    return check(params->values);
}

static void close_conditioner(SdhPipeline *conditioner) { (void)conditioner; }

static int32_t open_stream(SdhPipeline *conditioner, const SdhHost *host, const SdhParams *params, SdhStream **stream) {
    (void)host;
    *stream = (SdhStream *)conditioner;
    return check(params->values);
}

static void close_stream(SdhStream *stream) { (void)stream; }

static int32_t update(SdhStream *stream, const SdhParams *params) {
    (void)stream;
    return check(params->values);
}

static void release(SdhTensors *made) {
    free(made->owner);
    made->owner = NULL, made->items = NULL, made->count = 0, made->release = NULL;
}

static const SdhTensor *find(const SdhTensors *given, const char *name) {
    for (uint64_t index = 0; index < given->count; index++) {
        SdhBytes found = given->items[index].name;
        if (found.size == strlen(name) && !memcmp(found.data, name, found.size))
            return &given->items[index];
    }
    return NULL;
}

static int32_t condition(SdhStream *stream, const SdhTensors *given, SdhTensors *made) {
    (void)stream;
    const SdhTensor *latents = find(given, "sample");
    if (!latents || latents->axes != 4)
        return fail(SDH_INVALID, "`sample` must be there, with 4 axes");
    int64_t total = 0, shapes[RESIDUALS][4];
    for (int index = 0; index < RESIDUALS; index++) {
        int64_t height = latents->shape[2], width = latents->shape[3];
        for (int halving = 0; halving < HALVINGS[index]; halving++)
            height = (height + 1) / 2, width = (width + 1) / 2;
        int64_t shape[4] = {latents->shape[0], CHANNELS, height, width};
        memcpy(shapes[index], shape, sizeof shape);
        total += shape[0] * shape[1] * shape[2] * shape[3];
    }
    struct Answer *answer = malloc(sizeof *answer + (size_t)total * sizeof(float));
    if (!answer)
        return fail(SDH_FAILED, "out of memory");
    memcpy(answer->shapes, shapes, sizeof shapes);
    for (int64_t index = 0; index < total; index++)
        answer->values[index] = 3;
    float *values = answer->values;
    for (int index = 0; index < RESIDUALS; index++) {
        const int64_t *shape = answer->shapes[index];
        uint64_t count = (uint64_t)(shape[0] * shape[1] * shape[2] * shape[3]);
        SdhBytes name = {(const uint8_t *)NAMES[index], strlen(NAMES[index])};
        answer->tensors[index] = (SdhTensor){
            sizeof(SdhTensor), SDH_DEVICE_HOST, 0,      4, name, {SDH_DATA_FLOAT, 32, 1}, 0, shape, NULL,
            values,            0,               count * sizeof(float),
        };
        values += count;
    }
    made->items = answer->tensors, made->count = RESIDUALS, made->owner = answer, made->release = release;
    return SDH_OK;
}

static const SdhPipelineTable CONDITIONERS = {
    sizeof(SdhPipelineTable), SDH_ABI_MINOR, plan, open_conditioner, close_conditioner,
    open_stream,              close_stream,  NULL, update,           NULL,
    condition,
};

static const void *get_feature(SdhBytes id) {
    static const char known[] = "residual-conditioner/0";
    return id.size == sizeof known - 1 && !memcmp(id.data, known, id.size) ? &CONDITIONERS : NULL;
}

SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void) {
    static const SdhPlugin plugin = {
        sizeof(SdhPlugin),       SDH_ABI_MAJOR, SDH_ABI_MINOR, 0,
        {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1}, last_error, get_feature,
    };
    return &plugin;
}
