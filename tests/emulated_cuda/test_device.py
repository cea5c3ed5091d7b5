"""What the emulated device refuses and sees, each in a process of its own: a fault breaks a device, as a real one."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.emulated_cuda.records import IS_EMULATED

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")

# A kernel that writes to one place: `place` is where.
WRITE = """
    import cupy, numpy as np
    write = cupy.RawKernel('extern "C" __global__ void write(float* x, int place) { x[place] = 1; }', "write")
"""


def outcome(program: str, settings: str = "") -> tuple[int, str]:
    """Exit status, and what a program prints on a device with these settings."""
    environment = {**os.environ, "EMULATED_CUDA": settings}
    command = [sys.executable, "-c", "\n".join(map(textwrap.dedent, program.split("\n\n")))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def assert_fails(program: str, *words: str, settings: str = "") -> None:
    status, text = outcome(program, settings)
    assert status != 0, text
    for word in words:
        assert word in text


def assert_prints(program: str, expected: str, settings: str = "") -> None:
    status, text = outcome(program, settings)
    assert status == 0, text
    assert text.split() == expected.split(), text


@pytest.mark.parametrize("settings", ["", "late"])
def test_a_kernel_refuses_an_address_of_the_host(settings):
    program = WRITE + "\n\n    write((1,), (1,), (np.intp(np.zeros(9).ctypes.data), np.int32(0))); cupy.zeros(1).get()"
    words = ("kernel write, argument 1", "an address of the host", "illegal memory access")
    assert_fails(program, *words, settings=settings)


def test_the_host_cannot_read_device_memory():
    program = "import cupy, ctypes; print(ctypes.cast(cupy.ones(4).data.ptr, ctypes.POINTER(ctypes.c_double))[0])"
    assert_fails(program, "the host reads or writes", "bytes of device 0's memory")


def test_another_thread_cannot_read_device_memory_either():
    program = """
        import cupy, ctypes, threading
        pointer = ctypes.cast(cupy.ones(4).data.ptr, ctypes.POINTER(ctypes.c_double))
        reader = threading.Thread(target=lambda: print(pointer[0])); reader.start(); reader.join()
    """
    assert_fails(program, "the host reads or writes")


@pytest.mark.parametrize(("place", "words"), [(12, "0 bytes behind the end of 48 bytes"), (-4000, "freed or never")])
def test_an_array_is_guarded(place, words):
    program = WRITE + f"\n\n    x = cupy.zeros(12, 'f'); write((1,), (1,), (x, np.int32({place}))); x.get()"
    assert_fails(program, "kernel write reads or writes", words, "illegal memory access", settings="guard")


@pytest.mark.parametrize("place", [-1, 13])
def test_what_a_page_cannot_guard_is_seen_when_memory_is_freed(place):
    program = WRITE + f"\n\n    x = cupy.zeros(13, 'f'); write((1,), (1,), (x, np.int32({place}))); del x; cupy.ones(1)"
    assert_fails(program, "beside 52 bytes", "cudaErrorIllegalAddress", settings="guard")


def test_shared_memory_is_guarded():
    program = """
        import cupy
        code = 'extern "C" __global__ void f(int n) { __shared__ float s[8]; s[n] = 1; __syncthreads(); }'
        cupy.RawKernel(code, "f")((1,), (1,), (cupy.int32(8),)); cupy.zeros(1).get()
    """
    assert_fails(program, "kernel f: an index lies outside its array", "illegal memory access")


def test_freed_memory_faults():
    program = WRITE + "\n\n    x = cupy.zeros(9); p = np.intp(x.data.ptr); del x; write((1,), (1,), (p, np.int32(0)))"
    assert_fails(program, "freed or never allocated", settings="guard")


@pytest.mark.parametrize(
    "kernel",
    [
        "if (threadIdx.x % 2) __syncthreads(); else __syncwarp();",
        "if (threadIdx.x > 3) return; __syncthreads();",
        "if (threadIdx.x != 40) __shfl_xor_sync(0xffffffff, 1, 1);",
    ],
)
def test_threads_that_do_not_meet_are_an_error(kernel):
    program = f"""
        import cupy
        code = 'extern "C" __global__ void f() {{ {kernel} }}'
        cupy.RawKernel(code, "f")((1,), (64,), ()); cupy.zeros(1).get()
    """
    assert_fails(program, "did not meet", "launch failure")


def test_new_memory_is_not_a_number():
    program = (
        "import cupy; print(*(cupy.isnan(cupy.empty(3, t)).all() for t in ('e', 'f', 'd')), cupy.empty(1, 'i')[0])"
    )
    assert_prints(program, "True True True -1", "guard")


def test_work_is_late_until_somebody_waits():
    program = """
        import cupy, ctypes, cupyx
        stream, out = cupy.cuda.Stream(non_blocking=True), cupyx.zeros_pinned(1)
        with stream:
            (cupy.ones(1) * 7).get(out=out, blocking=False); before = out[0]
        stream.synchronize(); print(before, out[0])
    """
    assert_prints(program, "0.0 7.0", "late")
    assert_prints(program, "7.0 7.0")


def test_a_race_shows_in_the_other_order_of_threads():
    program = """
        import cupy
        code = 'extern "C" __global__ void f(int* x) { x[0] = threadIdx.x + 100 * blockIdx.x; }'
        x = cupy.zeros(1, 'i'); cupy.RawKernel(code, "f")((3,), (64,), (x,)); print(x[0])
    """
    assert_prints(program, "263")
    assert_prints(program, "0", "reverse")


def test_threads_that_meet_have_no_race():
    program = """
        import cupy
        code = '''extern "C" __global__ void f(int* x) {
            __shared__ int s[64];
            s[threadIdx.x] = x[threadIdx.x];
            for (int half = 32; half; half /= 2) {
                __syncthreads();
                if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
            }
            int sum = threadIdx.x;
            for (int lanes = 16; lanes; lanes /= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
            if (threadIdx.x == 0) x[0] = s[0], x[1] = sum;
        }'''
        x = cupy.arange(64, dtype='i'); cupy.RawKernel(code, "f")((1,), (64,), (x,)); print(*x[:2])
    """
    for settings in ("", "reverse", "late,guard"):
        assert_prints(program, "2016 496", settings)


def test_two_devices_have_memory_of_their_own():
    program = (
        WRITE
        + """

        print(cupy.cuda.runtime.getDeviceCount())
        x = cupy.zeros(4, 'f')
        with cupy.cuda.Device(1):
            y = cupy.asarray(x + 1 if False else cupy.ones(4, 'f')); print(y.device.id, float(y.sum()))
            write((1,), (1,), (np.intp(x.data.ptr), np.int32(0)))
    """
    )
    assert_fails(program, "expected memory of device 1", "of device 0's memory", settings="devices=2")


def test_memory_has_an_end():
    program = "import cupy; print(cupy.zeros(10**6, 'b').size); cupy.zeros(10**7, 'b')"
    assert_fails(program, "1000000", "OutOfMemoryError", settings="memory=4000000")


@pytest.mark.parametrize(
    ("settings", "error"), [("devices=0", "cudaErrorNoDevice"), ("driver=old", "cudaErrorInsufficientDriver")]
)
def test_a_driver_may_be_old_or_find_nothing(settings, error):
    assert_fails("import cupy; cupy.cuda.runtime.getDeviceCount()", error, settings=settings)


def test_a_graph_repeats_addresses():
    program = """
        import cupy
        x, stream = cupy.zeros(3, 'f'), cupy.cuda.Stream(non_blocking=True)
        with stream:
            (x * 2).sum(); stream.synchronize(); stream.begin_capture(); y = (x * 2).sum(); graph = stream.end_capture()
        x[...] = 5; graph.launch(); stream.synchronize(); print(float(y))
    """
    assert_prints(program, "30.0")


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("x.get()", "D2H transfers are disallowed"),
        ("cupy.asarray([1, 2])", "H2D transfers are disallowed"),
        ("x @ x", "calling cuBLAS API during stream capture"),
        ("stream.synchronize()", "is capturing"),
        ("cupy.cuda.runtime.deviceSynchronize()", "cudaErrorStreamCaptureUnsupported"),
        ("cupy.cuda.Stream.null.synchronize()", ""),
    ],
)
def test_what_cuda_does_not_capture_is_refused(statement, error):
    program = f"""
        import cupy
        x, stream = cupy.ones((3, 3)), cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            {statement}
    """
    if error:
        assert_fails(program, error)
    else:
        assert_prints(program, "")


def test_an_allocation_may_not_be_captured_unless_everything_may():
    program = """
        import cupy
        with cupy.cuda.Stream(non_blocking=True) as stream:
            stream.begin_capture(MODE)
            cupy.cuda.Memory(512)
    """
    modes = "cupy.cuda.runtime.streamCaptureMode"
    assert_fails(program.replace("MODE", f"{modes}Global"), "cudaErrorStreamCaptureUnsupported")
    assert_prints(program.replace("MODE", f"{modes}Relaxed"), "")


def test_what_is_not_emulated_says_its_name():
    assert_fails("import cupy; cupy.linalg.inv(cupy.eye(3))", "is not emulated")
    assert_fails("import cupy; cupy.cuda.runtime.mallocManaged(8)", "cudaMallocManaged is not emulated")
