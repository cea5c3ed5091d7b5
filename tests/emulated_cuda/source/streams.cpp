// Streams, events and graphs. Work is done at once; or, with the setting "late", when somebody waits for it.
//
// A stream that captures writes its work down, with CUDA's rules of what may not be captured; launching the graph does it.

#include "emulated.h"

#include <algorithm>
#include <chrono>

static Stream legacy[MOST_DEVICES];
static vector<Stream*> streams, capturing;
struct Event {
    std::chrono::steady_clock::time_point time;
    bool is_done = false, is_asked = false;
    Stream* stream = nullptr;
};

bool is_late() { static bool is = setting("late"); return is; }
Stream* stream_of(void* s) { return (size_t)s <= 2 ? &legacy[current_device] : (Stream*)s; }
static bool is_legacy(Stream* s) { return s >= legacy && s < legacy + MOST_DEVICES; }
static bool is_blocking(Stream* s) { return !(s->flags & cudaStreamNonBlocking); }

static int perform(Stream* s, const Work& work)
{
    int before = current_device;
    current_device = s->device;
    Open open;
    int error = work();
    current_device = before;
    return error;
}

int drain(Stream* s)
{
    while (!s->queue.empty()) {
        Work work = s->queue.front();
        s->queue.pop_front();
        if (int error = perform(s, work)) sticky = error;
    }
    return sticky;
}
int drain_all()
{
    for (Stream& s : legacy) drain(&s);
    for (Stream* s : streams) drain(s);
    return sticky;
}

// What a legacy stream is given comes after all that blocking streams were given before, and the other way round.
void finish_before(Stream* s)
{
    if (is_legacy(s)) {
        for (Stream* other : streams)
            if (is_blocking(other) && other->device == s->device) drain(other);
    } else if (is_blocking(s)) {
        drain(&legacy[s->device]);
    }
}

int enqueue(void* stream, Work work)
{
    Lock lock(one_at_a_time);
    Stream* s = stream_of(stream);
    if (is_legacy(s)) s->device = s - legacy;
    CHECK(sticky);
    if (s->capture) {
        s->capture->nodes.push_back(work);
        return 0;
    }
    if (!is_late()) return perform(s, work);
    finish_before(s);
    s->queue.push_back(work);
    return 0;
}

int check_capture(void* stream, const char* what)
{
    Lock lock(one_at_a_time);
    Stream* s = stream_of(stream);
    if (s->capture) {
        s->broken = true;
        return fail(cudaErrorStreamCaptureUnsupported, what);
    }
    for (Stream* other : capturing)
        if ((size_t)stream <= 1 && is_blocking(other)) {
            other->broken = true;
            return fail(cudaErrorStreamCaptureImplicit, what);
        }
    return 0;
}

int check_safe(const char* what)
{
    Lock lock(one_at_a_time);
    for (Stream* s : capturing)
        if (s->mode != cudaStreamCaptureModeRelaxed) {
            s->broken = true;
            return fail(cudaErrorStreamCaptureUnsupported, what);
        }
    return 0;
}

// ---- streams

RUNTIME(cudaStreamCreateWithPriority)(cudaStream_t* s, unsigned flags, int priority)
{
    Lock lock(one_at_a_time);
    Stream* stream = new Stream;
    stream->flags = flags, stream->priority = priority, stream->device = current_device;
    streams.push_back(stream);
    *s = (cudaStream_t)stream;
    return cudaSuccess;
}
RUNTIME(cudaStreamCreate)(cudaStream_t* s) { return emulated_cudaStreamCreateWithPriority(s, 0, 0); }
RUNTIME(cudaStreamCreateWithFlags)(cudaStream_t* s, unsigned f) { return emulated_cudaStreamCreateWithPriority(s, f, 0); }
RUNTIME(cudaStreamGetFlags)(cudaStream_t s, unsigned* flags) { *flags = stream_of(s)->flags; return cudaSuccess; }
RUNTIME(cudaStreamGetPriority)(cudaStream_t s, int* p) { *p = stream_of(s)->priority; return cudaSuccess; }
RUNTIME(cudaStreamDestroy)(cudaStream_t s)
{
    Lock lock(one_at_a_time);
    Stream* stream = stream_of(s);
    if (is_legacy(stream)) return cudaSuccess;
    drain(stream);
    streams.erase(std::remove(streams.begin(), streams.end(), stream), streams.end());
    delete stream;
    return cudaSuccess;
}
RUNTIME(cudaStreamSynchronize)(cudaStream_t s)
{
    Lock lock(one_at_a_time);
    CHECK(check_capture(s, CALLER));
    record("wait", "stream");
    finish_before(stream_of(s));
    return (cudaError_t)drain(stream_of(s));
}
RUNTIME(cudaStreamQuery)(cudaStream_t s)
{
    CHECK(check_capture(s, CALLER));
    return stream_of(s)->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}
