// The driver (modules and launches) and NVRTC: a kernel is compiled by g++ into a shared object, which stands for a cubin.

#include "emulated.h"

#include <dlfcn.h>
#include <unistd.h>
#include <xmmintrin.h>
#include <fstream>
#include <regex>
#include <sstream>

static const char MAGIC[] = "EMULATED";
struct Header { char magic[8]; uint64_t size; };
struct Program { string source, log, code; vector<string> expressions; std::map<string, string> lowered; };

// The folder that the builder has made: this library is in its lib64.
static string folder()
{
    Dl_info info;
    dladdr((void*)folder, &info);
    string path = info.dli_fname;
    return path.substr(0, path.rfind("/lib64/"));
}
static string read_file(const string& path)
{
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}
static string quoted(const string& text)
{
    string result = "'";
    for (char c : text) result += c == '\'' ? "'\\''" : string(1, c);
    return result + "'";
}

// ---- NVRTC

static bool holds(const string& text, const char* expression) { return std::regex_search(text, std::regex(expression)); }

// CuPy's loop over all elements is the kernel's only use of its thread's number: one thread can do it all.
static bool is_one_loop(const string& source)
{
    size_t loop = source.find("CUPY_FOR(");
    return loop != string::npos && !holds(source.substr(loop), R"(\breturn\b)") &&  // which would end the loop for all
           !holds(source, R"(\b(threadIdx|blockIdx|blockDim|gridDim)\b)");
}

// C++ for g++: the source, and for each kernel a function that launches it and one that tells its parameters' sizes.
static string translated(Program* program)
{
    string source = std::regex_replace(program->source,
        std::regex(R"(extern\s+__shared__\s+([\w:]+)\s+(\w+)\s*\[\s*\]\s*;)"), "$1* $2 = ($1*)emulated_shared();");
    bool barriers = holds(source, R"(__sync|__shfl|__ballot|__any|__all)");
    std::map<string, string> kernels;  // by the name under which they are looked up
    std::regex kernel(R"(extern\s+"C"\s+__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\()");
    for (std::sregex_iterator it(source.begin(), source.end(), kernel), end; it != end; ++it) kernels[(*it)[1]] = (*it)[1];
    for (size_t i = 0; i < program->expressions.size(); ++i) {
        string lowered = "expression" + std::to_string(i);
        kernels[lowered] = program->expressions[i];
        program->lowered[program->expressions[i]] = lowered;
    }
    std::ostringstream text;
    string visible = "extern \"C\" __attribute__((visibility(\"default\"))) int ";
    text << "#include \"kernels.h\"\n#line 1 \"kernel.cu\"\n" << source << "\n";
    text << visible << "emulated_flush = " << !holds(source, R"(\bdouble\b)") << ";\n";  // -ftz=true is of float only
    for (auto& [lowered, name] : kernels)
        text << visible << "emulated_entry_" << lowered << "(const emulated::Launch* l) { return emulated::launch<"
             << barriers << ", " << (!barriers && is_one_loop(source)) << ">(l, &" << name << "); }\n"
             << visible << "emulated_sizes_" << lowered << "(size_t* out) { return emulated::sizes(&" << name << ", out); }\n";
    return text.str();
}

static string compile_options(int count, const char** options)
{
    string standard = "-std=c++17", rest, contract = " -ffp-contract=fast";  // NVRTC fuses products and sums by itself
    for (int i = 0; i < count; ++i) {
        string option = options[i];
        if (option.rfind("--", 0) == 0) option.erase(0, 1);
        if (option == "-fmad=false") contract = " -ffp-contract=off";
        if (option.rfind("-std=", 0) == 0 && option > "-std=c++14") standard = option;
        bool is_kept = option.rfind("-I", 0) == 0 || option.rfind("-D", 0) == 0;
        if (is_kept && option.find("_cccl") == string::npos) rest += " " + quoted(option);
    }
    return standard + contract + " -I " + quoted(folder() + "/include") + rest;
}

