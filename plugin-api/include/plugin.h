/* The C contract between streamdiffusion-host and its plugins.
 *
 * Generated from plugin-api/src/abi.rs; docs/plugin-authors.md explains it. */

#ifndef SDH_PLUGIN_H
#define SDH_PLUGIN_H

#include <stdint.h>
/* Where a function writes a text of any length: made by the host, filled through SdhHost.write_text. */
typedef struct SdhText SdhText;
/* Weights and everything else that streams share: made by the plugin in `open`. */
typedef struct SdhPipeline SdhPipeline;
/* What one stream keeps from frame to frame: made by the plugin in `open_stream`. */
typedef struct SdhStream SdhStream;

/*
 The ABI's major version; it is part of the entry symbol's name.
 */
#define SDH_ABI_MAJOR 0

/*
 The ABI's minor version. Before 1.0 a plugin names the minors it works with in its manifest (`"abi": ">=0.1, <0.2"`).
 */
#define SDH_ABI_MINOR 1

/*
 The call succeeded.
 */
#define SDH_OK 0

/*
 `process` has no new picture for this frame; the previous output still stands.
 */
#define SDH_SKIPPED 1

/*
 The call failed; the object it was made on goes on working.
 */
#define SDH_FAILED -1

/*
 An argument or a parameter is not acceptable; the same call will fail again.
 */
#define SDH_INVALID -2

/*
 The call was given up because the host asked for it.
 */
#define SDH_CANCELLED -3

/*
 The plugin panicked, and the panic was caught.
 */
#define SDH_PANICKED -4

/*
 Log level: someone must act.
 */
#define SDH_LOG_ERROR 1

/*
 Log level: degraded, still working.
 */
#define SDH_LOG_WARN 2

/*
 Log level: a few lines in a stream's whole life.
 */
#define SDH_LOG_INFO 3

/*
 Log level: decisions.
 */
#define SDH_LOG_DEBUG 4

/*
 Pixel format: packed red, green, blue, 8 bits each, rows from top to bottom. The only one of ABI 0.1.
 */
#define SDH_RGB8 0

/*
 Where a tensor lies: host memory. Numbers of devices are those of DLPack; this is the only one of ABI 0.1.
 */
#define SDH_DEVICE_HOST 1

/*
 Kind of numbers: floating point. Numbers of kinds are those of DLPack; this one with 32 bits is the only one of ABI 0.1.
 */
#define SDH_DATA_FLOAT 2

/*
 Bytes or UTF-8 text: a pointer and a length. `data` may be null when `size` is 0.
 */
typedef struct SdhBytes {
  /*
   First byte.
   */
  const uint8_t *data;
  /*
   Number of bytes.
   */
  uint64_t size;
} SdhBytes;

/*
 What `sdh_plugin_entry_0` returns: a static table.
 */
typedef struct SdhPlugin {
  /*
   Size of this table in bytes.
   */
  uint32_t size;
  /*
   0.
   */
  uint32_t abi_major;
  /*
   Minor version of the ABI that the plugin was built for.
   */
  uint32_t abi_minor;
  /*
   0.
   */
  uint32_t reserved;
  /*
   The same bytes as in the section `.sdh_manifest`.
   */
  struct SdhBytes manifest;
  /*
   Why the last call on this thread returned a negative status. Valid until this thread's next call into the plugin.
   */
  struct SdhBytes (*last_error)(void);
  /*
   The `SdhPipelineTable` of a feature, null for an unknown one and where what the plugin contributes are mere names.
   */
  const void *(*get_feature)(struct SdhBytes id);
} SdhPlugin;

/*
 What the host offers. A plugin may copy the table; functions and `context` may be used from any thread until the
 process ends, also after the object they were given for is closed (they do nothing then). The texts in it are valid
 only during the call that the table is given to.
 */
