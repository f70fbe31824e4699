/* Stands in for NVIDIA's management library: the calls that the host makes, for two cards of which the second is a slice
 * of one. Signatures are those of nvml.h. */

#include <stdio.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

typedef struct { int index; } *device;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
typedef struct { unsigned gpu, memory; } utilization;

static struct { int index; } cards[2] = {{0}, {1}};

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result == SUCCESS ? "success" : "failure"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "999.1");
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *found) {
    if (index > 1) return INVALID_ARGUMENT;
    *found = (device)&cards[index];
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetUUID(device card, char *uuid, unsigned length) {
    snprintf(uuid, length, card->index == 0 ? "GPU-first" : "GPU-second");
    return SUCCESS;
}

int nvmlDeviceGetName(device card, char *name, unsigned length) {
    snprintf(name, length, "Stand-in %d", card->index);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(device card, memory *info) {
    if (info->version != (sizeof *info | 2u << 24)) return INVALID_ARGUMENT;
    info->total = 24ULL << 30;
    info->free = 18ULL << 30;
    info->used = 6ULL << 30;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device card, utilization *rates) {
    if (card->index == 1) return NOT_SUPPORTED;
    rates->gpu = 40;
    rates->memory = 10;
    return SUCCESS;
}