RUNTIME(cudaStreamAddCallback)(cudaStream_t s, cudaStreamCallback_t f, void* data, unsigned)
{
    CHECK(check_capture(s, CALLER));
    return (cudaError_t)enqueue(s, [=] { f(s, cudaSuccess, data); return 0; });
}
RUNTIME(cudaLaunchHostFunc)(cudaStream_t s, cudaHostFn_t f, void* data)
{
    return (cudaError_t)enqueue(s, [=] { f(data); return 0; });
}
RUNTIME(cudaDeviceSynchronize)()
{
    Lock lock(one_at_a_time);
    for (Stream* s : capturing) {
        s->broken = true;
        FAIL(cudaErrorStreamCaptureUnsupported);
    }
    record("wait", "device");
    return (cudaError_t)drain_all();
}

// ---- events

RUNTIME(cudaEventCreate)(cudaEvent_t* e) { *e = (cudaEvent_t)new Event; return cudaSuccess; }
RUNTIME(cudaEventCreateWithFlags)(cudaEvent_t* e, unsigned) { return emulated_cudaEventCreate(e); }
static int reach(Event* event) { return event->is_asked && !event->is_done ? drain(event->stream) : sticky; }
RUNTIME(cudaEventDestroy)(cudaEvent_t e)
{
    Lock lock(one_at_a_time);
    reach((Event*)e);
    delete (Event*)e;
    return cudaSuccess;
}
RUNTIME(cudaEventRecord)(cudaEvent_t e, cudaStream_t s)
{
    Lock lock(one_at_a_time);
    if (stream_of(s)->capture) {
        say("an event in a stream that captures is not emulated");
        FAIL(cudaErrorNotSupported);
    }
    Event* event = (Event*)e;
    reach(event);
    event->is_asked = true, event->is_done = false, event->stream = stream_of(s);
    return (cudaError_t)enqueue(s, [=] {
        event->time = std::chrono::steady_clock::now();
        event->is_done = true;
        return 0;
    });
}
RUNTIME(cudaEventQuery)(cudaEvent_t e)
{
    return ((Event*)e)->is_asked && !((Event*)e)->is_done ? cudaErrorNotReady : cudaSuccess;
}
RUNTIME(cudaEventSynchronize)(cudaEvent_t e)
{
    Lock lock(one_at_a_time);
    record("wait", "event");
    return (cudaError_t)reach((Event*)e);
}
RUNTIME(cudaStreamWaitEvent)(cudaStream_t s, cudaEvent_t e, unsigned)
{
    Lock lock(one_at_a_time);
    if (stream_of(s)->capture) {
        say("an event in a stream that captures is not emulated");
        FAIL(cudaErrorNotSupported);
    }
    return (cudaError_t)reach((Event*)e);
}
RUNTIME(cudaEventElapsedTime)(float* ms, cudaEvent_t a, cudaEvent_t b)
{
    if (!((Event*)a)->is_asked || !((Event*)b)->is_asked) FAIL(cudaErrorInvalidResourceHandle);
    if (!((Event*)a)->is_done || !((Event*)b)->is_done) FAIL(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(((Event*)b)->time - ((Event*)a)->time).count();
    return cudaSuccess;
}

// ---- graphs

RUNTIME(cudaStreamBeginCapture)(cudaStream_t s, cudaStreamCaptureMode mode)
{
    Lock lock(one_at_a_time);
    Stream* stream = stream_of(s);
    if (is_legacy(stream)) FAIL(cudaErrorStreamCaptureUnsupported);
    if (stream->capture) FAIL(cudaErrorIllegalState);
    stream->capture = new Graph;
    stream->broken = false;
    stream->mode = mode;
    capturing.push_back(stream);
    return cudaSuccess;
}
RUNTIME(cudaStreamEndCapture)(cudaStream_t s, cudaGraph_t* graph)
{
    Lock lock(one_at_a_time);
    Stream* stream = stream_of(s);
    *graph = nullptr;
    if (!stream->capture) FAIL(cudaErrorIllegalState);
    Graph* captured = stream->capture;
    stream->capture = nullptr;
    capturing.erase(std::remove(capturing.begin(), capturing.end(), stream), capturing.end());
    if (stream->broken) {
        delete captured;
        FAIL(cudaErrorStreamCaptureInvalidated);
    }
    *graph = (cudaGraph_t)captured;
    return cudaSuccess;
}
RUNTIME(cudaStreamIsCapturing)(cudaStream_t s, cudaStreamCaptureStatus* status)
{
    Stream* stream = stream_of(s);
    if (!stream->capture) CHECK(check_capture(s, CALLER));
    *status = !stream->capture ? cudaStreamCaptureStatusNone
              : stream->broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
RUNTIME(cudaGraphInstantiate)(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long)
{
    *exec = (cudaGraphExec_t)new Graph(*(Graph*)graph);
    return cudaSuccess;
}
RUNTIME(cudaGraphLaunch)(cudaGraphExec_t exec, cudaStream_t s)
{
    record("graph", std::to_string(((Graph*)exec)->nodes.size()));
    for (const Work& node : ((Graph*)exec)->nodes) CHECK(enqueue(s, node));
    return cudaSuccess;
}
RUNTIME(cudaGraphUpload)(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
RUNTIME(cudaGraphDestroy)(cudaGraph_t graph) { delete (Graph*)graph; return cudaSuccess; }
RUNTIME(cudaGraphExecDestroy)(cudaGraphExec_t exec)
{
    Lock lock(one_at_a_time);
    drain_all();
    delete (Graph*)exec;
    return cudaSuccess;
}