API const char* nvrtcGetErrorString(int result) { return result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
API int nvrtcVersion(int* major, int* minor) { *major = 13, *minor = 0; return 0; }
API int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**)
{
    *program = new Program{source};
    return 0;
}
API int nvrtcDestroyProgram(Program** program) { delete *program; *program = nullptr; return 0; }
API int nvrtcAddNameExpression(Program* program, const char* name) { program->expressions.push_back(name); return 0; }
API int nvrtcGetLoweredName(Program* program, const char* name, const char** lowered)
{
    *lowered = program->lowered[name].c_str();
    return 0;
}
API int nvrtcCompileProgram(Program* program, int count, const char** options)
{
    const int INTERNAL = 11, COMPILATION = 6;
    if (program->source.empty()) { program->code = "// emulated\n"; return 0; }  // CuPy asks for the compiler's version
    const char* temporary = getenv("TMPDIR");
    string work = string(temporary && *temporary ? temporary : "/tmp") + "/emulated-cuda-XXXXXX";
    if (!mkdtemp(work.data())) { say("no folder for the compiler: %s", work.c_str()); return INTERNAL; }
    std::ofstream(work + "/kernel.cpp") << translated(program);
    string command = "g++ " + read_file(folder() + "/flags") + " " + compile_options(count, options) + " -shared -o " +
                     work + "/kernel.so " + work + "/kernel.cpp > " + work + "/log 2>&1";
    bool is_done = system(command.c_str()) == 0;
    program->log = read_file(work + "/log");
    string object = read_file(work + "/kernel.so");
    if (setting("keep")) say("compiled in %s", work.c_str());
    else if (system(("rm -rf " + quoted(work)).c_str())) return INTERNAL;
    if (!is_done) return COMPILATION;
    Header header;
    memcpy(header.magic, MAGIC, sizeof header.magic);
    header.size = object.size();
    program->code = string((char*)&header, sizeof header) + object;
    return 0;
}
API int nvrtcGetPTXSize(Program* p, size_t* size) { *size = p->code.size() + 1; return 0; }
API int nvrtcGetPTX(Program* p, char* out) { memcpy(out, p->code.c_str(), p->code.size() + 1); return 0; }
API int nvrtcGetCUBINSize(Program* p, size_t* size) { return nvrtcGetPTXSize(p, size); }
API int nvrtcGetCUBIN(Program* p, char* out) { return nvrtcGetPTX(p, out); }
API int nvrtcGetProgramLogSize(Program* p, size_t* size) { *size = p->log.size() + 1; return 0; }
API int nvrtcGetProgramLog(Program* p, char* out) { memcpy(out, p->log.c_str(), p->log.size() + 1); return 0; }
API int nvrtcGetNumSupportedArchs(int* count) { *count = 1; return 0; }
API int nvrtcGetSupportedArchs(int* archs) { *archs = 90; return 0; }

// ---- modules

struct Function { int (*entry)(const Launch*); vector<size_t> sizes; bool flushes; string name; };

