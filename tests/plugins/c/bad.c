/* Libraries that cannot be used, one for each way; the macros choose.
 *
 * ID, ABI, VERSION     what the manifest says
 * IN_CONSTRUCTOR       what is done while the library is opened
 * NO_MANIFEST          no section
 * NO_ENTRY             no entry symbol, as in a library for another ABI major
 * SMALL_TABLE          an entry table that is too short
 * OTHER_MANIFEST       a table that holds another manifest than the section */

#include "plugin.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef ABI
#define ABI ">=0.1, <0.2"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#define TEXT(version)                                                                                             \
    "{ \"id\": \"" ID "\", \"vendor\": \"example\", \"version\": \"" version "\", \"abi\": \"" ABI "\","          \
    "  \"features\": [\"pipeline/0\"], \"license\": \"MIT\", \"description\": \"Cannot be used.\","               \
    "  \"claims\": [{ \"pipeline\": \"" ID "\", \"description\": \"None.\", \"params\": { \"type\": \"object\" } }] }"

#ifndef NO_MANIFEST
SDH_MANIFEST
#endif
static const char MANIFEST[] = TEXT(VERSION);

#ifdef IN_CONSTRUCTOR
__attribute__((constructor)) static void construct(void) { IN_CONSTRUCTOR; }
#endif

static SdhBytes last_error(void) { return (SdhBytes){0, 0}; }

#ifdef OTHER_MANIFEST
/* Complete, so that the manifest is all that is wrong. */
static void nothing(void) {}
static const SdhPipelineTable PIPELINE = {
    sizeof(SdhPipelineTable), SDH_ABI_MINOR,   (void *)nothing, (void *)nothing, (void *)nothing,
    (void *)nothing,          (void *)nothing, (void *)nothing, (void *)nothing, (void *)nothing,
    NULL,
};
#endif

static const void *get_feature(SdhBytes id) {
#ifdef OTHER_MANIFEST
    return id.size == sizeof "pipeline/0" - 1 ? &PIPELINE : 0;
#else
    (void)id;
    return 0;
#endif
}

#ifdef NO_ENTRY
#define sdh_plugin_entry_0 sdh_plugin_entry_7
#endif

SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void) {
#ifdef OTHER_MANIFEST
    static const char manifest[] = TEXT("9.9.9");
#else
#define manifest MANIFEST
#endif
    static const SdhPlugin plugin = {
#ifdef SMALL_TABLE
        8,
#else
        sizeof(SdhPlugin),
#endif
        0, SDH_ABI_MINOR, 0, {(const uint8_t *)manifest, sizeof manifest - 1}, last_error, get_feature,
    };
    return &plugin;
}