typedef struct SdhHost {
  /*
   Size of this table in bytes.
   */
  uint32_t size;
  /*
   Minor version of the host's ABI.
   */
  uint32_t abi_minor;
  /*
   To be handed to each function as it is; not a pointer to anything.
   */
  uint64_t context;
  /*
   Writes a line to the host's log. `level` is `SDH_LOG_ERROR` to `SDH_LOG_DEBUG`.
   */
  void (*log)(uint64_t context, uint32_t level, struct SdhBytes text);
  /*
   Tells how far loading is (0 to 1) and what is being done. It is also the sign of life: `open` and `open_stream`
   are ended by the host when no call comes for a minute (configurable).
   */
  void (*progress)(uint64_t context, double fraction, struct SdhBytes what);
  /*
   1 when the host wants the current work given up; return `SDH_CANCELLED` soon.
   */
  uint32_t (*is_cancelled)(uint64_t context);
  /*
   Reports a measured value. The name should carry its unit, as in `encode_ms`.
   */
  void (*metric)(uint64_t context, struct SdhBytes name, double value);
  /*
   Appends to a text that the host gave to the current call. `SDH_INVALID` when it grows beyond 64 KiB.
   */
  int32_t (*write_text)(SdhText *text, struct SdhBytes bytes);
  /*
   Folder of weights (standard hub cache layout or plain folders); read only.
   */
  struct SdhBytes models_dir;
  /*
   Folder for what is built from weights and kept between runs.
   */
  struct SdhBytes engines_dir;
  /*
   Folder for anything that may be deleted at any time.
   */
  struct SdhBytes cache_dir;
  /*
   Threads that the plugin may keep busy, at least 1.
   */
  uint32_t threads;
  /*
   0.
   */
  uint32_t reserved;
  /*
   The table of a feature that other plugins offer to this one, null where there is none. `image-processor/0`,
   `residual-conditioner/0` and `token-conditioner/0` give an `SdhPipelineTable` whose `plan`, `open` and `open_stream`
   take this host table, and as `SdhParams.pipeline` any name that the stream's params have at a property of the
   pipeline's schema with a slot of that feature; the host finds the plugin that has it. Params that its schema does not name are left out.
   Their texts are written by the caller's own `write_text`, which it puts into the table that it gives to `plan`.
   Whatever is opened has to be closed before the pipeline or stream whose call opened it is. One that fails is
   switched off for the stream and refuses all later calls; the host tells the user, and the caller goes on without it.
   */
  const void *(*get_feature)(struct SdhBytes id);
  /*
   Why the last call of such a table on this thread returned a negative status. Valid until the thread's next one.
   */
  struct SdhBytes (*last_error)(void);
  /*
   Tells the user of a stream that it works, but not as asked for, and why: a sentence that stands in the `warnings` of the
   stream's status with the name of whoever says it, until the same `topic` is given another text, or an empty one as
   it does not hold any more, or until what the table was given to is closed. For the table that `open_stream` is given;
   with those of `plan` and `open` it is a line in the log. One stream's topics are at most 24, each of up to 256 bytes,
   with texts of up to 500; what goes beyond is cut or left out, and control characters become spaces.
   */
  void (*notice)(uint64_t context, struct SdhBytes topic, struct SdhBytes text);
} SdhHost;

/*
 Width and height of frames.
 */
typedef struct SdhFrameFormat {
  /*
   Pixels, 1 to 16384.
   */
  uint32_t width;
  /*
   Pixels, 1 to 16384.
   */
  uint32_t height;
} SdhFrameFormat;

/*
 What `plan` is asked.
 */
typedef struct SdhPlanRequest {
  /*
   Size of this struct in bytes.
   */
  uint32_t size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   What is in use, as in `SdhParams`.
   */
  struct SdhBytes pipeline;
  /*
   A JSON object: the wanted params.
   */
  struct SdhBytes values;
  /*
   A JSON object: the params in effect until now. Empty (size 0) for a new stream.
   */
  struct SdhBytes previous;
  /*
   As in `SdhParams`.
   */
  struct SdhFrameFormat input;
} SdhPlanRequest;

/*
 Params of a stream.
 */
typedef struct SdhParams {
  /*
   Size of this struct in bytes.
   */
  uint32_t size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   What is in use: one of the `pipeline` names of the manifest, or a value that it contributes to a slot.
   */
  struct SdhBytes pipeline;
  /*
   A JSON object: the effective params, valid by the claim's schema, defaults filled in.
   */
  struct SdhBytes values;
  /*
   For what a pipeline opens by name the size of the pictures that it is given. Zeros for a pipeline, which tells it itself.
   */
  struct SdhFrameFormat input;
  /*
   For a pipeline the size of output that its `plan` told for these params, which it has to keep to although an image
   processor that it counted on is switched off. Zeros for all else, and where no plan was asked.
   */
  struct SdhFrameFormat output;
} SdhParams;