API int cuInit(unsigned) { return 0; }
API int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
API int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
static char contexts[MOST_DEVICES];
API int cuCtxGetCurrent(void** c) { *c = &contexts[current_device]; return 0; }
API int cuCtxSetCurrent(void* c) { if (c) current_device = (char*)c - contexts; return 0; }
API int cuCtxGetDevice(int* device) { *device = current_device; return 0; }
API int cuStreamGetCtx(void* s, void** c) { *c = &contexts[stream_of(s)->device]; return 0; }
API int cuModuleLoadData(void** module, const void* image)
{
    const Header* header = (const Header*)image;
    if (memcmp(header->magic, MAGIC, sizeof header->magic)) return fail(cudaErrorInvalidKernelImage, __func__);
    char path[] = "/tmp/emulated-cuda-module-XXXXXX";
    int file = mkstemp(path);
    bool is_written = file >= 0 && write(file, header + 1, header->size) == (ssize_t)header->size;
    close(file);
    *module = is_written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    if (*module) return 0;
    say("a kernel cannot be loaded: %s", is_written ? dlerror() : path);
    return fail(cudaErrorInvalidKernelImage, __func__);
}
API int cuModuleUnload(void*) { return 0; }  // graphs may hold its kernels
API int cuModuleGetFunction(Function** function, void* module, const char* name)
{
    auto entry = (int (*)(const Launch*))dlsym(module, (string("emulated_entry_") + name).c_str());
    auto sizes = (int (*)(size_t*))dlsym(module, (string("emulated_sizes_") + name).c_str());
    if (!entry || !sizes) return fail(cudaErrorSymbolNotFound, name);
    int* flush = (int*)dlsym(module, "emulated_flush");
    *function = new Function{entry, vector<size_t>(sizes(nullptr)), flush && *flush, name};
    sizes((*function)->sizes.data());
    return 0;
}
API int cuModuleGetGlobal_v2(void** address, size_t* size, void* module, const char* name)
{
    *address = dlsym(module, name);
    if (size) *size = 0;
    return *address ? 0 : fail(cudaErrorSymbolNotFound, name);
}
API int cuFuncGetAttribute(int* value, int attribute, Function*) { *value = attribute == 0 ? 1024 : 0; return 0; }
API int cuFuncSetAttribute(Function*, int, int) { return 0; }
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function*, int size, size_t) { *blocks = 2048 / size; return 0; }
API int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, Function*, void*, size_t, int) { *grid = 264, *block = 1024; return 0; }
#define NOT_EMULATED(name) API int name() { return emulated_unsupported(#name); }
NOT_EMULATED(cuLaunchCooperativeKernel) NOT_EMULATED(cuModuleLoad) NOT_EMULATED(cuCtxCreate_v2) NOT_EMULATED(cuCtxDestroy_v2)
NOT_EMULATED(cuLinkCreate_v2) NOT_EMULATED(cuLinkAddData_v2) NOT_EMULATED(cuLinkAddFile_v2) NOT_EMULATED(cuLinkComplete)
NOT_EMULATED(cuLinkDestroy) NOT_EMULATED(nvrtcGetLTOIRSize) NOT_EMULATED(nvrtcGetLTOIR)

// ---- launches

static int run(const Function* f, Launch how)
{
    Lock lock(one_at_a_time);
    const char* name = f->name.c_str();
    const unsigned FLUSH_TO_ZERO = 0x8040;
    unsigned before = _mm_getcsr();
    if (f->flushes) _mm_setcsr(before | FLUSH_TO_ZERO);
    int problem = 0;
    int error = run_kernel(f->name, [&] { problem = f->entry(&how); return 0; });
    _mm_setcsr(before);
    if (error || !problem) return error ? fail(error, name) : 0;
    if (problem == 1) {
        say("kernel %s: threads of a block did not meet in a barrier", name);
        return sticky = fail(cudaErrorLaunchFailure, name);
    }
    void* pointer = *(void**)how.arguments[problem - 2];
    say("kernel %s, argument %d: expected memory of device %d, got %s", name, problem - 1, current_device, describe(pointer).c_str());
    return sticky = fail(cudaErrorIllegalAddress, name);
}
API int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, void* stream, void** arguments, void**)
{
    bool fits = gx && gy && gz && bx && by && bz && gx < 1u << 31 && gy < 65536 && gz < 65536 && bx <= 1024 && by <= 1024 &&
                bz <= 64 && (size_t)bx * by * bz <= 1024 && shared <= 232448;
    if (!fits) return fail(cudaErrorInvalidValue, f->name.c_str());
    if (stream_of(stream)->device != current_device && (size_t)stream > 2) return fail(cudaErrorInvalidResourceHandle, f->name.c_str());
    Launch how = {{gx, gy, gz}, {bx, by, bz}, shared, setting("reverse") != nullptr, arguments};
    record("launch", f->name);
    vector<string> values;  // the arguments as they are now
    for (size_t i = 0; i < f->sizes.size(); ++i) values.push_back(string((char*)arguments[i], f->sizes[i]));
    return enqueue(stream, [=]() mutable {
        vector<void*> pointers;
        for (string& value : values) pointers.push_back(value.data());
        how.arguments = pointers.data();
        return run(f, how);
    });
}
