// From the untyped arguments of a launch to the call of a kernel for each thread.
#pragma once

namespace emulated {

// The address in an argument that a kernel may follow, if there is one.
template <class T> inline const void* address(const T*& p) { return p; }
template <class T> inline const void* address(T*& p) { return (const void*)p; }
template <class T, int N, bool C, bool I> inline const void* address(CArray<T, N, C, I>& array)
{
    return array.size() ? *(const void**)&array : nullptr;  // its first member
}
inline const void* address(...) { return nullptr; }

template <class A> using Bare = std::remove_const_t<std::remove_reference_t<A>>;
template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>)
{
    kernel(*(Bare<A>*)arguments[I]...);
}
// 0, or 2 more than the number of the first argument that is not an address of device memory.
template <class... A, size_t... I>
inline int check(void (*)(A...), void** arguments, std::index_sequence<I...>)
{
    int problem = 0;
    ((problem = problem || emulated_check(address(*(Bare<A>*)arguments[I])) ? problem : (int)I + 2), ...);
    return problem;
}
template <class... A>
inline int sizes(void (*)(A...), size_t* out)
{
    size_t all[] = {sizeof(A)..., 0};
    if (out) memcpy(out, all, sizeof...(A) * sizeof(size_t));
    return sizeof...(A);
}

template <bool HAS_BARRIERS, bool IS_ONE_LOOP, class... A>
static int launch(const Launch* given, void (*kernel)(A...))
{
    typedef std::index_sequence_for<A...> Numbers;
    if (int problem = check(kernel, given->arguments, Numbers())) return problem;
    Launch launch = *given;
    if (IS_ONE_LOOP && !launch.reversed) launch.grid = launch.block = {1, 1, 1};
    gridDim = launch.grid, blockDim = launch.block;
    struct Call { void (*kernel)(A...); void** arguments; } it = {kernel, launch.arguments};
    auto body = [](void* p) { call(((Call*)p)->kernel, ((Call*)p)->arguments, Numbers()); };
    return emulated_run(&launch, body, &it, HAS_BARRIERS, &threadIdx, &blockIdx);
}

}  // namespace emulated