/*
 What a stream takes and gives.
 */
typedef struct SdhFormats {
  /*
   Size of this struct in bytes, set by the caller.
   */
  uint32_t size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Frames given to `process`.
   */
  struct SdhFrameFormat input;
  /*
   Frames that `process` writes.
   */
  struct SdhFrameFormat output;
} SdhFormats;

/*
 A picture to read.
 */
typedef struct SdhFrame {
  /*
   Size of this struct in bytes.
   */
  uint32_t size;
  /*
   `SDH_RGB8`.
   */
  uint32_t format;
  /*
   Pixels.
   */
  uint32_t width;
  /*
   Pixels.
   */
  uint32_t height;
  /*
   Bytes from one row to the next, at least `width * 3`. What lies between the rows is undefined.
   */
  uint64_t stride;
  /*
   First pixel of the top row, in host memory. Valid during the call only.
   */
  const uint8_t *pixels;
  /*
   Bytes that may be read at `pixels`, at least `stride * (height - 1) + width * 3`.
   */
  uint64_t length;
  /*
   Counts the publisher's frames, from 1; some may be left out.
   */
  uint64_t id;
  /*
   When the frame reached the host: nanoseconds of the monotonic clock.
   */
  uint64_t captured_ns;
} SdhFrame;

/*
 A picture to write. `id` and `captured_ns` are set to those of the input frame before the call; a plugin that gives
 out the picture of an older input sets them to that one's.
 */
typedef struct SdhFrameMut {
  /*
   Size of this struct in bytes.
   */
  uint32_t size;
  /*
   `SDH_RGB8`.
   */
  uint32_t format;
  /*
   Pixels.
   */
  uint32_t width;
  /*
   Pixels.
   */
  uint32_t height;
  /*
   Bytes from one row to the next, at least `width * 3`. What lies between the rows need not be written.
   */
  uint64_t stride;
  /*
   First pixel of the top row, in host memory. Valid during the call only; its content before the call is undefined.
   */
  uint8_t *pixels;
  /*
   Bytes that may be written at `pixels`, at least `stride * (height - 1) + width * 3`.
   */
  uint64_t length;
  /*
   The input frame that this picture shows.
   */
  uint64_t id;
  /*
   When that frame reached the host: nanoseconds of the monotonic clock.
   */
  uint64_t captured_ns;
} SdhFrameMut;

/*
 The kind of a tensor's numbers, as in DLPack.
 */
typedef struct SdhDataType {
  /*
   `SDH_DATA_FLOAT`.
   */
  uint8_t code;
  /*
   Bits of one number: 32.
   */
  uint8_t bits;
  /*
   Numbers that make one element: 1.
   */
  uint16_t lanes;
} SdhDataType;

/*
 A view of numbers that someone else owns, with the fields of DLPack's tensor.
 */
typedef struct SdhTensor {
  /*
   Size of this struct in bytes; in a list it is the distance to the next one.
   */
  uint32_t size;
  /*
   `SDH_DEVICE_HOST`.
   */
  uint32_t device;
  /*
   Which of the devices of its kind: 0.
   */
  int32_t device_id;
  /*
   Number of axes, at most 8.
   */
  uint32_t axes;
  /*
   What it is in the call, as in `latents`.
   */
  struct SdhBytes name;
  /*
   Kind of its numbers.
   */
  struct SdhDataType data_type;
  /*
   0.
   */
  uint32_t reserved;
  /*
   Sizes of the axes, the outermost first. May be null without axes.
   */
  const int64_t *shape;
  /*
   From one element to the next along each axis, in elements, not negative; null where nothing lies between them.
   */
  const int64_t *strides;
  /*
   Memory in which they lie, aligned for its numbers at `byte_offset`.
   */
  void *data;
  /*
   From `data` to the first element.
   */
  uint64_t byte_offset;
  /*
   Bytes that may be read at `data`.
   */
  uint64_t length;
} SdhTensor;

/*
 Tensors that are handed over together.
 */
typedef struct SdhTensors {
  /*
   Size of this struct in bytes.
   */
  uint32_t size;
  /*
   0.
   */
  uint32_t reserved;
  /*
   The first of them; at most 64.
   */
  const struct SdhTensor *items;
  /*
   How many there are.
   */
  uint64_t count;
  /*
   For whoever made the list.
   */
  void *owner;
  /*
   Frees the list and all that it shows, and sets itself, `items` and `owner` to null and `count` to 0. Called once,
   from any thread. Null where the list is valid during a call only.
   */
  void (*release)(struct SdhTensors *tensors);
} SdhTensors;

/*
 The features `pipeline/0`, `image-processor/0`, `residual-conditioner/0` and `token-conditioner/0`. All have this table:
 the first two take and give frames, by `formats` and `process`; conditioners take and give tensors, by `condition`, and
 have null for those.

 A pipeline is what a stream runs; it chooses the size of its input. An image processor is a step before or after
 diffusion, or what makes a ControlNet's picture; it is told the size of its input, which `plan` may refuse, and `process`
 gives the same `id` and `captured_ns` that it got. A conditioner adds something to a denoising network; what it is given
 and what it has to answer with is said at the feature in docs/plugin-authors.md.

 Threads: `plan`, `open` and functions on different objects may be called at the same time from any thread; calls on
 one stream never overlap, and no call on a pipeline or stream comes during or after its close.
 */
typedef struct SdhPipelineTable {
  /*
   Size of this table in bytes.
   */
  uint32_t size;
  /*
   Minor version of the ABI that the plugin was built for.
   */
  uint32_t abi_minor;
  /*
   Answers what would happen with these params. Pure: the same request gets the same answer, nothing is loaded and
   nothing is kept. It writes a JSON object (see `Plan` in docs/plugin-authors.md) to `answer` with
   `host->write_text`, and takes milliseconds; the host ends it after 5 s.
   */
  int32_t (*plan)(const struct SdhHost *host, const struct SdhPlanRequest *request, SdhText *answer);
  /*
   Loads weights. May take long, with `host->progress` as the sign of life. Streams whose params differ in hot ones
   only share a pipeline, so what depends on hot params belongs to `open_stream`.
   */
  int32_t (*open)(const struct SdhHost *host, const struct SdhParams *params, SdhPipeline **pipeline);
  /*
   Frees a pipeline. All its streams are closed before.
   */
  void (*close)(SdhPipeline *pipeline);
  /*
   Makes a stream's own state.
   */
  int32_t (*open_stream)(SdhPipeline *pipeline,
                         const struct SdhHost *host,
                         const struct SdhParams *params,
                         SdhStream **stream);
  /*
   Frees a stream.
   */
  void (*close_stream)(SdhStream *stream);
  /*
   Tells what the stream takes and gives. Constant for the stream's life.
   */
  int32_t (*formats)(SdhStream *stream, struct SdhFormats *formats);
  /*
   Applies params of which only hot ones changed. The next `process` uses them. On failure the old ones stay.
   */
  int32_t (*update)(SdhStream *stream, const struct SdhParams *params);
  /*
   Makes one output picture from one input picture. `SDH_OK` or `SDH_SKIPPED`, or a negative status.
   */
  int32_t (*process)(SdhStream *stream, const struct SdhFrame *input, struct SdhFrameMut *output);
  /*
   For conditioners: answers tensors with tensors. `given` is valid during the call only. `made` comes empty, with its
   size set, and is filled where the call succeeds; the caller releases it before the stream is closed.
   */
  int32_t (*condition)(SdhStream *stream, const struct SdhTensors *given, struct SdhTensors *made);
} SdhPipelineTable;

#endif  /* SDH_PLUGIN_H */

#define SDH_EXPORT __attribute__((visibility("default")))
/* Put before the definition of a static char array that holds the manifest (JSON). */
#define SDH_MANIFEST __attribute__((section(".sdh_manifest"), used))

#ifdef __cplusplus
extern "C"
#endif
/* The one symbol that a plugin exports. Never null. */
SDH_EXPORT const SdhPlugin *sdh_plugin_entry_0(void);
